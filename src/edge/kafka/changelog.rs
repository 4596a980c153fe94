//! Reads a partition of the changelog's topic, as committed: a consumer without a group.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::desk::{Changelog, Reader};
use crate::runtime::clock::Moment;

/// How long the broker may take to name the ends of a partition.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens readers of this topic with this configuration.
#[must_use]
pub fn changelog(client: ClientConfig, topic: String) -> Changelog {
    Box::new(move |partition| {
        let consumer: BaseConsumer = client.create().map_err(|error: KafkaError| error.to_string())?;
        Ok(Box::new(Partition { consumer, topic: topic.clone(), number: partition }))
    })
}

struct Partition {
    consumer: BaseConsumer,
    topic: String,
    number: i32,
}

impl Reader for Partition {
    fn bounds(&mut self) -> Result<(i64, i64), String> {
        let ends = self.consumer.fetch_watermarks(&self.topic, self.number, ASK_TIMEOUT);
        ends.map_err(|error| error.to_string())
    }

    fn seek(&mut self, offset: i64) -> Result<(), String> {
        let mut places = TopicPartitionList::new();
        let place = places.add_partition_offset(&self.topic, self.number, Offset::Offset(offset));
        place.and_then(|()| self.consumer.assign(&places)).map_err(|error| error.to_string())
    }

    fn next(&mut self, wait: Duration) -> Result<Option<Vec<u8>>, String> {
        let until = Moment::now().after(wait);
        while !until.has_passed() {
            match self.consumer.poll(until.remaining()) {
                Some(Ok(record)) => {
                    // A record without a payload is none of ours; retention, not a tombstone, ends ours.
                    if let Some(payload) = record.payload() {
                        return Ok(Some(payload.to_vec()));
                    }
                }
                None | Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
                Some(Err(error)) if is_passing(&error) => {}
                Some(Err(error)) => return Err(error.to_string()),
            }
        }
        Err("the broker did not answer in time".into())
    }
}

/// Tells whether the client library goes on by itself after this.
fn is_passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
        )
    )
}
