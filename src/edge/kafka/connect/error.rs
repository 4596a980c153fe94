//! What can be wrong with a broker, each in one sentence with its cure.

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

/// Why a broker cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody answers, or not yet.
    #[error("no broker answers at {servers} ({said}); check kafka.bootstrap_servers and that Kafka runs")]
    Unreachable {
        /// Where it was tried.
        servers: String,
        /// What the client library said.
        said: String,
    },
    /// The other side hangs up at once, as it does on somebody who speaks another protocol.
    #[error("{servers} hangs up on us ({said}); kafka.security.protocol may not be the listener's, or it is starting")]
    HangsUp {
        /// Where it was tried.
        servers: String,
        /// What the client library said.
        said: String,
    },
    /// The login was refused.
    #[error("the broker refuses our login ({said}); check kafka.security.username, password and mechanism")]
    Login {
        /// What the client library said.
        said: String,
    },
    /// The encrypted connection could not be made.
    #[error(
        "no encrypted connection ({said}); check kafka.security.ca_file, cert_file, key_file and the broker's name in its certificate"
    )]
    Tls {
        /// What the client library said.
        said: String,
    },
    /// The broker lets us in, but not do this.
    #[error("the broker does not allow us to use {what} ({said}); give our user the ACLs of docs/kafka.md")]
    Denied {
        /// The topic, group or id.
        what: String,
        /// What the client library said.
        said: String,
    },
    /// A topic is not there.
    #[error(
        "{what} does not exist, or our user may not see it; make it with fraudd topics create, or see docs/kafka.md"
    )]
    UnknownTopic {
        /// The topic.
        what: String,
    },
    /// A topic has another number of partitions than the stream.
    #[error("topic {topic} has {has} partitions and needs {wanted}: make it anew; fraudd topics check says more")]
    Partitions {
        /// The topic.
        topic: String,
        /// How many it has.
        has: u32,
        /// How many the stream has.
        wanted: u32,
    },
    /// The broker lacks what exactly-once needs.
    #[error(
        "the broker is too old: it speaks {api} up to version {has}, and exactly-once needs {needs}; use Apache Kafka 2.5 or later, 4.0 or later advised"
    )]
    TooOld {
        /// The request.
        api: &'static str,
        /// The newest version it speaks, -1 for none.
        has: i16,
        /// The oldest that is enough.
        needs: i16,
    },
    /// The client could not be made.
    #[error("the Kafka client cannot be made: {said}")]
    Client {
        /// What the client library said.
        said: String,
    },
    /// Anything else the broker refused.
    #[error("the broker refuses {what}: {said}")]
    Refused {
        /// What was asked.
        what: String,
        /// What the client library said.
        said: String,
    },
}

impl Error {
    /// Tells whether waiting cannot cure it.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::HangsUp { .. } => false,
            Self::Login { .. }
            | Self::Tls { .. }
            | Self::Denied { .. }
            | Self::UnknownTopic { .. }
            | Self::Partitions { .. }
            | Self::TooOld { .. }
            | Self::Client { .. }
            | Self::Refused { .. } => true,
        }
    }

    /// Explains why a client could not be made: a file it cannot read, keys that do not go together.
    #[must_use]
    pub fn of_creation(error: &KafkaError) -> Self {
        let said = match error {
            KafkaError::ClientCreation(said) | KafkaError::ClientConfig(_, said, _, _) => said.clone(),
            other => other.to_string(),
        };
        // Certificates and keys are read when a client is made.
        if said.contains("ssl.") || said.contains("SSL") { Self::Tls { said } } else { Self::Client { said } }
    }

    /// Explains an error of a call.
    #[must_use]
    pub fn of(error: &KafkaError, servers: &str) -> Self {
        match error.rdkafka_error_code() {
            Some(code) => Self::of_code(code, "the request", servers),
            None => Self::Refused { what: "the request".into(), said: error.to_string() },
        }
    }

    /// Explains a code that was answered about `what`: `topic scores`, `group fraudd`.
    #[must_use]
    pub fn of_code(code: RDKafkaErrorCode, what: &str, servers: &str) -> Self {
        Self::explained(code, what, code.to_string(), servers)
    }

    /// Explains what the library said by itself.
    #[must_use]
    pub(super) fn heard(code: RDKafkaErrorCode, said: &str, servers: &str) -> Self {
        let said = without_frame(said);
        let is_hung_up = said.contains("security.protocol") || said.contains("SSL listener");
        if is_hung_up && matches!(code, RDKafkaErrorCode::BrokerTransportFailure) {
            return Self::HangsUp { servers: servers.into(), said };
        }
        Self::explained(code, "the request", said, servers)
    }

    fn explained(code: RDKafkaErrorCode, what: &str, said: String, servers: &str) -> Self {
        use RDKafkaErrorCode as Code;
        let what = what.to_owned();
        match code {
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::BrokerNotAvailable
            | Code::LeaderNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::NetworkException => Self::Unreachable { servers: servers.into(), said },
            Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
                Self::Login { said }
            }
            // A peer that goes during the handshake may be starting; a certificate that is wrong stays wrong.
            Code::SSL if said.contains("Disconnected") || said.contains("connection reset") => {
                Self::HangsUp { servers: servers.into(), said }
            }
            Code::SSL => Self::Tls { said },
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed => Self::Denied { what, said },
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => Self::UnknownTopic { what },
            _ => Self::Refused { what, said },
        }
    }
}

/// Cuts librdkafka's thread names and states off the front, and hints about its own keys off the end.
fn without_frame(said: &str) -> String {
    let start = said.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")).map_or(said, |(_, rest)| rest);
    let line = start.split_once(" (after ").map_or(start, |(line, _)| line);
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_has_its_sentence() {
        use RDKafkaErrorCode as Code;
        let check = |code, said: &str, start: &str, is_final| {
            let error = Error::heard(code, said, "a:9092");
            assert!(error.to_string().starts_with(start), "{error}");
            assert_eq!(error.is_final(), is_final, "{error}");
        };
        check(Code::AllBrokersDown, "1/1 brokers are down", "no broker answers at a:9092 (1/1 brokers", false);
        check(Code::Resolve, "Failed to resolve", "no broker answers at a:9092", false);
        let refused = "[thrd:sasl_plaintext://a:9092/bootstrap]: sasl_plaintext://a:9092/bootstrap: SASL authentication error: \
                       Authentication failed: Invalid username or password (after 308ms in state AUTH_REQ)";
        check(
            Code::Authentication,
            refused,
            "the broker refuses our login (sasl_plaintext://a:9092/bootstrap: SASL",
            true,
        );
        check(Code::SSL, "SSL handshake failed: certificate verify failed", "no encrypted connection", true);
        check(Code::SSL, "Disconnected: connection reset", "a:9092 hangs up", false);
        let hint =
            "Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol configuration";
        check(Code::BrokerTransportFailure, hint, "a:9092 hangs up on us", false);
        check(Code::TopicAuthorizationFailed, "no", "the broker does not allow us", true);
    }

    #[test]
    fn the_library_s_frame_is_cut() {
        assert_eq!(without_frame("[thrd:a]: b: c (after 3ms in state CONNECT)"), "b: c");
        assert_eq!(without_frame("plain"), "plain");
    }
}
