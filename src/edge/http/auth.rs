//! Who may do what: API keys with scopes, or, without keys, only whoever sits at this machine.
//!
//! Keys are kept as SHA-256 and compared in constant time. A key line is `name:scope,scope:sha256`.
//! Without keys the service answers only to a loopback `Host` and to no page of another origin: a web
//! page must not reach a local service through its visitor's browser.

use std::fmt;
use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, header};
use compact_str::CompactString;
use sha2::{Digest, Sha256};

use crate::edge::problem::{Code, Problem};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Ask for decisions.
    Score,
    /// Send labels.
    Label,
    /// Look at decisions, entities, rules, models.
    Read,
    /// Change lists.
    Operate,
    /// Change models.
    Admin,
}

impl Scope {
    /// Every scope, in the order of the contract.
    pub const ALL: [Self; 5] = [Self::Score, Self::Label, Self::Read, Self::Operate, Self::Admin];

    /// Returns the name used in keys and in the OpenAPI description.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Label => "label",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// One key.
#[derive(Clone)]
struct Key {
    name: CompactString,
    scopes: u8,
    sha256: [u8; 32],
}

/// The keys of a service.
#[derive(Clone, Default)]
pub struct Keys {
    keys: Vec<Key>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.keys.iter().map(|key| &key.name)).finish()
    }
}

/// One line of keys that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key line {line}: {message}; write name:score,read:SHA256, the hash by `printf %s KEY | sha256sum`")]
pub struct KeyFault {
    /// 1-based.
    pub line: usize,
    /// What is wrong.
    pub message: &'static str,
}

impl Keys {
    /// Parses key lines; empty ones and comments (`#`) are passed over.
    ///
    /// # Errors
    /// Every line that cannot be read.
    pub fn parse(text: &str) -> Result<Self, Vec<KeyFault>> {
        let mut keys: Vec<Key> = Vec::new();
        let mut faults = Vec::new();
        for (line, text) in (1..).zip(text.lines().map(str::trim)) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            match parse_key(text) {
                Ok(key) if keys.iter().any(|known| known.name == key.name) => {
                    faults.push(KeyFault { line, message: "a key of this name exists" });
                }
                Ok(key) => keys.push(key),
                Err(message) => faults.push(KeyFault { line, message }),
            }
        }
        if faults.is_empty() { Ok(Self { keys }) } else { Err(faults) }
    }

    /// Tells whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Finds the key of a secret. Looks at every key, and at every byte of each, whatever matches.
    fn find(&self, secret: &[u8]) -> Option<&Key> {
        let sha256: [u8; 32] = Sha256::digest(secret).into();
        let mut found = None;
        for key in &self.keys {
            let difference =
                key.sha256.iter().zip(sha256).fold(0, |difference, (left, right)| difference | (left ^ right));
            if std::hint::black_box(difference) == 0 {
                found = Some(key);
            }
        }
        found
    }
}

fn parse_key(text: &str) -> Result<Key, &'static str> {
    let mut parts = text.split(':');
    let (Some(name), Some(scopes), Some(hash), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err("expected three parts between colons");
    };
    if name.is_empty() || name.len() > 64 {
        return Err("expected a name of 1 to 64 bytes");
    }
    let mut bits = 0;
    for scope in scopes.split(',') {
        let known = Scope::ALL.into_iter().find(|known| known.name() == scope);
        bits |= known.ok_or("unknown scope: expected score, label, read, operate or admin")?.bit();
    }
    let mut sha256 = [0; 32];
    if hash.len() != 64 || !hash.is_ascii() {
        return Err("expected a SHA-256 of 64 hex digits");
    }
    for (index, byte) in sha256.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hash[2 * index..2 * index + 2], 16)
            .map_err(|_| "expected a SHA-256 of 64 hex digits")?;
    }
    Ok(Key { name: name.into(), scopes: bits, sha256 })
}

/// How callers are told apart.
#[derive(Clone, Debug)]
pub enum Access {
    /// By key.
    Keys(Keys),
    /// Everybody on this machine, nobody else.
    Loopback,
    /// Everybody: told to, loudly.
    Insecure,
}

impl Access {
    /// Chooses by what is configured; without keys only a loopback address may be bound, unless told otherwise.
    ///
    /// # Errors
    /// When an address beyond this machine would be open to everybody.
    pub fn choose(keys: Keys, bind: IpAddr, allow_insecure: bool) -> Result<Self, &'static str> {
        if !keys.is_empty() {
            return Ok(Self::Keys(keys));
        }
        if allow_insecure {
            return Ok(Self::Insecure);
        }
        if bind.is_loopback() {
            return Ok(Self::Loopback);
        }
        Err("without API keys only a loopback address may be bound: configure auth.keys_file, bind 127.0.0.1, or \
             set auth.allow_insecure = true if something in front of the service checks its callers")
    }

    /// Lets a caller in, and returns whose name it goes by.
    ///
    /// # Errors
    /// A problem that says what is missing.
    pub fn admit(&self, headers: &HeaderMap, scope: Option<Scope>) -> Result<CompactString, Problem> {
        const ANONYMOUS: CompactString = CompactString::const_new("anonymous");
        match self {
            Self::Insecure => Ok(ANONYMOUS),
            Self::Loopback => from_this_machine(headers).map(|()| CompactString::const_new("local")),
            Self::Keys(keys) => scope.map_or(Ok(ANONYMOUS), |scope| with_key(keys, headers, scope)),
        }
    }
}

