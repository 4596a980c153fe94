//! The binary: arguments in, exit code out.

use std::io::{self, Write};
use std::process::ExitCode;

use fraudd::runtime::inference::foreign;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: no thread runs yet, and ONNX Runtime has not been loaded.
    if let Err(error) = foreign::silence_telemetry() {
        // Nobody may be there to read it.
        let _ = writeln!(io::stderr(), "fraudd: {error}");
        return ExitCode::from(2);
    }
    fraudd::cli::run()
}
