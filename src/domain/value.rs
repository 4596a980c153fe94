//! A value read from a transaction, a feature or an event: typed, borrowed, possibly absent.

/// One value as rules and features see it. Never allocated: text is borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// The field was not sent, or the feature could not be computed.
    Absent,
    /// A truth value.
    Bool(bool),
    /// A whole number (minor units, counts).
    Int(i64),
    /// A finite or NaN double.
    Float(f64),
    /// Text as sent.
    Text(&'a str),
}

impl Value<'_> {
    /// Returns a number for numeric and truth values; `None` for text and absence.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "amounts are bounded by 2^53 at the edge")]
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::Bool(flag) => Some(f64::from(u8::from(flag))),
            Self::Int(number) => Some(number as f64),
            Self::Float(number) => Some(number),
            Self::Absent | Self::Text(_) => None,
        }
    }

    /// Tells whether there is a value at all.
    #[must_use]
    pub fn is_present(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}
