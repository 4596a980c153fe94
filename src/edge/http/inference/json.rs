//! A reader of JSON for tensors: one pass, no tree, bounded depth, and the numbers other JSON lacks.
//!
//! Clients write a missing number as `null`, as `NaN`, or as `Infinity` with a sign; all are read here,
//! and whether they may stand where they stand is the caller's to say. Everything else is strict JSON.
//! No text of the client comes back in a refusal, only where it was.

use std::borrow::Cow;

use crate::edge::problem::{Code, Problem};

/// How deep arrays and objects may nest, unknown members included.
pub(super) const DEPTH_MAX: usize = 16;

/// What is no array and no object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar<'b> {
    Null,
    Flag(bool),
    /// A number, and whether it was written without fraction and exponent.
    Number(f64, bool),
    Text(Cow<'b, str>),
}

/// Reads one document from its first byte to its last.
pub(super) struct Reader<'b> {
    text: &'b str,
    at: usize,
    depth: usize,
}

impl<'b> Reader<'b> {
    /// Begins a document.
    pub(super) fn new(bytes: &'b [u8]) -> Result<Self, Problem> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| Problem::new(Code::InvalidUtf8, format!("byte {} is no UTF-8", error.valid_up_to())))?;
        Ok(Self { text, at: 0, depth: 0 })
    }

    /// Returns the next byte that is no space, and stays before it.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Expects nothing but space until the end.
    pub(super) fn end(&mut self) -> Result<(), Problem> {
        if self.peek().is_none() { Ok(()) } else { Err(self.expected("the end")) }
    }

