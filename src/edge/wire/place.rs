//! Where a key of a transaction's JSON leads: the shape of the contract as one `match`.

use crate::domain::TextField;

/// A nested object of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Card,
    Merchant,
    Counterparty,
    Device,
    Location,
    Billing,
    Shipping,
    Authentication,
    Authorisation,
}

/// Where a key leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Id,
    OccurredAt,
    Amount,
    Currency,
    Latitude,
    Longitude,
    Text(TextField),
    Object(Group),
    Attributes,
}

impl Group {
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Merchant => "merchant",
            Self::Counterparty => "counterparty",
            Self::Device => "device",
            Self::Location => "location",
            Self::Billing => "billing",
            Self::Shipping => "shipping",
            Self::Authentication => "authentication",
            Self::Authorisation => "authorisation",
        }
    }
}

impl Place {
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Id => "transaction_id",
            Self::OccurredAt => "occurred_at",
            Self::Amount => "amount",
            Self::Currency => "currency",
            Self::Latitude => "location.lat",
            Self::Longitude => "location.lon",
            Self::Text(field) => field.path(),
            Self::Object(group) => group.path(),
            Self::Attributes => "attributes",
        }
    }

    /// Returns a bit of its own, for `Reader::seen`.
    pub(super) const fn bit(self) -> u64 {
        let number = match self {
            Self::Text(field) => field.slot(),
            Self::Id => TextField::COUNT,
            Self::OccurredAt => TextField::COUNT + 1,
            Self::Amount => TextField::COUNT + 2,
            Self::Currency => TextField::COUNT + 3,
            Self::Latitude => TextField::COUNT + 4,
            Self::Longitude => TextField::COUNT + 5,
            Self::Attributes => TextField::COUNT + 6,
            Self::Object(group) => TextField::COUNT + 7 + group as usize,
        };
        1 << number
    }

    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Amount => "expected a whole number of minor units: digits only, no fraction, no exponent",
            Self::Latitude | Self::Longitude => "expected a number of degrees",
            Self::Object(_) | Self::Attributes => "expected an object",
            Self::Id | Self::OccurredAt | Self::Currency | Self::Text(_) => "expected a string",
        }
    }
}

/// Finds where a key of the given object leads. A test holds it against the list of fields.
pub(super) fn place(group: Option<Group>, key: &str) -> Option<Place> {
    let Some(group) = group else { return top_level(key) };
    let field = match (group, key) {
        (Group::Location, "lat") => return Some(Place::Latitude),
        (Group::Location, "lon") => return Some(Place::Longitude),
        (Group::Card, "token") => TextField::CardToken,
        (Group::Card, "bin") => TextField::CardBin,
        (Group::Card, "last4") => TextField::CardLast4,
        (Group::Card, "brand") => TextField::CardBrand,
        (Group::Card, "country") => TextField::CardCountry,
        (Group::Card, "funding") => TextField::CardFunding,
        (Group::Merchant, "id") => TextField::MerchantId,
        (Group::Merchant, "mcc") => TextField::MerchantMcc,
        (Group::Merchant, "country") => TextField::MerchantCountry,
        (Group::Merchant, "terminal_id") => TextField::MerchantTerminalId,
        (Group::Counterparty, "id") => TextField::CounterpartyId,
        (Group::Counterparty, "bank") => TextField::CounterpartyBank,
        (Group::Counterparty, "country") => TextField::CounterpartyCountry,
        (Group::Device, "id") => TextField::DeviceId,
        (Group::Device, "ip") => TextField::DeviceIp,
        (Group::Device, "fingerprint") => TextField::DeviceFingerprint,
        (Group::Billing, "country") => TextField::BillingCountry,
        (Group::Shipping, "country") => TextField::ShippingCountry,
        (Group::Authentication, "three_ds") => TextField::AuthenticationThreeDs,
        (Group::Authentication, "cvc") => TextField::AuthenticationCvc,
        (Group::Authentication, "avs") => TextField::AuthenticationAvs,
        (Group::Authorisation, "result") => TextField::AuthorisationResult,
        _ => return None,
    };
    Some(Place::Text(field))
}

fn top_level(key: &str) -> Option<Place> {
    Some(match key {
        "transaction_id" => Place::Id,
        "occurred_at" => Place::OccurredAt,
        "amount" => Place::Amount,
        "currency" => Place::Currency,
        "customer_id" => Place::Text(TextField::CustomerId),
        "account_id" => Place::Text(TextField::AccountId),
        "email_hash" => Place::Text(TextField::EmailHash),
        "channel" => Place::Text(TextField::Channel),
        "type" => Place::Text(TextField::Type),
        "card" => Place::Object(Group::Card),
        "merchant" => Place::Object(Group::Merchant),
        "counterparty" => Place::Object(Group::Counterparty),
        "device" => Place::Object(Group::Device),
        "location" => Place::Object(Group::Location),
        "billing" => Place::Object(Group::Billing),
        "shipping" => Place::Object(Group::Shipping),
        "authentication" => Place::Object(Group::Authentication),
        "authorisation" => Place::Object(Group::Authorisation),
        "attributes" => Place::Attributes,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Field;

    #[test]
    fn every_field_of_the_contract_has_its_place() {
        for (field, path, _) in Field::all() {
            if field == Field::BaseAmount {
                continue;
            }
            let mut found = None;
            let mut group = None;
            for key in path.split('.') {
                found = place(group, key);
                group = match found {
                    Some(Place::Object(inner)) => Some(inner),
                    _ => None,
                };
            }
            assert_eq!(found.map(Place::path), Some(path));
        }
    }

    #[test]
    fn no_two_places_share_a_bit() {
        let texts = TextField::ALL.into_iter().map(|(field, ..)| Place::Text(field));
        let rest = ["transaction_id", "occurred_at", "amount", "currency", "attributes", "card", "merchant"]
            .into_iter()
            .chain(["counterparty", "device", "location", "billing", "shipping", "authentication", "authorisation"])
            .map(|key| place(None, key).expect("a place"));
        let all: Vec<u64> = texts.chain(rest).chain([Place::Latitude, Place::Longitude]).map(Place::bit).collect();
        let union = all.iter().fold(0, |union, bit| union | bit);
        assert_eq!(union.count_ones() as usize, all.len());
    }
}
