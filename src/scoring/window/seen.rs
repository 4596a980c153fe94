//! A set of words for counting distinct values: reused from pass to pass, cleared in no time.
//!
//! Open addressing over a power of two; a slot belongs to the set only when it bears the round's
//! stamp, so starting anew is one addition. Grows to twice the largest log and stays.

/// Words seen in this round.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    slots: Vec<(u64, u32)>,
    round: u32,
    len: usize,
}

impl Seen {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.len = 0;
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            self.slots.fill((0, 0));
            self.round = 1;
        }
    }

    /// Returns how many different words were seen since [`Self::clear`].
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Tells whether nothing was seen.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tells whether a word was seen.
    #[must_use]
    pub fn contains(&self, word: u64) -> bool {
        !self.slots.is_empty() && self.slots[self.place(word)].1 == self.round
    }

    /// Takes note of a word.
    pub fn insert(&mut self, word: u64) {
        if self.len * 2 >= self.slots.len() {
            self.grow();
        }
        let place = self.place(word);
        if self.slots[place].1 != self.round {
            self.slots[place] = (word, self.round);
            self.len += 1;
        }
    }

    /// Returns where the word is, or the free slot where it would go; there is always a free one.
    #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
    fn place(&self, word: u64) -> usize {
        let mask = self.slots.len() - 1;
        // Whole numbers are words too: spread them before taking the low bits.
        let mut place = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) as usize & mask;
        while self.slots[place].1 == self.round && self.slots[place].0 != word {
            place = (place + 1) & mask;
        }
        place
    }

    fn grow(&mut self) {
        let larger = vec![(0, 0); (self.slots.len() * 2).max(16)];
        let round = self.round.max(1);
        let old = std::mem::replace(&mut self.slots, larger);
        let was = std::mem::replace(&mut self.round, round);
        self.len = 0;
        for (word, stamp) in old {
            if stamp == was && was != 0 {
                self.insert(word);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_word_once_in_each_round() {
        let mut seen = Seen::default();
        for round in 0..3 {
            seen.clear();
            assert!(seen.is_empty() && !seen.contains(1));
            for word in 0..1_000_u64 {
                seen.insert(word % (100 + round));
            }
            assert_eq!(seen.len() as u64, 100 + round);
            assert!(seen.contains(0) && !seen.contains(999));
        }
    }

    #[test]
    fn rounds_may_wrap() {
        let mut seen = Seen { round: u32::MAX - 1, ..Seen::default() };
        seen.insert(7);
        for _ in 0..3 {
            seen.clear();
            assert!(!seen.contains(7));
            seen.insert(7);
        }
        assert_eq!(seen.len(), 1);
    }
}
