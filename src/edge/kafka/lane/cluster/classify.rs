//! Sorts the client library's errors into what the lane can do about them.
//!
//! The order matters: a refusal of the group comes as an abortable error, and a fence as a fatal one.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::edge::kafka::lane::fault::{Class, Fault};

/// Returns the fault of a call of the transactional producer.
pub(super) fn of_producer(call: &'static str, error: &KafkaError) -> Fault {
    let class = match error {
        KafkaError::Transaction(inner) => by_code(inner.code()).unwrap_or_else(|| {
            if inner.is_fatal() {
                Class::Fatal
            } else if inner.txn_requires_abort() {
                Class::Abortable
            } else if inner.is_retriable() {
                Class::Retriable
            } else {
                // The library's own advice for an error with none of the three marks.
                Class::Fatal
            }
        }),
        KafkaError::MessageProduction(Code::QueueFull) | KafkaError::Flush(Code::OperationTimedOut) => Class::Retriable,
        // What else stops a message before it is queued leaves the transaction to be aborted.
        KafkaError::MessageProduction(code) => by_code(*code).unwrap_or(Class::Abortable),
        other => other.rdkafka_error_code().and_then(by_code).unwrap_or(Class::Fatal),
    };
    Fault::new(class, call, error.to_string())
}

/// Returns the fault of a record that did not arrive; the transaction can only be aborted.
pub(super) fn of_delivery(error: &KafkaError) -> Fault {
    let class = error.rdkafka_error_code().and_then(by_code).unwrap_or(Class::Abortable);
    let class = if class == Class::Retriable { Class::Abortable } else { class };
    Fault::new(class, "delivery", error.to_string())
}

/// Returns the fault of a call of the consumer, or of what it reports by itself. Most of it passes by itself.
pub(super) fn of_consumer(call: &'static str, error: &KafkaError) -> Fault {
    let class = match error {
        KafkaError::MessageConsumptionFatal(_) | KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) => {
            Class::ConsumerLost
        }
        other => match other.rdkafka_error_code() {
            Some(Code::Fatal | Code::FencedInstanceId) => Class::ConsumerLost,
            // The log was cut before the position: what to do is decided anew from the committed offset.
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation) => Class::Fatal,
            Some(code) if is_denied(code) => Class::Denied,
            _ => Class::Retriable,
        },
    };
    Fault::new(class, call, error.to_string())
}

fn by_code(code: Code) -> Option<Class> {
    match code {
        Code::IllegalGeneration | Code::UnknownMemberId | Code::RebalanceInProgress => Some(Class::StaleGeneration),
        Code::FencedInstanceId => Some(Class::ConsumerLost),
        Code::Fenced | Code::InvalidProducerEpoch => Some(Class::Fenced),
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::InvalidRecord | Code::MessageBatchTooLarge => {
            Some(Class::Refused)
        }
        code if is_denied(code) => Some(Class::Denied),
        _ => None,
    }
}

fn is_denied(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_without_a_mark_go_by_their_code() {
        for (error, class) in [
            (KafkaError::MessageProduction(Code::QueueFull), Class::Retriable),
            (KafkaError::MessageProduction(Code::MessageSizeTooLarge), Class::Refused),
            (KafkaError::MessageProduction(Code::UnknownPartition), Class::Abortable),
            (KafkaError::MessageProduction(Code::State), Class::Abortable),
            (KafkaError::MessageProduction(Code::Fenced), Class::Fenced),
            (KafkaError::Flush(Code::OperationTimedOut), Class::Retriable),
            (KafkaError::ClientCreation("no".into()), Class::Fatal),
        ] {
            assert_eq!(of_producer("call", &error).class, class, "{error}");
        }
    }

    #[test]
    fn a_record_that_did_not_arrive_aborts() {
        for (code, class) in [
            (Code::MessageTimedOut, Class::Abortable),
            (Code::TopicAuthorizationFailed, Class::Denied),
            (Code::MessageSizeTooLarge, Class::Refused),
        ] {
            assert_eq!(of_delivery(&KafkaError::MessageProduction(code)).class, class, "{code:?}");
        }
    }

    #[test]
    fn the_consumer_bears_most_things() {
        for (error, class) in [
            (KafkaError::MessageConsumption(Code::AllBrokersDown), Class::Retriable),
            (KafkaError::MessageConsumption(Code::PollExceeded), Class::Retriable),
            (KafkaError::MessageConsumption(Code::AutoOffsetReset), Class::Fatal),
            (KafkaError::MessageConsumptionFatal(Code::FencedInstanceId), Class::ConsumerLost),
            (KafkaError::MessageConsumption(Code::GroupAuthorizationFailed), Class::Denied),
            (KafkaError::MetadataFetch(Code::RequestTimedOut), Class::Retriable),
        ] {
            assert_eq!(of_consumer("poll", &error).class, class, "{error}");
        }
    }
}