    /// Reads an object; `member` is called behind each key and must read its value.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &str) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        self.enter(b'{', "an object")?;
        if self.peek() == Some(b'}') {
            self.leave();
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.expected("a key"));
            }
            let key = self.text()?;
            self.take(b':', "a colon")?;
            member(self, &key)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.leave();
                    return Ok(());
                }
                Some(_) | None => return Err(self.expected("a comma or }")),
            }
        }
    }

    /// Reads an array; `item` is called for each and must read it.
    pub(super) fn array(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), Problem>) -> Result<(), Problem> {
        self.enter(b'[', "an array")?;
        if self.peek() == Some(b']') {
            self.leave();
            return Ok(());
        }
        loop {
            item(self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.leave();
                    return Ok(());
                }
                Some(_) | None => return Err(self.expected("a comma or ]")),
            }
        }
    }

    /// Reads what is no array and no object.
    pub(super) fn scalar(&mut self) -> Result<Scalar<'b>, Problem> {
        match self.peek() {
            Some(b'"') => self.text().map(Scalar::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'n') => self.word("null", Scalar::Null),
            Some(b't') => self.word("true", Scalar::Flag(true)),
            Some(b'f') => self.word("false", Scalar::Flag(false)),
            Some(b'N') => self.word("NaN", Scalar::Number(f64::NAN, false)),
            Some(b'I') => self.infinity(f64::INFINITY),
            Some(_) | None => Err(self.expected("a value")),
        }
    }

    /// Reads a string.
    pub(super) fn string(&mut self) -> Result<Cow<'b, str>, Problem> {
        if self.peek() == Some(b'"') { self.text() } else { Err(self.expected("a string")) }
    }

    /// Reads a whole number that fits 64 bits with a sign.
    pub(super) fn whole(&mut self) -> Result<i64, Problem> {
        self.peek();
        let from = self.at;
        match self.scalar()? {
            Scalar::Number(_, true) => self.text[from..self.at].parse().map_err(|_| self.expected("a smaller number")),
            Scalar::Number(_, false) | Scalar::Null | Scalar::Flag(_) | Scalar::Text(_) => {
                Err(self.expected("a whole number"))
            }
        }
    }

    /// Passes over any value.
    pub(super) fn skip(&mut self) -> Result<(), Problem> {
        match self.peek() {
            Some(b'{') => self.object(|reader, _| reader.skip()),
            Some(b'[') => self.array(Self::skip),
            Some(_) | None => self.scalar().map(drop),
        }
    }

    /// Refuses what is here, by its place.
    pub(super) fn expected(&self, what: &str) -> Problem {
        Problem::new(Code::MalformedJson, format!("expected {what} at byte {} of the JSON", self.at))
    }

    fn enter(&mut self, bracket: u8, what: &str) -> Result<(), Problem> {
        self.take(bracket, what)?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Problem::new(Code::NestingTooDeep, format!("the JSON nests deeper than {DEPTH_MAX} levels")));
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.at += 1;
        self.depth -= 1;
    }

    fn take(&mut self, byte: u8, what: &str) -> Result<(), Problem> {
        if self.peek() != Some(byte) {
            return Err(self.expected(what));
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str, value: Scalar<'b>) -> Result<Scalar<'b>, Problem> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.expected("a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    /// Both spellings are written by clients.
    fn infinity(&mut self, value: f64) -> Result<Scalar<'b>, Problem> {
        let scalar = Scalar::Number(value, false);
        let word = if self.text[self.at..].starts_with("Infinity") { "Infinity" } else { "Inf" };
        self.word(word, scalar)
    }

    fn number(&mut self) -> Result<Scalar<'b>, Problem> {
        let (from, bytes) = (self.at, self.text.as_bytes());
        if bytes[self.at] == b'-' {
            self.at += 1;
            if bytes.get(self.at) == Some(&b'I') {
                return self.infinity(f64::NEG_INFINITY);
            }
        }
        let leads_with_zero = bytes.get(self.at) == Some(&b'0');
        let digits = self.digits()?;
        if leads_with_zero && digits > 1 {
            return Err(self.expected("a number without leading zeros"));
        }
        let mut is_whole = true;
        if bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
            is_whole = false;
        }
        if matches!(bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
            is_whole = false;
        }
        let value: f64 = self.text[from..self.at].parse().map_err(|_| self.expected("a number"))?;
        if value.is_infinite() {
            return Err(self.expected("a number within a double's range"));
        }
        Ok(Scalar::Number(value, is_whole))
    }

    fn digits(&mut self) -> Result<usize, Problem> {
        let rest = &self.text.as_bytes()[self.at..];
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(self.expected("a digit"));
        }
        self.at += count;
        Ok(count)
    }

    fn text(&mut self) -> Result<Cow<'b, str>, Problem> {
        let (from, bytes) = (self.at, self.text.as_bytes());
        let mut end = from + 1;
        let mut is_escaped = false;
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => {
                    is_escaped = true;
                    end += 2;
                }
                Some(0..0x20) | None => {
                    self.at = end.min(bytes.len());
                    return Err(self.expected("the end of a string"));
                }
                Some(_) => end += 1,
            }
        }
        self.at = end + 1;
        if !is_escaped {
            return Ok(Cow::Borrowed(&self.text[from + 1..end]));
        }
        let unescaped: Result<String, _> = serde_json::from_str(&self.text[from..=end]);
        unescaped.map(Cow::Owned).map_err(|_| self.expected("a string with right escapes before this"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Builds the tree that another parser would.
    fn tree(reader: &mut Reader<'_>) -> Result<Value, Problem> {
        match reader.peek() {
            Some(b'{') => {
                let mut members = serde_json::Map::new();
                reader.object(|reader, key| {
                    members.insert(key.to_owned(), tree(reader)?);
                    Ok(())
                })?;
                Ok(Value::Object(members))
            }
            Some(b'[') => {
                let mut items = Vec::new();
                reader.array(|reader| {
                    items.push(tree(reader)?);
                    Ok(())
                })?;
                Ok(Value::Array(items))
            }
            Some(_) | None => Ok(match reader.scalar()? {
                Scalar::Null => Value::Null,
                Scalar::Flag(flag) => flag.into(),
                Scalar::Number(number, _) => number.into(),
                Scalar::Text(text) => text.into(),
            }),
        }
    }

    fn parse(bytes: &[u8]) -> Result<Value, Problem> {
        let mut reader = Reader::new(bytes)?;
        let value = tree(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    fn code(text: &str) -> Option<Code> {
        parse(text.as_bytes()).err().map(|problem| problem.code())
    }

    #[test]
    fn numbers_that_other_json_lacks_are_read() {
        let check = |text: &str, expected: f64| {
            let mut reader = Reader::new(text.as_bytes()).expect("UTF-8");
            let Ok(Scalar::Number(found, _)) = reader.scalar() else { panic!("{text}") };
            assert!(found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()), "{text}: {found}");
            assert!(reader.end().is_ok(), "{text}");
        };
        check("NaN", f64::NAN);
        check("Infinity", f64::INFINITY);
        check("-Infinity", f64::NEG_INFINITY);
        check("-Inf", f64::NEG_INFINITY);
        check("-0", -0.0);
        check("1e-400", 0.0);
    }

    #[test]
    fn what_is_no_json_is_refused_by_its_place() {
        for wrong in [
            "",
            "{",
            "[1,]",
            "{\"a\" 1}",
            "{\"a\":1,}",
            "{1:2}",
            "01",
            "-",
            "1.",
            "1e",
            "+1",
            "nul",
            "Nan",
            "Infinit",
            "\"a",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\n\"",
            "[1] 2",
            "'a'",
            "[1 2]",
            "\"\\",
            "1e999",
        ] {
            assert_eq!(code(wrong), Some(Code::MalformedJson), "{wrong:?}");
        }
        let deep = "[".repeat(10_000_000);
        assert_eq!(code(&deep), Some(Code::NestingTooDeep));
        assert_eq!(parse(b"\"\xff\"").err().map(|problem| problem.code()), Some(Code::InvalidUtf8));
    }

    #[test]
    fn whole_numbers_keep_their_bits() {
        let whole = |text: &str| Reader::new(text.as_bytes()).expect("UTF-8").whole().ok();
        assert_eq!(whole("9223372036854775807"), Some(i64::MAX));
        assert_eq!(whole("-1"), Some(-1));
        for wrong in ["9223372036854775808", "1.0", "1e2", "null", "\"1\"", "NaN"] {
            assert_eq!(whole(wrong), None, "{wrong}");
        }
    }

    fn value() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::prelude::*;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest::proptest! {
        #[test]
        fn json_is_read_as_others_read_it(value in value()) {
            proptest::prop_assert_eq!(parse(value.to_string().as_bytes()).ok(), Some(value.clone()));
            let pretty = serde_json::to_string_pretty(&value).expect("JSON");
            proptest::prop_assert_eq!(parse(pretty.as_bytes()).ok(), Some(value));
        }

        #[test]
        fn no_bytes_make_it_panic_or_take_what_others_refuse(bytes: Vec<u8>) {
            let ours = parse(&bytes);
            let theirs: Result<Value, _> = serde_json::from_slice(&bytes);
            proptest::prop_assert!(ours.is_err() || theirs.is_ok() || bytes.iter().any(|byte| b"NI".contains(byte)));
        }

        #[test]
        fn no_text_near_json_makes_it_panic(text in "[\\[\\]{}\",:0-9eE.+\\-nultrfasINy \\\\]{0,64}") {
            let _ = parse(text.as_bytes());
        }
    }
}
