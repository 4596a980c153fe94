//! Sizes with a unit, as settings write them.

use serde::{Deserialize, Deserializer};

/// A number of bytes, written as `64KiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Size(usize);

impl Size {
    /// Parses a whole number and a unit: `B`, `KiB`, `MiB` or `GiB`; `None` for anything else.
    #[must_use]
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let scale = match unit {
            "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.parse::<usize>().ok()?.checked_mul(scale).map(Self)
    }

    /// Returns the bytes.
    #[must_use]
    pub(super) const fn bytes(self) -> usize {
        self.0
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("expected a size with a unit, such as \"64KiB\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_carry_units() {
        let check = |text, bytes| assert_eq!(Size::parse(text).map(Size::bytes), bytes, "{text}");
        check("0B", Some(0));
        check("64KiB", Some(65_536));
        check("2MiB", Some(2 << 20));
        for wrong in ["64", "KiB", "-1B", "1KB", "99999999999GiB"] {
            check(wrong, None);
        }
    }
}
