//! Logs: one line per event on standard error, for machines (JSON) or for people; panics too.

use std::io;
use std::panic;

use serde::{Deserialize, Serialize};
use tracing::error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::metrics::metrics;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object per line.
    Json,
    /// For people, coloured on a terminal.
    Human,
}

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// How lines look.
    pub format: Format,
    /// Levels, such as `info` or `info,fraudd::edge=debug`.
    pub filter: String,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter cannot be read.
    #[error("log filter {filter:?} cannot be read: {reason}; write levels such as \"info,fraudd=debug\"")]
    Filter {
        /// The filter.
        filter: String,
        /// Why.
        reason: String,
    },
    /// Somebody has set up logging before.
    #[error("logging is set up already")]
    AlreadySetUp,
}

/// Checks a filter without setting anything up.
///
/// # Errors
/// [`Error::Filter`].
pub fn parse_filter(filter: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(filter).map_err(|error| Error::Filter { filter: filter.into(), reason: error.to_string() })
}

/// Sends every log line of the process to standard error, and panics into the log.
///
/// # Errors
/// A filter that cannot be read, or a second call.
pub fn init(options: &Options) -> Result<(), Error> {
    use io::IsTerminal as _;
    let filter = parse_filter(&options.filter)?;
    let is_terminal = io::stderr().is_terminal();
    tracing::subscriber::set_global_default(subscriber(options.format, filter, is_terminal, io::stderr))
        .map_err(|_| Error::AlreadySetUp)?;
    log_panics();
    Ok(())
}

fn subscriber<W>(format: Format, filter: EnvFilter, ansi: bool, writer: W) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(ansi);
    match format {
        Format::Json => Box::new(lines.json().flatten_event(true).with_current_span(false).finish()),
        Format::Human => Box::new(lines.finish()),
    }
}

fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        metrics().panics.inc();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("?").to_owned();
        error!(thread, place, text = panic.payload_as_str().unwrap_or("?"), "panicked");
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let filter = parse_filter("debug").expect("a filter");
        let subscriber = subscriber(format, filter, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            let trace_id = crate::domain::TraceId(10);
            crate::telemetry::events::RequestRefused { code: "internal", trace_id }.emit();
        });
        String::from_utf8(memory.0.lock().clone()).expect("UTF-8")
    }

    #[test]
    fn both_formats_carry_the_trace_id() {
        let line: serde_json::Value = serde_json::from_str(&logged(Format::Json)).expect("JSON");
        assert_eq!(line["trace_id"], "0000000000000000000000000000000a");
        assert_eq!(line["message"], "request refused");
        assert!(logged(Format::Human).contains("trace_id=0000000000000000000000000000000a"));
    }

    #[test]
    fn a_wrong_filter_is_named() {
        let error = parse_filter("info,=[").expect_err("a refusal").to_string();
        assert!(error.contains("cannot be read"), "{error}");
    }
}
