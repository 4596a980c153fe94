//! A payment as the simulator thinks of it: small and copyable, dressed as a transaction when it leaves.
//!
//! Dressing draws nothing: the same sketch always gives the same transaction, so a duplicate is the same payload.

use std::fmt::{self, Write as _};
use std::net::Ipv4Addr;

use super::atlas::{Channel, Place};
use super::detail::{Hidden, Part};
use super::dice::{scatter, scatter_short};
use super::scenario::Scenario;
use super::world::World;
use crate::domain::{Currency, Draft, LabelKind, RateTable, TextField, Timestamp, Transaction};

/// A device: whose it is decides its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    /// One of a customer's own, by its number.
    Own(u32, u8),
    /// Another, by any number: a new phone, or a fraudster's.
    Other(u32),
}

/// What the checks of a card-not-present payment said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checks {
    pub(super) three_ds: &'static str,
    pub(super) cvc: &'static str,
    pub(super) avs: &'static str,
}

/// One payment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sketch {
    /// The transaction's number, in order of event time; 0 until it has one.
    pub(super) number: u64,
    pub(super) at: Timestamp,
    /// Minor units.
    pub(super) amount: i64,
    pub(super) customer: u32,
    pub(super) terminal: u32,
    pub(super) channel: Channel,
    /// Where the card or the device was.
    pub(super) place: Place,
    /// Where the goods go; absent when they are handed over.
    pub(super) shipping: Option<&'static str>,
    pub(super) device: Option<Device>,
    pub(super) checks: Option<Checks>,
    pub(super) result: &'static str,
    pub(super) scenario: Scenario,
    /// The label it will get, and when.
    pub(super) label: Option<(LabelKind, Timestamp)>,
    pub(super) hidden: Hidden,
}

/// Who pays how much, when and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bill {
    pub(super) at: Timestamp,
    pub(super) amount: i64,
    pub(super) customer: u32,
    pub(super) terminal: u32,
}

impl Sketch {
    /// Sketches a genuine payment with nothing special about it, made at its terminal.
    pub(super) fn of(bill: Bill, world: &World) -> Self {
        let terminal = world.terminal(bill.terminal);
        Self {
            number: 0,
            at: bill.at,
            amount: bill.amount,
            customer: bill.customer,
            terminal: bill.terminal,
            channel: terminal.trade.channel,
            place: terminal.place,
            shipping: None,
            device: None,
            checks: None,
            result: "approved",
            scenario: Scenario::Genuine,
            label: None,
            hidden: Hidden::default(),
        }
    }
}

/// Turns sketches into transactions.
#[derive(Clone, Debug)]
pub(super) struct Wardrobe {
    rates: RateTable,
    currency: Currency,
    text: String,
}

impl Wardrobe {
    /// Opens a wardrobe for one currency.
    pub(super) fn new(currency: Currency) -> Self {
        Self { rates: RateTable::identity(currency), currency, text: String::with_capacity(64) }
    }

    /// Dresses a sketch.
    pub(super) fn dress(&mut self, sketch: &Sketch, world: &World) -> Transaction {
        let mut draft = Draft::new();
        draft.id(self.write(TransactionId(sketch.number)));
        draft.occurred_at(sketch.at);
        draft.amount(sketch.amount);
        draft.currency(self.currency.code());
        if !sketch.hidden.hides(Part::Location) {
            draft.latitude(sketch.place.lat);
            draft.longitude(sketch.place.lon);
        }
        let mut fill = Fill { draft, hidden: sketch.hidden, text: &mut self.text };
        fill.payer(sketch, world);
        fill.payee(sketch, world);
        fill.circumstances(sketch);
        fill.draft.finish(&self.rates).expect("ids, codes and words of the simulator are within the contract")
    }

    /// Writes a transaction's id.
    pub(super) fn write(&mut self, id: impl fmt::Display) -> &str {
        written(&mut self.text, id)
    }
}

/// Fills the text fields that are sent.
struct Fill<'a> {
    draft: Draft,
    hidden: Hidden,
    text: &'a mut String,
}

impl Fill<'_> {
    fn payer(&mut self, sketch: &Sketch, world: &World) {
        let customer = world.customer(sketch.customer);
        let number = u64::from(sketch.customer);
        self.id(TextField::CustomerId, format_args!("c{number}"));
        self.id(TextField::EmailHash, format_args!("{:016x}", scatter(number)));
        // Eight digits at most: a longer token of digits might pass for a card number.
        self.id(TextField::CardToken, format_args!("tok_{:08x}", scatter_short(sketch.customer)));
        self.word(TextField::CardBin, customer.issuer.bin);
        self.id(TextField::CardLast4, format_args!("{:04}", customer.last4));
        self.word(TextField::CardBrand, customer.issuer.brand);
        self.word(TextField::CardCountry, customer.issuer.country);
        self.word(TextField::CardFunding, customer.issuer.funding);
        self.word(TextField::BillingCountry, customer.home.country);
    }

    fn payee(&mut self, sketch: &Sketch, world: &World) {
        let terminal = world.terminal(sketch.terminal);
        self.id(TextField::MerchantId, format_args!("m{}", terminal.merchant));
        self.word(TextField::MerchantMcc, terminal.trade.mcc);
        self.word(TextField::MerchantCountry, terminal.place.country);
        self.id(TextField::MerchantTerminalId, format_args!("t{}", sketch.terminal));
    }

    fn circumstances(&mut self, sketch: &Sketch) {
        self.word(TextField::Channel, sketch.channel.name());
        self.word(TextField::Type, sketch.channel.kind());
        if let Some(device) = sketch.device {
            self.id(TextField::DeviceId, device);
            self.id(TextField::DeviceIp, device.address());
        }
        if let Some(country) = sketch.shipping {
            self.word(TextField::ShippingCountry, country);
        }
        if let Some(checks) = sketch.checks {
            self.word(TextField::AuthenticationThreeDs, checks.three_ds);
            self.word(TextField::AuthenticationCvc, checks.cvc);
            self.word(TextField::AuthenticationAvs, checks.avs);
        }
        self.word(TextField::AuthorisationResult, sketch.result);
    }

    fn id(&mut self, field: TextField, id: impl fmt::Display) {
        if !self.hidden.hides(Part::Text(field)) {
            self.draft.text(field, written(self.text, id));
        }
    }

    fn word(&mut self, field: TextField, word: &str) {
        if !self.hidden.hides(Part::Text(field)) {
            self.draft.text(field, word);
        }
    }
}

fn written(text: &mut String, id: impl fmt::Display) -> &str {
    text.clear();
    // Writing to a String cannot fail.
    let _ = write!(text, "{id}");
    text
}

/// A transaction's id: padded, so that text order is event-time order.
pub(super) struct TransactionId(pub(super) u64);

impl fmt::Display for TransactionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "tx-{:010}", self.0)
    }
}

impl Device {
    /// Returns the address: 10.0.0.0/8 for customers, 198.18.0.0/15 (kept for tests) for others.
    fn address(self) -> Ipv4Addr {
        match self {
            Self::Own(customer, _) => Ipv4Addr::from_bits(10 << 24 | customer & 0x00FF_FFFF),
            Self::Other(number) => Ipv4Addr::from_bits(198 << 24 | 18 << 16 | scatter_short(number) & 0x0001_FFFF),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(customer, place) => {
                write!(out, "d{:016x}", scatter(u64::from(*customer) << 2 | u64::from(*place)))
            }
            Self::Other(number) => write!(out, "d{:016x}", scatter(u64::from(*number) | 1 << 63)),
        }
    }
}
