//! Finds ONNX Runtime's shared library, refuses the versions known to be wrong, and opens it once.
//!
//! Order: the configured path, `ORT_DYLIB_PATH`, `.deps/onnxruntime/` of the working directory, beside the
//! executable. A path may name the file or its directory. The process has one environment, whichever
//! caller opened it first; it lives until the process ends.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ort::environment::Environment;
use parking_lot::Mutex;

use super::foreign;

/// The version this build is tested with: the newest that is both right and silent.
pub const VERSION_WANTED: &str = "1.28.0";

const SEARCHED: &str = ".deps/onnxruntime";
const VARIABLE: &str = "ORT_DYLIB_PATH";

/// The opened library.
#[derive(Debug)]
pub struct Library {
    /// What sessions are opened in.
    pub environment: Environment,
    /// Its version, such as `1.28.0`.
    pub version: String,
    /// Where it was found.
    pub path: PathBuf,
}

/// Why there is no ONNX Runtime.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No file at any of the places.
    #[error(
        "tried to find ONNX Runtime in {tried}, and found none; run scripts/fetch-onnxruntime or set ORT_DYLIB_PATH"
    )]
    NotFound {
        /// The places, comma separated.
        tried: String,
    },
    /// The file is there and does not load.
    #[error("tried to load {path}: {reason}; run scripts/fetch-onnxruntime for the pinned 1.28.0")]
    NotLoaded {
        /// The file.
        path: String,
        /// The loader's or the library's text.
        reason: String,
    },
    /// A version that is known to score wrongly or that is too old.
    #[error("tried to use ONNX Runtime {version} at {path}: {reason}; use 1.28.0 (scripts/fetch-onnxruntime)")]
    Refused {
        /// The file.
        path: String,
        /// Its version.
        version: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

static LIBRARY: OnceLock<Library> = OnceLock::new();
static OPENING: Mutex<()> = Mutex::new(());

/// Opens the library, or returns the one that is open already.
///
/// # Errors
/// [`Error`] when none is found, loads or is fit.
pub fn open(configured: Option<&Path>) -> Result<&'static Library, Error> {
    let _one_at_a_time = OPENING.lock();
    if let Some(library) = LIBRARY.get() {
        return Ok(library);
    }
    let library = load(&find(configured)?)?;
    tracing::info!(version = library.version, path = %library.path.display(), "onnx runtime opened");
    Ok(LIBRARY.get_or_init(|| library))
}

fn load(path: &Path) -> Result<Library, Error> {
    let shown = path.display().to_string();
    let not_loaded = |reason| Error::NotLoaded { path: shown.clone(), reason };
    let version = foreign::version(path).map_err(not_loaded)?;
    match judge(&version) {
        Fitness::Wanted => {}
        Fitness::Doubtful(reason) => tracing::warn!(version, path = shown, reason, "onnx runtime is another version"),
        Fitness::Refused(reason) => return Err(Error::Refused { path: shown, version, reason }),
    }
    let environment = ort::init_from(path)
        .map_err(|error| not_loaded(error.to_string()))?
        .with_name("fraudd")
        .with_telemetry(false)
        .build()
        .map_err(|error| not_loaded(error.to_string()))?;
    environment.set_log_level(ort::logging::LogLevel::Warning);
    Ok(Library { environment, version, path: path.to_owned() })
}

#[derive(Debug, PartialEq, Eq)]
enum Fitness {
    Wanted,
    Doubtful(&'static str),
    Refused(&'static str),
}

fn judge(version: &str) -> Fitness {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    let (Some(Some(major)), Some(Some(minor))) = (parts.next(), parts.next()) else {
        return Fitness::Refused("its version is not a number");
    };
    match (major, minor) {
        (1, 28) => Fitness::Wanted,
        (1, 26 | 27) => Fitness::Refused("it scores some random forests wrongly"),
        (1, 24 | 25) => Fitness::Doubtful("tested with 1.28.0 only"),
        (1, 29..) if foreign::telemetry_is_silenced() => Fitness::Doubtful("its telemetry is held off by a variable"),
        (1, 29..) => Fitness::Refused("it starts a telemetry uploader, and ORT_DISABLE_TELEMETRY=1 is not set"),
        _ => Fitness::Refused("it is too old or unknown"),
    }
}

fn find(configured: Option<&Path>) -> Result<PathBuf, Error> {
    // A place somebody named is the only one searched: a typo must not fall through to another library.
    let named = configured.map(Path::to_owned).or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
    let places = match named {
        Some(place) => vec![place],
        None => default_places(),
    };
    places.iter().find_map(|place| library_in(place)).ok_or_else(|| Error::NotFound {
        tried: places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", "),
    })
}

fn default_places() -> Vec<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|executable| executable.parent().map(Path::to_owned));
    std::iter::once(PathBuf::from(SEARCHED)).chain(beside).collect()
}

fn library_in(place: &Path) -> Option<PathBuf> {
    if place.is_file() {
        return Some(place.to_owned());
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(place)
        .ok()?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.file_name().is_some_and(|name| is_library(&name.to_string_lossy())))
        .collect();
    // The highest name is the most specific one: libonnxruntime.so.1.28.0 after libonnxruntime.so.
    found.sort();
    // ort resolves relative paths against the executable; an absolute one means the same to everybody.
    found.pop().and_then(|path| std::path::absolute(path).ok())
}

fn is_library(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("libonnxruntime.") else { return false };
    let version = rest.strip_prefix("so").or_else(|| rest.strip_suffix("dylib"));
    version.is_some_and(|version| version.chars().all(|letter| letter.is_ascii_digit() || letter == '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_versions_are_refused() {
        assert_eq!(judge("1.28.0"), Fitness::Wanted);
        for wrong in ["1.26.0", "1.27.1", "1.20.1", "2.0.0", "x"] {
            assert!(matches!(judge(wrong), Fitness::Refused(_)), "{wrong}");
        }
        assert!(matches!(judge("1.25.1"), Fitness::Doubtful(_)));
    }

    #[test]
    fn a_named_place_is_the_only_one_searched() {
        let place = tempfile::tempdir().expect("a directory");
        let Err(Error::NotFound { tried }) = find(Some(place.path())) else { panic!("found a library in nothing") };
        assert_eq!(tried, place.path().display().to_string());
        for name in [
            "libonnxruntime_providers_shared.so",
            "libonnxruntime.so",
            "libonnxruntime.so.1.28.0",
            "libonnxruntime.so.1.28.0.sha256",
        ] {
            std::fs::write(place.path().join(name), b"").expect("written");
        }
        let found = find(Some(place.path())).expect("found");
        assert!(found.ends_with("libonnxruntime.so.1.28.0"), "{}", found.display());
    }

    #[test]
    fn what_is_no_library_is_said_with_the_cure() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("libonnxruntime.so");
        std::fs::write(&path, b"not an ELF file").expect("written");
        let error = load(&path).expect_err("refused").to_string();
        assert!(error.contains("libonnxruntime.so") && error.contains("scripts/fetch-onnxruntime"), "{error}");
    }
}
