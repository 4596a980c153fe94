//! The unsafe corner: two things that can only be said to the foreign library in its own language.
//!
//! ONNX Runtime 1.29 and later starts a telemetry uploader unless `ORT_DISABLE_TELEMETRY=1` is in the
//! environment before it initialises, and it tells its version only through a C function pointer.
//! Nothing else in this crate is unsafe.

use std::ffi::{CStr, c_char};
use std::path::Path;

/// The variable that keeps ONNX Runtime from calling home.
pub const TELEMETRY_OFF: &str = "ORT_DISABLE_TELEMETRY";

/// The environment could not be changed: other threads run already and may be reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tried to set ORT_DISABLE_TELEMETRY after threads were started; set it before starting fraudd")]
pub struct TooLate;

/// Switches ONNX Runtime's telemetry off for this process. The first act of `main`.
///
/// # Errors
/// [`TooLate`] when the variable is not set yet and this process has more than one thread.
pub fn silence_telemetry() -> Result<(), TooLate> {
    if telemetry_is_silenced() {
        return Ok(());
    }
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(TooLate);
    }
    #[expect(unsafe_code, reason = "the library reads the process environment and nothing else")]
    // SAFETY: no other thread exists (counted above), so nobody reads the environment meanwhile.
    unsafe {
        std::env::set_var(TELEMETRY_OFF, "1");
    }
    Ok(())
}

/// Tells whether the library will find its telemetry switched off.
#[must_use]
pub fn telemetry_is_silenced() -> bool {
    std::env::var_os(TELEMETRY_OFF).is_some_and(|value| value == "1")
}

/// The head of the C structure that `OrtGetApiBase` returns; unchanged since ONNX Runtime 1.0.
#[repr(C)]
struct ApiBase {
    get_api: extern "system" fn(u32) -> *const std::ffi::c_void,
    get_version_string: extern "system" fn() -> *const c_char,
}

/// Asks the library at `path` for its version, such as `1.28.0`, without initialising it.
///
/// # Errors
/// The loader's text, when the file is no library, or no ONNX Runtime.
pub fn version(path: &Path) -> Result<String, String> {
    #[expect(unsafe_code, reason = "the version is only told by a C function of the library")]
    // SAFETY: `OrtGetApiBase` takes nothing and returns a pointer to a static structure that begins with
    // these two function pointers; the version is a static C string. The library stays loaded here
    // until the string was copied. Who chooses the path is trusted with running code anyway.
    unsafe {
        let library = libloading::Library::new(path).map_err(|error| error.to_string())?;
        let base: libloading::Symbol<'_, extern "system" fn() -> *const ApiBase> =
            library.get(b"OrtGetApiBase").map_err(|_| "it exports no OrtGetApiBase".to_owned())?;
        let base = base().as_ref().ok_or("its OrtGetApiBase answers null")?;
        let text = (base.get_version_string)();
        if text.is_null() {
            return Err("it does not tell its version".to_owned());
        }
        Ok(CStr::from_ptr(text).to_string_lossy().into_owned())
    }
}
