//! The fields of a transaction: one closed list that JSON, mapping, rules and features share.
//!
//! A field has a dotted path (`card.country`), which is also its place in the JSON document, and a
//! kind. Free attributes are addressed as `attributes.NAME` and typed by the schema that reads them.

use compact_str::CompactString;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueKind {
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A double.
    Float,
    /// Text.
    Text,
}

impl ValueKind {
    /// Returns the name used in schemas and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Text => "text",
        }
    }
}

/// What text a text field accepts; see [`super::draft`] for the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextRule {
    /// An opaque id: 1 to 128 visible characters. Exempt from the card number check.
    Id,
    /// A card field: 1 to 128 visible characters; a full card number is refused.
    Card,
    /// 6 to 8 digits.
    Bin,
    /// 4 digits.
    Digits4,
    /// An ISO 3166-1 alpha-2 code in capitals.
    Country,
    /// An IPv4 or IPv6 address.
    Ip,
    /// A lower-case word: letters, digits, `_`, `-`, `.`; at most 32 bytes.
    Word,
}

/// A text field of the contract; its number is its slot in a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each variant is its path, see `TextField::path`")]
pub enum TextField {
    CustomerId,
    AccountId,
    EmailHash,
    CardToken,
    CardBin,
    CardLast4,
    CardBrand,
    CardCountry,
    CardFunding,
    MerchantId,
    MerchantMcc,
    MerchantCountry,
    MerchantTerminalId,
    CounterpartyId,
    CounterpartyBank,
    CounterpartyCountry,
    Channel,
    Type,
    DeviceId,
    DeviceIp,
    DeviceFingerprint,
    BillingCountry,
    ShippingCountry,
    AuthenticationThreeDs,
    AuthenticationCvc,
    AuthenticationAvs,
    AuthorisationResult,
}

impl TextField {
    /// How many text fields there are.
    pub const COUNT: usize = 27;

    /// Every text field, its path and its check, in slot order.
    pub const ALL: [(Self, &'static str, TextRule); Self::COUNT] = [
        (Self::CustomerId, "customer_id", TextRule::Id),
        (Self::AccountId, "account_id", TextRule::Id),
        (Self::EmailHash, "email_hash", TextRule::Id),
        (Self::CardToken, "card.token", TextRule::Card),
        (Self::CardBin, "card.bin", TextRule::Bin),
        (Self::CardLast4, "card.last4", TextRule::Digits4),
        (Self::CardBrand, "card.brand", TextRule::Word),
        (Self::CardCountry, "card.country", TextRule::Country),
        (Self::CardFunding, "card.funding", TextRule::Word),
        (Self::MerchantId, "merchant.id", TextRule::Id),
        (Self::MerchantMcc, "merchant.mcc", TextRule::Digits4),
        (Self::MerchantCountry, "merchant.country", TextRule::Country),
        (Self::MerchantTerminalId, "merchant.terminal_id", TextRule::Id),
        (Self::CounterpartyId, "counterparty.id", TextRule::Id),
        (Self::CounterpartyBank, "counterparty.bank", TextRule::Id),
        (Self::CounterpartyCountry, "counterparty.country", TextRule::Country),
        (Self::Channel, "channel", TextRule::Word),
        (Self::Type, "type", TextRule::Word),
        (Self::DeviceId, "device.id", TextRule::Id),
        (Self::DeviceIp, "device.ip", TextRule::Ip),
        (Self::DeviceFingerprint, "device.fingerprint", TextRule::Id),
        (Self::BillingCountry, "billing.country", TextRule::Country),
        (Self::ShippingCountry, "shipping.country", TextRule::Country),
        (Self::AuthenticationThreeDs, "authentication.three_ds", TextRule::Word),
        (Self::AuthenticationCvc, "authentication.cvc", TextRule::Word),
        (Self::AuthenticationAvs, "authentication.avs", TextRule::Word),
        (Self::AuthorisationResult, "authorisation.result", TextRule::Word),
    ];

    /// Returns the slot of this field in a transaction.
    #[must_use]
    pub const fn slot(self) -> usize {
        self as usize
    }

    /// Returns the dotted path.
    #[must_use]
    pub const fn path(self) -> &'static str {
        Self::ALL[self.slot()].1
    }

