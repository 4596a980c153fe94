//! Money: currencies by ISO 4217 and a versioned table of rates into one base currency.
//!
//! Amounts are whole minor units (cents); sums of them are exact. A rate that is not in the
//! table leaves the base amount missing: nothing is guessed.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const NO_CURRENCY: &[u8; 3] = b"XXX";

/// An ISO 4217 currency that is in circulation or use today.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// ISO 4217's own word for no currency: what a draft holds after a currency was refused.
    pub const NONE: Self = Self(*NO_CURRENCY);
    /// The euro: the default base currency.
    pub const EUR: Self = Self(*b"EUR");

    /// Parses a three-letter code in capitals; `None` when ISO 4217 does not list it.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        let bytes: [u8; 3] = code.as_bytes().try_into().ok()?;
        iso_currency::Currency::from_code(code).map(|_| Self(bytes))
    }

    /// Returns the three-letter code.
    #[must_use]
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Returns how many decimal digits the minor unit has (2 for EUR, 0 for JPY, 3 for BHD).
    #[must_use]
    pub fn exponent(self) -> u32 {
        iso_currency::Currency::from_code(self.code()).and_then(iso_currency::Currency::exponent).map_or(0, u32::from)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Self::parse(&code).ok_or_else(|| serde::de::Error::custom(format!("not an ISO 4217 currency: {code}")))
    }
}

/// Exchange rates into the base currency, as configured: `rates.USD = 0.92` means one major unit
/// of USD is .92 major units of the base.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RateTable {
    /// Names this table in every decision that used it.
    pub version: String,
    /// The currency all base amounts are in.
    pub base: Currency,
    /// Major units of the base per major unit of the key; finite and above 0.
    #[serde(default)]
    pub rates: BTreeMap<Currency, f64>,
}

impl RateTable {
    /// Builds a table that knows only its base currency.
    #[must_use]
    pub fn identity(base: Currency) -> Self {
        Self { version: "none".into(), base, rates: BTreeMap::new() }
    }

    /// Converts minor units of `currency` to whole minor units of the base, rounding half to even;
    /// `None` without a rate, or beyond 2^53 minor units.
    #[must_use]
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "bounded by 2^53 below")]
    pub fn to_base(&self, amount: i64, currency: Currency) -> Option<i64> {
        if currency == self.base {
            return Some(amount);
        }
        let rate = *self.rates.get(&currency)?;
        let shift = i32::try_from(self.base.exponent()).ok()? - i32::try_from(currency.exponent()).ok()?;
        let base = (amount as f64 * rate * 10f64.powi(shift)).round_ties_even();
        (base.abs() < 9_007_199_254_740_992.0).then_some(base as i64)
    }

    /// Lists every rate that is not a finite number above 0.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let wrong = self.rates.iter().filter(|(_, rate)| !(rate.is_finite() && **rate > 0.0));
        wrong.map(|(currency, rate)| format!("rates.{currency} = {rate} is not a finite number above 0")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).expect("a currency")
    }

    #[test]
    fn rates_respect_minor_units() {
        let rates = [(currency("JPY"), 0.006), (currency("BHD"), 2.5), (currency("USD"), 0.92)];
        let table = RateTable { version: "t".into(), base: currency("EUR"), rates: rates.into() };
        let check = |amount, code: &str, base| assert_eq!(table.to_base(amount, currency(code)), base, "{code}");
        check(1_000, "EUR", Some(1_000));
        check(1_000, "JPY", Some(600));
        check(1_000, "BHD", Some(250));
        check(1_000, "USD", Some(920));
        check(1_000, "GBP", None);
        check(i64::MAX, "USD", None);
    }

    #[test]
    fn unknown_currencies_are_refused() {
        for wrong in ["eur", "EURO", "ZZZ", ""] {
            assert_eq!(Currency::parse(wrong), None, "{wrong}");
        }
    }
}