fn with_key(keys: &Keys, headers: &HeaderMap, scope: Scope) -> Result<CompactString, Problem> {
    let challenge = |detail: &'static str| {
        let bearer = HeaderValue::from_static("Bearer realm=\"fraudd\"");
        Err(Problem::new(Code::Unauthenticated, detail).header(header::WWW_AUTHENTICATE, bearer))
    };
    let Some(secret) = secret(headers) else {
        return challenge("send an API key as Authorization: Bearer KEY or as X-Api-Key");
    };
    let Some(key) = keys.find(secret) else { return challenge("the API key is not known") };
    if key.scopes & scope.bit() == 0 {
        return Err(Problem::new(Code::Forbidden, format!("the API key lacks the scope {}", scope.name())));
    }
    Ok(key.name.clone())
}

fn secret(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("x-api-key") {
        return Some(key.as_bytes());
    }
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(rest)
}

fn from_this_machine(headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    if host.is_some_and(|host| !is_loopback(host)) {
        let detail = "without API keys only a loopback Host is served: use 127.0.0.1 or configure auth.keys_file";
        return Err(Problem::new(Code::ForeignHost, detail));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let own = host.is_some_and(|host| origin.as_bytes().strip_prefix(b"http://") == Some(host.as_bytes()));
    if own {
        return Ok(());
    }
    Err(Problem::new(
        Code::ForeignOrigin,
        "without API keys no page of another origin is served: configure auth.keys_file",
    ))
}

/// Tells whether `host` or `host:port` names this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of `secret`.
    const HASH: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn keys_open_their_scopes_only() {
        let keys = Keys::parse(&format!("# comment\n\nshop:score,label:{HASH}\n")).expect("keys");
        let access = Access::choose(keys, [0, 0, 0, 0].into(), false).expect("access");
        let check = |pairs: &[(&'static str, &'static str)], scope, expected: Result<&str, Code>| {
            let admitted = access.admit(&headers(pairs), scope).map_err(|problem| problem.code());
            assert_eq!(admitted.as_deref().map_err(|code| *code), expected, "{pairs:?}");
        };
        check(&[("x-api-key", "secret")], Some(Scope::Score), Ok("shop"));
        check(&[("authorization", "bearer secret")], Some(Scope::Label), Ok("shop"));
        check(&[("authorization", "Bearer secret")], Some(Scope::Read), Err(Code::Forbidden));
        check(&[("authorization", "Basic secret")], Some(Scope::Score), Err(Code::Unauthenticated));
        check(&[("x-api-key", "Secret")], Some(Scope::Score), Err(Code::Unauthenticated));
        check(&[("authorization", "x")], Some(Scope::Score), Err(Code::Unauthenticated));
        check(&[], Some(Scope::Score), Err(Code::Unauthenticated));
        check(&[], None, Ok("anonymous"));
        assert!(!format!("{access:?}").contains("2bb8"), "a hash is shown");
    }

    #[test]
    fn wrong_key_lines_are_all_named() {
        let text = format!("a:score:{HASH}\nb:nope:{HASH}\nc:score:12\nd\na:read:{HASH}\n:score:{HASH}");
        let faults = Keys::parse(&text).expect_err("faults");
        assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    }

    #[test]
    fn without_keys_only_this_machine_is_served() {
        assert!(Access::choose(Keys::default(), [0, 0, 0, 0].into(), false).is_err());
        assert!(matches!(Access::choose(Keys::default(), [0, 0, 0, 0].into(), true), Ok(Access::Insecure)));
        let check = |pairs: &[(&'static str, &'static str)], expected: Option<Code>| {
            let refused = Access::Loopback.admit(&headers(pairs), Some(Scope::Admin)).err();
            assert_eq!(refused.map(|problem| problem.code()), expected, "{pairs:?}");
        };
        check(&[("host", "127.0.0.1:8080")], None);
        check(&[("host", "localhost:8080"), ("origin", "http://localhost:8080")], None);
        check(&[("host", "[::1]:8080")], None);
        check(&[("host", "127.8.8.8")], None);
        check(&[("host", "evil.example")], Some(Code::ForeignHost));
        check(&[("host", "127.0.0.1.evil.example:8080")], Some(Code::ForeignHost));
        check(&[("host", "localhost:8080"), ("origin", "http://localhost:3000")], Some(Code::ForeignOrigin));
        check(&[("host", "localhost:8080"), ("origin", "null")], Some(Code::ForeignOrigin));
        check(&[("origin", "http://evil.example")], Some(Code::ForeignOrigin));
    }
}
