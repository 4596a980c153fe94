//! What the operating system says of this process, read from `/proc` at each scrape.
//!
//! Where there is no `/proc` the numbers are simply not there.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntGauge};

/// Kernel ticks per second: 100 on every Linux that we can run on.
const TICKS_PER_SECOND: f64 = 100.0;
/// The page size: 4 KiB on x86-64 and on the usual arm64 kernels.
const PAGE_BYTES: i64 = 4_096;

/// Memory, CPU time and open files.
pub struct Process {
    resident_bytes: IntGauge,
    cpu_seconds: Gauge,
    open_files: IntGauge,
}

impl Process {
    /// Builds the collector.
    ///
    /// # Panics
    /// Never: the names are constants.
    #[must_use]
    pub fn new() -> Self {
        const CONSTANT: &str = "names and help are constants";
        let whole = |name: &str, help: &str| IntGauge::new(name, help).expect(CONSTANT);
        Self {
            resident_bytes: whole("fraudd_process_resident_bytes", "Resident memory of the process."),
            cpu_seconds: Gauge::new("fraudd_process_cpu_seconds", "User and system time of the process.")
                .expect(CONSTANT),
            open_files: whole("fraudd_process_open_files", "Open file descriptors of the process."),
        }
    }

    fn read(&self) {
        if let Some(pages) = statm_resident(&read("/proc/self/statm")) {
            self.resident_bytes.set(pages.saturating_mul(PAGE_BYTES));
        }
        if let Some(ticks) = stat_ticks(&read("/proc/self/stat")) {
            self.cpu_seconds.set(ticks as f64 / TICKS_PER_SECOND);
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            self.open_files.set(i64::try_from(entries.count()).unwrap_or(i64::MAX));
        }
    }
}

impl Default for Process {
    fn default() -> Self {
        Self::new()
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        [self.resident_bytes.desc(), self.cpu_seconds.desc(), self.open_files.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        [self.resident_bytes.collect(), self.cpu_seconds.collect(), self.open_files.collect()].concat()
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Reads the second number of `statm`: resident pages.
fn statm_resident(text: &str) -> Option<i64> {
    text.split_whitespace().nth(1)?.parse().ok()
}

/// Adds user and system ticks of `stat`, whose second field may hold spaces and brackets.
fn stat_ticks(text: &str) -> Option<u64> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read() {
        assert_eq!(statm_resident("1000 250 30 4 0 5 0"), Some(250));
        let stat = "42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 17 5 0 0 20";
        assert_eq!(stat_ticks(stat), Some(22));
        assert_eq!((statm_resident(""), stat_ticks("")), (None, None));
    }
}
