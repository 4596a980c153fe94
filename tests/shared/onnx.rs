//! Whether models can be run here.

use fraudd::runtime::inference::library;

/// Tells whether ONNX Runtime is here; `make test` fetches it first.
#[expect(clippy::print_stdout, reason = "tells why nothing was tested")]
pub(crate) fn runtime_is_here() -> bool {
    match library::open(None) {
        Ok(_) => true,
        Err(error) => {
            println!("skipped: {error}");
            false
        }
    }
}