    /// Returns what text is accepted.
    #[must_use]
    pub const fn rule(self) -> TextRule {
        Self::ALL[self.slot()].2
    }
}

/// Any field of the contract but free attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// `transaction_id`, text.
    TransactionId,
    /// `occurred_at`; whole seconds since the epoch when read as a value.
    OccurredAt,
    /// `amount` in minor units of `currency`.
    Amount,
    /// `currency`, text.
    Currency,
    /// `base_amount` in minor units of the base currency, derived from the rate table; absent without a rate.
    BaseAmount,
    /// `location.lat` in degrees, -90..=90.
    Latitude,
    /// `location.lon` in degrees, -180..=180.
    Longitude,
    /// One of the optional text fields.
    Text(TextField),
}

impl Field {
    const HEADER: [(Self, &'static str, ValueKind); 7] = [
        (Self::TransactionId, "transaction_id", ValueKind::Text),
        (Self::OccurredAt, "occurred_at", ValueKind::Int),
        (Self::Amount, "amount", ValueKind::Int),
        (Self::Currency, "currency", ValueKind::Text),
        (Self::BaseAmount, "base_amount", ValueKind::Int),
        (Self::Latitude, "location.lat", ValueKind::Float),
        (Self::Longitude, "location.lon", ValueKind::Float),
    ];

    /// Returns every field with its path and kind, header fields first.
    pub fn all() -> impl Iterator<Item = (Self, &'static str, ValueKind)> {
        let texts = TextField::ALL.into_iter().map(|(field, path, _)| (Self::Text(field), path, ValueKind::Text));
        Self::HEADER.into_iter().chain(texts)
    }

    /// Finds a field by its dotted path.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        Self::all().find(|(_, known, _)| *known == path).map(|(field, _, _)| field)
    }

    /// Returns the dotted path.
    #[must_use]
    pub fn path(self) -> &'static str {
        Self::all().find(|(field, _, _)| *field == self).map_or("", |(_, path, _)| path)
    }

    /// Returns what the field holds.
    #[must_use]
    pub const fn kind(self) -> ValueKind {
        match self {
            Self::OccurredAt | Self::Amount | Self::BaseAmount => ValueKind::Int,
            Self::Latitude | Self::Longitude => ValueKind::Float,
            Self::TransactionId | Self::Currency | Self::Text(_) => ValueKind::Text,
        }
    }
}

/// A field or a free attribute, as schemas and mappings name them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FieldRef {
    /// A field of the contract.
    Known(Field),
    /// `attributes.NAME`.
    Attribute(CompactString),
}

impl FieldRef {
    /// Parses a dotted path; `None` when it names no field and is not `attributes.NAME`.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        match path.strip_prefix("attributes.") {
            Some(name) if !name.is_empty() && !name.contains('.') => Some(Self::Attribute(name.into())),
            Some(_) => None,
            None => Field::parse(path).map(Self::Known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_and_paths_agree() {
        for (slot, (field, path, _)) in TextField::ALL.into_iter().enumerate() {
            assert_eq!(field.slot(), slot, "{path}");
        }
        for (field, path, kind) in Field::all() {
            assert_eq!(Field::parse(path), Some(field));
            assert_eq!((field.path(), field.kind()), (path, kind));
        }
        assert_eq!(FieldRef::parse("attributes.tier"), Some(FieldRef::Attribute("tier".into())));
        for wrong in ["attributes.", "attributes.a.b", "card", "nope", ""] {
            assert_eq!(FieldRef::parse(wrong), None, "{wrong}");
        }
    }
}
