//! Why a transaction is fraud: the closed list of scenarios, and the patterns that have a daily rate.

/// What is behind a transaction. The first three frauds are the handbook's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// A customer paying.
    Genuine,
    /// An amount above the threshold.
    HighAmount,
    /// A terminal under the fraudsters' control.
    CompromisedTerminal,
    /// A customer whose card data leaked: some amounts are multiplied.
    CompromisedCustomer,
    /// Many stolen cards tried with small amounts on one device at one merchant.
    CardTesting,
    /// A stranger in the customer's account: new device, far country, higher amounts.
    AccountTakeover,
    /// A cloned card used far away, sooner than anyone could travel.
    GeoVelocity,
}

impl Scenario {
    /// Every scenario, by number.
    pub const ALL: [Self; 7] = [
        Self::Genuine,
        Self::HighAmount,
        Self::CompromisedTerminal,
        Self::CompromisedCustomer,
        Self::CardTesting,
        Self::AccountTakeover,
        Self::GeoVelocity,
    ];

    /// Returns the number: 0 genuine, 1 to 3 as in the handbook, 4 to 6 beyond it.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Tells whether this is fraud.
    #[must_use]
    pub const fn is_fraud(self) -> bool {
        !matches!(self, Self::Genuine)
    }
}

/// A fraud pattern that begins so many times a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// Terminals that become compromised.
    CompromisedTerminals,
    /// Customers who become compromised.
    CompromisedCustomers,
    /// Card-testing bursts.
    CardTesting,
    /// Account takeovers.
    AccountTakeover,
    /// Cloned cards used far away.
    GeoVelocity,
}

impl Pattern {
    /// Every pattern.
    pub const ALL: [Self; 5] = [
        Self::CompromisedTerminals,
        Self::CompromisedCustomers,
        Self::CardTesting,
        Self::AccountTakeover,
        Self::GeoVelocity,
    ];

    /// Returns the name used in options and drifts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CompromisedTerminals => "compromised_terminals",
            Self::CompromisedCustomers => "compromised_customers",
            Self::CardTesting => "card_testing",
            Self::AccountTakeover => "account_takeover",
            Self::GeoVelocity => "geo_velocity",
        }
    }

    /// Finds a pattern by its name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pattern| pattern.name() == name)
    }
}
