//! Reads what the host counts; what that means is `healing::host`'s to say.
//!
//! The files of our own control group go before those of the whole machine. One that cannot be read says 0: then
//! slowness is never the host's, and the service behaves as on a host of its own.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::healing::host::{Counters, HostState, Limits, pressure_us, stolen_and_cores_us, throttled_us};
use crate::runtime::clock::Moment;

/// A share rests on at least this much time, in microseconds.
const APART_US: u64 = 250_000;

/// Reads the host.
#[derive(Debug)]
pub struct Host {
    began: Moment,
    limits: Limits,
    throttling: Option<PathBuf>,
    processor: PathBuf,
    pressure: Option<PathBuf>,
    last: Mutex<(Counters, HostState)>,
}

impl Host {
    /// Finds the files of this process and reads them for the first time.
    #[must_use]
    pub fn here(limits: Limits) -> Self {
        Self::under(Path::new("/"), limits)
    }

    /// The same below another root: for tests.
    #[must_use]
    pub fn under(root: &Path, limits: Limits) -> Self {
        let group = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let groups = root.join("sys/fs/cgroup");
        let of = |controller: &str| {
            let path = group.lines().find_map(|line| line.strip_prefix(controller))?;
            Some(path.trim_start_matches('/').to_owned())
        };
        let unified = of("0::").unwrap_or_default();
        let shared = group.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|name| name == "cpu").then(|| path.trim_start_matches('/').to_owned())
        });
        let shared = shared.unwrap_or_default();
        // Inside a container the group's own files stand at the root of the mount.
        let throttling = [
            groups.join(&unified).join("cpu.stat"),
            groups.join("cpu.stat"),
            groups.join("cpu").join(&shared).join("cpu.stat"),
            groups.join("cpu").join("cpu.stat"),
        ];
        let pressure =
            [groups.join(&unified).join("cpu.pressure"), groups.join("cpu.pressure"), root.join("proc/pressure/cpu")];
        let there = |places: &[PathBuf]| places.iter().find(|place| place.is_file()).cloned();
        let host = Self {
            began: Moment::now(),
            limits,
            throttling: there(&throttling),
            processor: root.join("proc/stat"),
            pressure: there(&pressure),
            last: Mutex::new((Counters::default(), HostState { limits, ..HostState::default() })),
        };
        host.last.lock().0 = host.read();
        host
    }

    /// Reads the counters and returns how the host treated us since the reading before, at least a quarter of
    /// a second ago; sooner the last answer stands.
    pub fn sample(&self) -> HostState {
        let counters = self.read();
        let mut last = self.last.lock();
        if counters.at_us.saturating_sub(last.0.at_us) >= APART_US {
            *last = (counters, HostState::between(&last.0, &counters, self.limits));
        }
        last.1
    }

    /// Returns what the last sample said.
    #[must_use]
    pub fn state(&self) -> HostState {
        self.last.lock().1
    }

    fn read(&self) -> Counters {
        let text = |place: &Option<PathBuf>| std::fs::read_to_string(place.as_ref()?).ok();
        let (stolen_us, cores_us) =
            std::fs::read_to_string(&self.processor).ok().as_deref().and_then(stolen_and_cores_us).unwrap_or_default();
        Counters {
            at_us: Moment::now().micros_after(self.began),
            throttled_us: text(&self.throttling).as_deref().and_then(throttled_us).unwrap_or_default(),
            stolen_us,
            cores_us,
            pressure_us: text(&self.pressure).as_deref().and_then(pressure_us).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, place: &str, text: &str) {
        let path = root.join(place);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    #[test]
    fn files_of_either_version_of_control_groups_are_found() {
        let check = |places: &[(&str, &str)], throttled: u64, pressure: u64| {
            let root = tempfile::tempdir().expect("a directory");
            write(root.path(), "proc/stat", "cpu  1 1 1 1 1 1 1 2 0 0\n");
            for (place, text) in places {
                write(root.path(), place, text);
            }
            let read = Host::under(root.path(), Limits::DEFAULT).read();
            let seen = (read.throttled_us, read.pressure_us, read.stolen_us, read.cores_us);
            assert_eq!(seen, (throttled, pressure, 20_000, 90_000), "{places:?}");
        };
        let (second, first) = ("throttled_usec 7\n", "throttled_time 9000\n");
        let own = "some avg10=0 total=5\n";
        check(&[], 0, 0);
        check(&[("proc/self/cgroup", "0::/a/b\n"), ("sys/fs/cgroup/a/b/cpu.stat", second)], 7, 0);
        check(&[("proc/self/cgroup", "0::/a/b\n"), ("sys/fs/cgroup/cpu.stat", second)], 7, 0);
        check(&[("proc/self/cgroup", "3:cpuacct,cpu:/x\n"), ("sys/fs/cgroup/cpu/x/cpu.stat", first)], 9, 0);
        check(&[("proc/self/cgroup", "1:cpu:/x\n0::/\n"), ("sys/fs/cgroup/cpu/cpu.stat", first)], 9, 0);
        check(&[("proc/pressure/cpu", own), ("sys/fs/cgroup/cpu.pressure", "some total=3\n")], 0, 3);
        check(&[("proc/pressure/cpu", own)], 0, 5);
    }

    #[test]
    fn this_host_is_read_and_a_share_needs_its_time() {
        let host = Host::here(Limits::DEFAULT);
        assert!(host.read().cores_us > 0, "there is a /proc/stat");
        let state = host.sample();
        assert_eq!(state, host.state());
        assert!((state.throttled_share, state.stolen_share) == (0.0, 0.0), "too soon: {state:?}");
    }
}
