//! What all commands share: client settings, printing, the partition of a key, ids in payloads.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

/// The longest a broker may take to answer a plain question.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(15);
const ID_FIELD: &[u8] = b"\"transaction_id\":\"";
const MURMUR_SEED: u32 = 0x9747_b28c;
const MURMUR_FACTOR: u32 = 0x5bd1_e995;

/// Settings of any client.
pub(crate) fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config.set("socket.nagle.disable", "true").set("reconnect.backoff.max.ms", "2000");
    config
}

/// Settings of a consumer that sees what was committed, as soon as it was.
pub(crate) fn reader(bootstrap: &str, group: &str) -> ClientConfig {
    let mut config = client(bootstrap);
    config.set("group.id", group).set("isolation.level", "read_committed");
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", "earliest");
    config.set("fetch.wait.max.ms", "10").set("fetch.queue.backoff.ms", "5").set("check.crcs", "true");
    config
}

/// Returns how many partitions a topic has.
pub(crate) fn partitions(consumer: &BaseConsumer, topic: &str) -> anyhow::Result<i32> {
    let metadata =
        consumer.fetch_metadata(Some(topic), ANSWER_WITHIN).with_context(|| format!("looking up {topic}"))?;
    let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    if count == 0 {
        bail!("there is no topic {topic}");
    }
    Ok(i32::try_from(count)?)
}

/// Prints a line of JSON at once.
pub(crate) fn print(value: &serde_json::Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    Ok(out.flush()?)
}

/// Writes a line to standard error; who started us keeps it.
pub(crate) fn tell(text: &str) {
    // There is nobody left to tell that telling failed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Rounds down to a count; less than none is none.
#[expect(clippy::cast_possible_truncation, reason = "rounding down is meant, and the cast saturates")]
pub(crate) const fn whole(value: f64) -> usize {
    value as usize
}

/// Returns where the id of a transaction stands in JSON that holds it.
pub(crate) fn id_range(payload: &[u8]) -> Option<std::ops::Range<usize>> {
    let from = memchr::memmem::find(payload, ID_FIELD)? + ID_FIELD.len();
    let length = memchr::memchr(b'"', payload.get(from..)?)?;
    Some(from..from + length)
}

/// Returns the text of a string field of flat JSON, found by its name.
pub(crate) fn text_of<'a>(payload: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let field = format!("\"{name}\":\"");
    let from = memchr::memmem::find(payload, field.as_bytes())? + field.len();
    let length = memchr::memchr(b'"', payload.get(from..)?)?;
    payload.get(from..from + length)
}

/// Returns the number at the end of a simulated id such as `tx-0000000042`.
pub(crate) fn number_of(id: &[u8]) -> Option<u64> {
    let digits = id.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |place| place + 1);
    std::str::from_utf8(id.get(digits..)?).ok()?.parse().ok()
}

/// Returns the partition the Java client's default partitioner gives a key.
pub(crate) fn partition_of(key: &[u8], partitions: i32) -> i32 {
    let hash = i32::from_ne_bytes((murmur2(key) & 0x7fff_ffff).to_ne_bytes());
    hash % partitions.max(1)
}

fn murmur2(key: &[u8]) -> u32 {
    let mut hash = MURMUR_SEED ^ u32::try_from(key.len()).unwrap_or(u32::MAX);
    let mut chunks = key.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(MURMUR_FACTOR);
        word ^= word >> 24;
        hash = hash.wrapping_mul(MURMUR_FACTOR) ^ word.wrapping_mul(MURMUR_FACTOR);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(MURMUR_FACTOR);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MURMUR_FACTOR);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_javas() {
        let vectors: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, expected) in vectors {
            assert_eq!(i32::from_ne_bytes(murmur2(key).to_ne_bytes()), expected, "{key:?}");
        }
    }

    #[test]
    fn ids_are_found_and_numbered() {
        let payload = br#"{"decision_id":"d","transaction_id":"tx-0000000042","outcome":"review"}"#;
        let range = id_range(payload).unwrap();
        assert_eq!(&payload[range.clone()], b"tx-0000000042");
        assert_eq!(number_of(&payload[range]), Some(42));
        assert_eq!(number_of(b"tx-"), None);
        assert_eq!(id_range(br#"{"transaction_id":"open"#), None);
        assert_eq!(text_of(payload, "outcome"), Some(&b"review"[..]));
    }
}
