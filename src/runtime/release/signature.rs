//! Signatures: ed25519 over the manifest's bytes, and through its hashes over the whole bundle.
//!
//! Keys and signatures are hex text. An unsigned bundle may serve when a human chooses it; it is never
//! promoted automatically. Who holds which key is not known here.

use std::fmt::Write as _;

use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use serde::Serialize;

use super::bundle::Bundle;

/// What a bundle's signature is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Signed by a trusted key.
    Signed,
    /// No signature, or no trusted key to check it with.
    Unsigned,
    /// A signature that no trusted key made: the bundle is refused.
    Bad,
}

/// Why a key or a signature is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tried to read {what}: {reason}")]
pub struct Error {
    what: &'static str,
    reason: String,
}

/// Judges a bundle's signature by the keys that are trusted.
#[must_use]
pub fn judge(bundle: &Bundle, trusted: &[VerifyingKey]) -> Standing {
    let Some(file) = &bundle.signature else { return Standing::Unsigned };
    if trusted.is_empty() {
        return Standing::Unsigned;
    }
    let text = String::from_utf8_lossy(file);
    let Ok(signature) = bytes::<64>("signature", &text).map(|bytes| Signature::from_bytes(&bytes)) else {
        return Standing::Bad;
    };
    let made = |key: &VerifyingKey| key.verify(&bundle.manifest_bytes, &signature).is_ok();
    if trusted.iter().any(made) { Standing::Signed } else { Standing::Bad }
}

/// Signs a manifest's bytes with a secret key in hex; returns the text of `manifest.sig`.
///
/// # Errors
/// [`Error`] when the key is not 32 bytes of hex.
pub fn sign(manifest: &[u8], secret: &str) -> Result<String, Error> {
    let key = SigningKey::from_bytes(&bytes::<32>("secret key", secret)?);
    Ok(hex(&key.sign(manifest).to_bytes()) + "\n")
}

/// Returns the public key, in hex, of 32 secret bytes.
#[must_use]
pub fn public_key(secret: &[u8; 32]) -> String {
    hex(SigningKey::from_bytes(secret).verifying_key().as_bytes())
}

/// Reads a public key from hex.
///
/// # Errors
/// [`Error`] when it is not a key.
pub fn trusted_key(text: &str) -> Result<VerifyingKey, Error> {
    let what = "public key";
    VerifyingKey::from_bytes(&bytes::<32>(what, text)?).map_err(|error| Error { what, reason: error.to_string() })
}

/// Writes bytes as hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

fn bytes<const LEN: usize>(what: &'static str, text: &str) -> Result<[u8; LEN], Error> {
    let text = text.trim();
    let wrong = || Error { what, reason: format!("it is not {LEN} bytes in hex") };
    if text.len() != LEN * 2 || !text.is_ascii() {
        return Err(wrong());
    }
    let mut bytes = [0; LEN];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[place * 2..place * 2 + 2], 16).map_err(|_| wrong())?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_signatures_are_hex() {
        let secret = [7; 32];
        let key = trusted_key(&public_key(&secret)).expect("a key");
        let text = sign(b"manifest", &hex(&secret)).expect("signed");
        let signature = Signature::from_bytes(&bytes::<64>("signature", &text).expect("hex"));
        assert!(key.verify(b"manifest", &signature).is_ok());
        assert!(key.verify(b"manifesT", &signature).is_err());
        for wrong in ["", "zz", &"g".repeat(64), &"é".repeat(32)] {
            assert!(sign(b"", wrong).is_err(), "{wrong}");
        }
    }
}
