//! The few strokes of JSON that an answer needs, into one buffer, without a tree in between.

use std::io::Write as _;

/// Writes JSON into a buffer. Commas are the writer's business: [`Self::key`] and [`Self::item`] set them.
#[derive(Debug)]
pub struct JsonWriter<'b> {
    out: &'b mut Vec<u8>,
}

impl<'b> JsonWriter<'b> {
    /// Writes behind what `out` holds already.
    pub const fn new(out: &'b mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Opens an object or list: `{` or `[`.
    pub fn open(&mut self, bracket: u8) {
        self.out.push(bracket);
    }

    /// Closes one: `}` or `]`.
    pub fn close(&mut self, bracket: u8) {
        self.out.push(bracket);
    }

    /// Writes a comma unless something was just opened.
    pub fn item(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(b',');
        }
    }

    /// Begins a member: comma, key, colon. The key is ours and needs no escape.
    pub fn key(&mut self, key: &str) {
        self.item();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Writes text, escaped where it must be.
    pub fn text(&mut self, text: &str) {
        let is_plain = !text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\');
        if is_plain {
            self.out.push(b'"');
            self.out.extend_from_slice(text.as_bytes());
            self.out.push(b'"');
        } else {
            self.serde(text);
        }
    }

    /// Writes what displays itself without a character that needs an escape: ids, instants.
    pub fn shown(&mut self, value: impl std::fmt::Display) {
        write!(self.out, "\"{value}\"").expect("writing to memory cannot fail");
    }

    /// Writes 128 bits as 32 hex digits behind a prefix.
    pub fn hex(&mut self, prefix: &str, bits: u128) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.out.push(b'"');
        self.out.extend_from_slice(prefix.as_bytes());
        for byte in bits.to_be_bytes() {
            self.out.push(DIGITS[usize::from(byte >> 4)]);
            self.out.push(DIGITS[usize::from(byte & 15)]);
        }
        self.out.push(b'"');
    }

    /// Writes a double so that reading it gives the same bits; what JSON has no number for is `null`.
    pub fn double(&mut self, number: f64) {
        self.serde(&number);
    }

    /// Writes a whole number.
    pub fn whole(&mut self, number: impl Into<i64>) {
        self.serde(&number.into());
    }

    /// Writes a whole number without a sign.
    pub fn count(&mut self, number: u64) {
        self.serde(&number);
    }

    /// Writes a truth value.
    pub fn flag(&mut self, flag: bool) {
        self.out.extend_from_slice(if flag { b"true" } else { b"false" });
    }

    /// Writes bytes that are JSON already.
    pub fn raw(&mut self, json: &[u8]) {
        self.out.extend_from_slice(json);
    }

    /// Writes anything `serde` can write.
    ///
    /// # Panics
    /// Never for our own types: their keys are strings, and memory does not fail.
    pub fn serde<T: serde::Serialize + ?Sized>(&mut self, value: &T) {
        serde_json::to_writer(&mut *self.out, value).expect("our own types have string keys, and memory does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_back(text in ".*", number in proptest::num::f64::NORMAL) {
            let mut out = Vec::new();
            let mut json = JsonWriter::new(&mut out);
            json.open(b'{');
            json.key("text");
            json.text(&text);
            json.key("number");
            json.double(number);
            json.close(b'}');
            let read: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
            proptest::prop_assert_eq!(&read["text"], &serde_json::Value::from(text));
            proptest::prop_assert_eq!(read["number"].as_f64().map(f64::to_bits), Some(number.to_bits()));
        }
    }

    #[test]
    fn nan_is_null_and_hex_is_padded() {
        let mut out = Vec::new();
        let mut json = JsonWriter::new(&mut out);
        json.double(f64::NAN);
        json.hex("dec_", 255);
        assert_eq!(out, b"null\"dec_000000000000000000000000000000ff\"");
    }
}
