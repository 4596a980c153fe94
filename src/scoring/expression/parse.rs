//! The `cel` crate's parser, kept where it can do no harm.
//!
//! Its grammar recurses so deeply that 20 parentheses overflow the 2 MiB stack of a debug build's
//! thread, and an overflow aborts the process. So it runs, together with the checks that walk its tree,
//! on a thread of its own with [`STACK_BYTES`], joined before this returns: to the caller it is a plain
//! function. This is the one thread of the pure floors; it shares nothing and outlives nothing.

use cel::{ParseError, Program};

use super::Fault;

/// The stack of the parser's thread: enough for [`super::limits`] at their worst in a debug build.
const STACK_BYTES: usize = 16 << 20;

/// Parses `source` and hands the program to `check`, both on the large stack.
pub(super) fn with_program<T: Send>(
    source: &str,
    check: impl FnOnce(&Program) -> Result<T, Vec<Fault>> + Send,
) -> Result<T, Vec<Fault>> {
    let work = || match Program::compile(source) {
        Ok(program) => check(&program),
        Err(errors) => Err(errors.errors.iter().map(|error| fault(source, error)).collect()),
    };
    let lost = |message: &str| vec![Fault::at(source, 0, message, "simplify it; this is a bug worth a report")];
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("cel-parser".into()).stack_size(STACK_BYTES);
        match thread.spawn_scoped(scope, work) {
            Ok(running) => running.join().unwrap_or_else(|_| Err(lost("the parser panicked on this expression"))),
            Err(error) => Err(lost(&format!("no thread to parse on: {error}"))),
        }
    })
}

/// Puts a parser's error into our words: its first sentence, without the list of all tokens.
fn fault(source: &str, error: &ParseError) -> Fault {
    let (line, column) = (usize::try_from(error.pos.0).unwrap_or(0), usize::try_from(error.pos.1).unwrap_or(0));
    let text = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
    if text.contains("has() macro") {
        let cure = "give has() a field or a feature, such as has(tx.card.country); for the score write present(score)";
        return Fault { line, column, message: "has() takes a name with a dot".into(), cure: cure.into() };
    }
    let text = text.split(" expecting ").next().unwrap_or(text);
    let text = text.replace("'<EOF>'", "the end").replace("<EOF>", "the end");
    let message = if source.trim().is_empty() { "the expression is empty".into() } else { format!("not CEL: {text}") };
    Fault { line: line.max(1), column: column.max(1), message, cure: "see docs/rules.md for the language".into() }
}
