//! Which partition a key belongs to: the two ways that clients in the field use.

use serde::Deserialize;

/// How the producers of the input topics choose a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partitioner {
    /// The Java client's, and `murmur2` of librdkafka.
    #[default]
    Murmur2,
    /// CRC32: `consistent` of librdkafka.
    Consistent,
}

impl Partitioner {
    /// Returns the partition of a key among `partitions` of them, 1 or more.
    #[must_use]
    pub fn partition(self, key: &[u8], partitions: u32) -> u32 {
        let hash = match self {
            Self::Murmur2 => murmur2(key).cast_unsigned() & 0x7fff_ffff,
            Self::Consistent => crc32(key),
        };
        hash % partitions.max(1)
    }
}

/// Hashes as `org.apache.kafka.common.utils.Utils.murmur2` does.
#[must_use]
pub fn murmur2(bytes: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    // Lengths wrap as the original's 32-bit arithmetic does.
    #[expect(clippy::cast_possible_truncation, reason = "keys are short, and the original is of 32 bits too")]
    let mut hash = SEED ^ bytes.len() as u32;
    let words = bytes.chunks_exact(4);
    let rest = words.remainder();
    for word in words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    (hash ^ (hash >> 15)).cast_signed()
}

/// Checks as CRC-32 of IEEE 802.3 does.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |crc: u32, byte: &u8| TABLE[((crc ^ u32::from(*byte)) & 0xff) as usize] ^ (crc >> 8);
    !bytes.iter().fold(!0, step)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let (mut place, mut start) = (0, 0_u32);
    while place < 256 {
        let (mut crc, mut bit) = (start, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[place] = crc;
        (place, start) = (place + 1, start + 1);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_the_java_clients() {
        // From the Java client's own test of `Utils.murmur2`.
        let known = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, expected) in known {
            assert_eq!(murmur2(key.as_bytes()), expected, "{key}");
        }
    }

    #[test]
    fn crc32_is_the_standard_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn a_partition_is_always_one_of_them() {
        for partitions in [1, 2, 3, 12, 100] {
            for key in ["", "21", "foobar", "customer-77"] {
                for way in [Partitioner::Murmur2, Partitioner::Consistent] {
                    assert!(way.partition(key.as_bytes(), partitions) < partitions);
                }
            }
        }
        assert_eq!(Partitioner::Murmur2.partition(b"21", 10), (-973_932_308_i32).cast_unsigned() % (1 << 31) % 10);
    }
}
