//! What an expression may cost, checked on its text before any parser sees it.
//!
//! One pass over the bytes follows string literals and comments, keeps the stack of open brackets and
//! counts ternaries and unary operators. The parser recurses on what is nested, so this scanner has to
//! see every bracket that the parser's lexer sees: text that the two could read apart (raw strings,
//! triple quotes, unusual escapes, a literal or a bracket that is never closed) is refused here.

use super::Fault;

/// The longest expression in bytes.
pub const TEXT_LEN_MAX: usize = 1_024;
/// How deep brackets, ternaries and unary operators may nest, together.
pub const NESTING_MAX: usize = 16;

/// Checks length and nesting of an expression's text.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    if text.len() > TEXT_LEN_MAX {
        let message = format!("the expression has {} bytes, more than {TEXT_LEN_MAX}", text.len());
        return Err(Fault::at(text, 0, message, "split it into several rules or features"));
    }
    Scanner { text, bytes: text.as_bytes(), at: 0, open: Vec::new(), unary: 0 }.run()
}

/// An open bracket, and how many ternaries have begun inside it.
struct Open {
    closer: u8,
    at: usize,
    ternaries: usize,
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    open: Vec<Open>,
    /// How many unary operators stand in a row just before `at`.
    unary: usize,
}

impl Scanner<'_> {
    fn run(mut self) -> Result<(), Fault> {
        self.open.push(Open { closer: 0, at: 0, ternaries: 0 });
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'\'' | b'"' => self.string(byte)?,
                b'/' if self.bytes.get(self.at + 1) == Some(&b'/') => self.comment(),
                b'(' => self.opened(b')')?,
                b'[' => self.opened(b']')?,
                b'{' => self.opened(b'}')?,
                b')' | b']' | b'}' => self.closed(byte)?,
                b'?' => self.ternary()?,
                b'!' | b'-' => self.unary()?,
                other => {
                    if !other.is_ascii_whitespace() {
                        self.unary = 0;
                    }
                    self.at += 1;
                }
            }
        }
        match self.open.last() {
            Some(open) if open.closer != 0 => {
                Err(self.fault(open.at, "a bracket is never closed", "close it or remove it"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Skips a literal in single or double quotes, up to and with its closing quote.
    fn string(&mut self, quote: u8) -> Result<(), Fault> {
        let start = self.at;
        let prefixed = start > 0 && self.bytes[start - 1].is_ascii_alphanumeric();
        if prefixed || self.bytes[start..].starts_with(&[quote; 3]) {
            let message = "raw, byte and triple-quoted literals are not part of the language";
            return Err(self.fault(start, message, "write plain text in single or double quotes"));
        }
        self.at += 1;
        loop {
            match self.bytes.get(self.at) {
                Some(&byte) if byte == quote => break,
                Some(b'\\') => self.escape()?,
                None | Some(b'\n' | b'\r') => {
                    return Err(self.fault(start, "a text literal is not closed on its line", "close its quote"));
                }
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        self.unary = 0;
        Ok(())
    }

    fn escape(&mut self) -> Result<(), Fault> {
        if !matches!(self.bytes.get(self.at + 1), Some(b'\\' | b'\'' | b'"' | b'n' | b't' | b'r')) {
            let cure = "use one of \\\\ \\' \\\" \\n \\t \\r, or the character itself";
            return Err(self.fault(self.at, "unknown escape in a text literal", cure));
        }
        self.at += 2;
        Ok(())
    }

    fn comment(&mut self) {
        while self.bytes.get(self.at).is_some_and(|&byte| byte != b'\n') {
            self.at += 1;
        }
    }

    fn opened(&mut self, closer: u8) -> Result<(), Fault> {
        self.open.push(Open { closer, at: self.at, ternaries: 0 });
        self.advance()
    }

    fn closed(&mut self, closer: u8) -> Result<(), Fault> {
        if self.open.last().is_none_or(|open| open.closer != closer) {
            return Err(self.fault(self.at, "a bracket is closed that was not opened", "open it or remove it"));
        }
        self.open.pop();
        self.advance()
    }

    fn ternary(&mut self) -> Result<(), Fault> {
        if let Some(open) = self.open.last_mut() {
            open.ternaries += 1;
        }
        self.advance()
    }

    fn unary(&mut self) -> Result<(), Fault> {
        let unary = self.unary + 1;
        self.unary = unary;
        self.within_nesting()?;
        self.at += 1;
        Ok(())
    }

    fn advance(&mut self) -> Result<(), Fault> {
        self.unary = 0;
        self.within_nesting()?;
        self.at += 1;
        Ok(())
    }

    fn within_nesting(&self) -> Result<(), Fault> {
        let ternaries: usize = self.open.iter().map(|open| open.ternaries).sum();
        if self.open.len() - 1 + ternaries + self.unary <= NESTING_MAX {
            return Ok(());
        }
        let message = format!("nested deeper than {NESTING_MAX} levels");
        Err(self.fault(self.at, &message, "take a part out into a rule or feature of its own"))
    }

    fn fault(&self, at: usize, message: &str, cure: &str) -> Fault {
        Fault::at(self.text, at, message, cure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, because: &str) {
        let fault = check(text).expect_err(text);
        assert!(fault.message.contains(because), "{text}: {fault}");
    }

    #[test]
    fn length_and_nesting_have_bounds() {
        let nested = |depth: usize| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(check(&nested(NESTING_MAX)), Ok(()));
        refused(&nested(NESTING_MAX + 1), "nested deeper than 16");
        let ternaries = |count: usize| format!("{}1", "true ? 1 : ".repeat(count));
        assert_eq!(check(&ternaries(NESTING_MAX)), Ok(()));
        refused(&ternaries(NESTING_MAX + 1), "nested deeper than 16");
        assert_eq!(check(&format!("{}true", "!".repeat(NESTING_MAX))), Ok(()));
        refused(&format!("{}true", "! ".repeat(NESTING_MAX + 1)), "nested deeper than 16");
        assert_eq!(check(&" ".repeat(TEXT_LEN_MAX)), Ok(()));
        refused(&" ".repeat(TEXT_LEN_MAX + 1), "1025 bytes");
    }

    #[test]
    fn brackets_in_literals_and_comments_do_not_count() {
        let many = "(".repeat(100);
        assert_eq!(check(&format!("tx.type == '{many}'")), Ok(()));
        assert_eq!(check(&format!("tx.type == \"\\\"{many}\"")), Ok(()));
        assert_eq!(check(&format!("true // {many} it's\n")), Ok(()));
        refused(&format!("true // '\n{many}"), "nested deeper");
    }

    #[test]
    fn what_the_lexer_could_read_otherwise_is_refused() {
        refused("r'\\' + ((((", "raw, byte and triple");
        refused("'''it's (((( '''", "raw, byte and triple");
        refused("'abc\n((((", "not closed");
        refused("'\\q((((' == ''", "unknown escape");
        refused("(", "never closed");
        refused("(]", "not opened");
        refused("1)", "not opened");
    }
}
