//! How a connection is secured, and bytes that are not shown.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

/// How the connection is secured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// Whether it is encrypted, and whether one logs in.
    pub protocol: Protocol,
    /// How one logs in.
    pub mechanism: Mechanism,
    /// Who logs in.
    pub username: Option<String>,
    /// With which password.
    pub password: Option<Secret>,
    /// Certificates of the authorities that may vouch for a broker; `None` for the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, when brokers ask for one.
    pub cert_file: Option<PathBuf>,
    /// Its private key.
    pub key_file: Option<PathBuf>,
}

/// Whether a connection is encrypted, and whether one logs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Neither.
    #[default]
    Plaintext,
    /// Encrypted.
    Ssl,
    /// With a login in the clear.
    SaslPlaintext,
    /// Encrypted, with a login.
    SaslSsl,
}

impl Protocol {
    /// Returns librdkafka's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    /// Tells whether one logs in.
    #[must_use]
    pub const fn has_login(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    /// Tells whether the connection is encrypted.
    #[must_use]
    pub const fn is_encrypted(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }
}

/// How one logs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Mechanism {
    /// Name and password as they are.
    #[default]
    #[serde(rename = "PLAIN")]
    Plain,
    /// A salted challenge over SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// A salted challenge over SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Mechanism {
    /// Returns librdkafka's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Bytes that are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Keeps bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// Shows them to who needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
