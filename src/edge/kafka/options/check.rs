//! What cannot be set, alone or together: each fault with its key and what to write instead.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::client;
use super::{KEY_LEN_MIN, Options};

/// One thing wrong, under the key below `kafka.` that it is wrong with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionFault {
    /// The key, such as `topics.labels`.
    pub key: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Options {
    /// Lists everything that cannot be, one value alone or several together.
    #[must_use]
    pub fn faults(&self) -> Vec<OptionFault> {
        let mut found = Faults::default();
        found.expect(is_address_list(&self.bootstrap_servers), "bootstrap_servers", || {
            "expected host:port, several separated by commas, such as \"kafka-0:9092,kafka-1:9092\"".into()
        });
        for (key, name) in [("group", &self.group), ("instance", &self.instance)] {
            found.expect(is_name(name), key, || {
                format!("{name:?} is no name of 1 to 200 letters, digits, dots, dashes and underscores")
            });
        }
        self.topics_into(&mut found);
        self.security_into(&mut found);
        self.times_into(&mut found);
        let key_len = self.key.as_ref().map(|key| key.expose().len());
        found.expect(key_len.is_none_or(|len| len >= KEY_LEN_MIN), "hmac_key", || {
            format!("is shorter than {KEY_LEN_MIN} bytes; make one with: openssl rand -hex 32")
        });
        for (key, _) in self.client.iter() {
            if let Some(why) = client::refused(key) {
                found.add(&format!("client.{key}"), why);
            }
        }
        // The file's faults are told with the file's keys; librdkafka sees what is left.
        if found.0.is_empty() {
            for (key, value) in self.client.iter() {
                if let Err(message) = client::try_key(key, value) {
                    found.add(&format!("client.{key}"), message);
                }
            }
        }
        found.0
    }

    fn topics_into(&self, found: &mut Faults) {
        let mut seen = BTreeSet::new();
        for (key, name) in self.topics.all() {
            let key = format!("topics.{key}");
            found.expect(is_topic(name), &key, || {
                format!("{name:?} is no topic: 1 to 249 letters, digits, dots, dashes and underscores")
            });
            found.expect(seen.insert(name), &key, || format!("{name:?} is another topic's name already"));
        }
        if let Some(source) = &self.rekey {
            found.expect(is_topic(source), "rekey.source", || format!("{source:?} is no topic"));
            found.expect(!seen.contains(source.as_str()), "rekey.source", || {
                format!("{source:?} is a topic of fraudd's own; name the foreign one")
            });
        }
    }

    fn security_into(&self, found: &mut Faults) {
        let security = &self.security;
        let has_login = security.protocol.has_login();
        let name = security.protocol.name();
        for (key, is_set) in
            [("security.username", security.username.is_some()), ("security.password", security.password.is_some())]
        {
            found.expect(is_set || !has_login, key, || format!("security.protocol {name} needs one"));
            found.expect(!is_set || has_login, key, || {
                format!("security.protocol {name} does not log in; set sasl_ssl or sasl_plaintext")
            });
        }
        for (key, file) in [
            ("security.ca_file", &security.ca_file),
            ("security.cert_file", &security.cert_file),
            ("security.key_file", &security.key_file),
        ] {
            let Some(path) = file else { continue };
            found.expect(security.protocol.is_encrypted(), key, || {
                format!("security.protocol {name} does not encrypt; set ssl or sasl_ssl")
            });
            if let Err(error) = std::fs::File::open(path) {
                found.add(key, format!("{} cannot be read: {error}", path.display()));
            }
        }
        found.expect(security.cert_file.is_some() == security.key_file.is_some(), "security.cert_file", || {
            "a certificate and its private key (security.key_file) go together".into()
        });
    }

    fn times_into(&self, found: &mut Faults) {
        let times = &self.timeouts;
        let said = |time: Duration| format!("{} ms", time.as_millis());
        found.expect(times.message < times.transaction, "message_timeout", || {
            let (message, transaction) = (said(times.message), said(times.transaction));
            format!("{message} is not below transaction_timeout, {transaction}: a record could outlive its transaction")
        });
        found.expect(times.drain < times.session, "drain_timeout", || {
            let (drain, session) = (said(times.drain), said(times.session));
            format!("{drain} is not below session_timeout, {session}: others would take over while this one finishes")
        });
        found.expect(times.session <= times.poll_interval_max, "session_timeout", || {
            format!("{} is above max_poll_interval, {}", said(times.session), said(times.poll_interval_max))
        });
        let (least, most) = (Duration::from_secs(6), Duration::from_mins(30));
        found.expect((least..=most).contains(&times.session), "session_timeout", || {
            "expected 6s to 30m, which is what brokers accept unless set otherwise".into()
        });
        found.expect(times.transaction <= Duration::from_mins(15), "transaction_timeout", || {
            "expected at most 15m, which is what brokers accept unless set otherwise".into()
        });
        found.expect(times.transaction <= times.poll_interval_max, "transaction_timeout", || {
            format!("{} is above max_poll_interval, {}", said(times.transaction), said(times.poll_interval_max))
        });
        found.expect(self.batch.linger_min <= self.batch.linger_max, "linger_min", || "is above linger_max".into());
    }
}

#[derive(Default)]
struct Faults(Vec<OptionFault>);

impl Faults {
    fn add(&mut self, key: &str, message: impl Into<String>) {
        self.0.push(OptionFault { key: key.into(), message: message.into() });
    }

    fn expect(&mut self, holds: bool, key: &str, message: impl FnOnce() -> String) {
        if !holds {
            self.add(key, message());
        }
    }
}

fn is_address_list(text: &str) -> bool {
    text.split(',').all(|address| {
        address.trim().rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    })
}

fn is_name(text: &str) -> bool {
    (1..=200).contains(&text.len()) && text.bytes().all(is_plain)
}

fn is_topic(text: &str) -> bool {
    (1..=249).contains(&text.len()) && text.bytes().all(is_plain) && !matches!(text, "." | "..")
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}
