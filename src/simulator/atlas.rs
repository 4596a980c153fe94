//! Tables of the simulated world: the map's countries, far places, trades and card issuers.
//!
//! The 100 x 100 map lies around a corner of three countries, one unit a kilometre, so that paying abroad is
//! everyday life there and a country mismatch alone proves nothing. Issuers and their BINs are made up.

use super::dice::pick;
use rand_chacha::ChaCha8Rng;

/// A point on the globe and the country it lies in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    /// Latitude in degrees, rounded to about a metre.
    pub(super) lat: f64,
    /// Longitude in degrees, rounded likewise.
    pub(super) lon: f64,
    /// ISO 3166-1 alpha-2.
    pub(super) country: &'static str,
}

impl Place {
    /// Finds a point of the map: x eastward and y northward, each 0 to 100.
    pub(super) fn on_map(x: f64, y: f64) -> Self {
        const KM_PER_LAT: f64 = 111.32;
        const KM_PER_LON: f64 = 75.13;
        Self {
            lat: round(47.56 + (y - 50.0) / KM_PER_LAT),
            lon: round(7.59 + (x - 50.0) / KM_PER_LON),
            country: country_at(x, y),
        }
    }
}

/// Far places, each more than 2,000 km from the map.
pub(super) const FAR: [Place; 8] = [
    Place { lat: -23.55, lon: -46.63, country: "BR" },
    Place { lat: 40.71, lon: -74.01, country: "US" },
    Place { lat: 6.52, lon: 3.38, country: "NG" },
    Place { lat: 10.82, lon: 106.63, country: "VN" },
    Place { lat: 25.2, lon: 55.27, country: "AE" },
    Place { lat: -26.2, lon: 28.05, country: "ZA" },
    Place { lat: 14.6, lon: 120.98, country: "PH" },
    Place { lat: 19.43, lon: -99.13, country: "MX" },
];

/// How a payment is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    /// Card present.
    Pos,
    /// Card not present.
    Ecommerce,
    /// Cash.
    Atm,
}

impl Channel {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Pos => "pos",
            Self::Ecommerce => "ecommerce",
            Self::Atm => "atm",
        }
    }

    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Pos | Self::Ecommerce => "purchase",
            Self::Atm => "withdrawal",
        }
    }
}

/// What a merchant does: its category code and its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trade {
    pub(super) mcc: &'static str,
    pub(super) channel: Channel,
}

/// Trades with their weights among merchants; three in ten sell at a distance.
const TRADES: [(Trade, u32); 9] = [
    (Trade { mcc: "5411", channel: Channel::Pos }, 24),
    (Trade { mcc: "5812", channel: Channel::Pos }, 18),
    (Trade { mcc: "5541", channel: Channel::Pos }, 11),
    (Trade { mcc: "5651", channel: Channel::Pos }, 9),
    (Trade { mcc: "6011", channel: Channel::Atm }, 8),
    (Trade { mcc: "5964", channel: Channel::Ecommerce }, 12),
    (Trade { mcc: "5732", channel: Channel::Ecommerce }, 8),
    (Trade { mcc: "5816", channel: Channel::Ecommerce }, 6),
    (Trade { mcc: "4722", channel: Channel::Ecommerce }, 4),
];

/// Draws a trade.
pub(super) fn trade(rng: &mut ChaCha8Rng) -> Trade {
    pick(&TRADES, rng)
}

/// Who issued a card: its first six digits and what they tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Issuer {
    pub(super) bin: &'static str,
    pub(super) brand: &'static str,
    pub(super) country: &'static str,
    pub(super) funding: &'static str,
}

const fn issuer(bin: &'static str, brand: &'static str, country: &'static str, funding: &'static str) -> Issuer {
    Issuer { bin, brand, country, funding }
}

/// Issuers with their weights among the cards of their country.
const ISSUERS: [(Issuer, u32); 12] = [
    (issuer("497010", "visa", "FR", "debit"), 50),
    (issuer("513210", "mastercard", "FR", "credit"), 30),
    (issuer("497855", "visa", "FR", "credit"), 15),
    (issuer("533901", "mastercard", "FR", "prepaid"), 5),
    (issuer("455601", "visa", "DE", "debit"), 45),
    (issuer("521002", "mastercard", "DE", "debit"), 30),
    (issuer("547330", "mastercard", "DE", "credit"), 20),
    (issuer("416045", "visa", "DE", "prepaid"), 5),
    (issuer("423501", "visa", "CH", "debit"), 40),
    (issuer("515720", "mastercard", "CH", "credit"), 35),
    (issuer("434980", "visa", "CH", "credit"), 20),
    (issuer("539110", "mastercard", "CH", "prepaid"), 5),
];

/// Draws an issuer of a country; one card in twenty comes from anywhere on the map.
pub(super) fn issuer_in(country: &str, rng: &mut ChaCha8Rng) -> Issuer {
    let anywhere = pick(&[(true, 1), (false, 19)], rng);
    let first = match country {
        "FR" => 0,
        "DE" => 4,
        _ => 8,
    };
    if anywhere { pick(&ISSUERS, rng) } else { pick(&ISSUERS[first..first + 4], rng) }
}

fn country_at(x: f64, y: f64) -> &'static str {
    if x < 48.0 {
        "FR"
    } else if y >= 50.0 {
        "DE"
    } else {
        "CH"
    }
}

fn round(degrees: f64) -> f64 {
    (degrees * 1e5).round() / 1e5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_places_are_far_and_bins_are_bins() {
        for far in FAR {
            let away = (far.lat - 47.56).abs() + (far.lon - 7.59).abs();
            assert!(away > 25.0, "{far:?}");
        }
        for (issuer, _) in ISSUERS {
            assert!(issuer.bin.len() == 6 && issuer.bin.bytes().all(|digit| digit.is_ascii_digit()), "{issuer:?}");
        }
    }

    #[test]
    fn the_map_has_three_countries() {
        let seen = [(10.0, 10.0), (90.0, 90.0), (90.0, 10.0)].map(|(x, y)| Place::on_map(x, y).country);
        assert_eq!(seen, ["FR", "DE", "CH"]);
    }
}
