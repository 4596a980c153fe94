//! What is said of a transaction beyond the handbook's five columns: groups of fields that can be left out.
//!
//! The world always has cards, devices and places; a detail only says whether they are *sent*. So the same
//! seed tells the same story, in more or fewer words.

use crate::domain::TextField;

/// A group of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Token, BIN, last four digits, brand, country and funding of the card.
    Card,
    /// Device id and address.
    Device,
    /// Hash of the e-mail address.
    Email,
    /// Billing and shipping country.
    Country,
    /// Merchant, its category code and country.
    Merchant,
    /// Channel and type.
    Channel,
    /// 3-D Secure, card verification code and address check.
    Authentication,
    /// Approved, or why not.
    Authorisation,
    /// Latitude and longitude.
    Location,
}

impl Detail {
    /// Every detail.
    pub const ALL: [Self; 9] = [
        Self::Card,
        Self::Device,
        Self::Email,
        Self::Country,
        Self::Merchant,
        Self::Channel,
        Self::Authentication,
        Self::Authorisation,
        Self::Location,
    ];

    /// Returns the name used in options.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Device => "device",
            Self::Email => "email",
            Self::Country => "country",
            Self::Merchant => "merchant",
            Self::Channel => "channel",
            Self::Authentication => "authentication",
            Self::Authorisation => "authorisation",
            Self::Location => "location",
        }
    }

    /// Finds a detail by its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|detail| detail.name() == name)
    }

    /// Returns the detail a field belongs to; `None` for what is always sent.
    #[must_use]
    pub const fn of(field: TextField) -> Option<Self> {
        use TextField as F;
        match field {
            F::CardToken | F::CardBin | F::CardLast4 | F::CardBrand | F::CardCountry | F::CardFunding => {
                Some(Self::Card)
            }
            F::DeviceId | F::DeviceIp | F::DeviceFingerprint => Some(Self::Device),
            F::EmailHash => Some(Self::Email),
            F::BillingCountry | F::ShippingCountry => Some(Self::Country),
            F::MerchantId | F::MerchantMcc | F::MerchantCountry => Some(Self::Merchant),
            F::Channel | F::Type => Some(Self::Channel),
            F::AuthenticationThreeDs | F::AuthenticationCvc | F::AuthenticationAvs => Some(Self::Authentication),
            F::AuthorisationResult => Some(Self::Authorisation),
            F::CustomerId
            | F::AccountId
            | F::MerchantTerminalId
            | F::CounterpartyId
            | F::CounterpartyBank
            | F::CounterpartyCountry => None,
        }
    }
}

/// A set of details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Details(u16);

impl Details {
    /// Everything is sent.
    pub const ALL: Self = Self((1 << Detail::ALL.len()) - 1);
    /// Only the handbook's columns are sent.
    pub const NONE: Self = Self(0);

    /// Returns this set and one more.
    #[must_use]
    pub const fn with(self, detail: Detail) -> Self {
        Self(self.0 | 1 << detail as u16)
    }

    /// Returns this set without one.
    #[must_use]
    pub const fn without(self, detail: Detail) -> Self {
        Self(self.0 & !(1 << detail as u16))
    }

    /// Tells whether a detail is sent.
    #[must_use]
    pub const fn has(self, detail: Detail) -> bool {
        self.0 & 1 << detail as u16 != 0
    }

    /// Returns what is not sent.
    #[must_use]
    pub fn hidden(self) -> Hidden {
        let mut hidden = Hidden::default();
        for (field, _, _) in TextField::ALL {
            if Detail::of(field).is_some_and(|detail| !self.has(detail)) {
                hidden.hide(Part::Text(field));
            }
        }
        if !self.has(Detail::Location) {
            hidden.hide(Part::Location);
        }
        hidden
    }
}

/// A part of a transaction that can be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A text field.
    Text(TextField),
    /// Latitude and longitude together.
    Location,
}

impl Part {
    /// Finds a part by its path: a text field's, or `location`.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        if path == "location" {
            return Some(Self::Location);
        }
        TextField::ALL.into_iter().find(|(_, known, _)| *known == path).map(|(field, _, _)| Self::Text(field))
    }

    const fn bit(self) -> u32 {
        match self {
            Self::Text(field) => 1 << field.slot(),
            Self::Location => 1 << TextField::COUNT,
        }
    }
}

/// The parts of one transaction that are not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hidden(u32);

impl Hidden {
    /// Leaves a part out.
    pub const fn hide(&mut self, part: Part) {
        self.0 |= part.bit();
    }

    /// Tells whether a part is left out.
    #[must_use]
    pub const fn hides(self, part: Part) -> bool {
        self.0 & part.bit() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_switched_off_hides_its_fields_and_no_others() {
        for detail in Detail::ALL {
            assert_eq!(Detail::parse(detail.name()), Some(detail));
            let hidden = Details::ALL.without(detail).hidden();
            for (field, path, _) in TextField::ALL {
                assert_eq!(hidden.hides(Part::Text(field)), Detail::of(field) == Some(detail), "{path}");
            }
            assert_eq!(hidden.hides(Part::Location), detail == Detail::Location);
        }
        assert_eq!(Details::ALL.hidden(), Hidden::default());
        assert_eq!(Detail::ALL.into_iter().fold(Details::NONE, Details::with), Details::ALL);
    }
}
