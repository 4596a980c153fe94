//! A block of votes: an entity votes once in it, and a merchant a few times.
//!
//! Transactions of one card come in bursts and look alike; counted each, ten of them are "evidence" ten times and the
//! promise on false alarms is gone. What does not vote is still counted for people.

use super::crowd::Who;

/// How many transactions a block may see for each vote it wants: a few entities alone do not hold it open for ever.
const SEEN_PER_VOTE: usize = 40;

/// Who has voted in the block, and the cells of the votes.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    votes_max: usize,
    merchant_votes_max: usize,
    voters: Vec<Who>,
    seen: usize,
    width: usize,
    cells: Vec<u8>,
}

impl Block {
    /// Makes an empty block of rows this wide.
    #[must_use]
    pub(crate) fn new(votes_max: usize, merchant_votes_max: usize, width: usize) -> Self {
        let votes_max = votes_max.max(1);
        Self {
            votes_max,
            merchant_votes_max: merchant_votes_max.max(1),
            voters: Vec::with_capacity(votes_max),
            seen: 0,
            width,
            cells: Vec::with_capacity(votes_max * width),
        }
    }

    /// Offers a transaction; it votes unless its entity or merchant has voted enough. An entity or merchant of 0 is unknown.
    pub(crate) fn offer(&mut self, who: Who, cells: &[u8]) {
        self.seen += 1;
        let Who { entity, merchant, .. } = who;
        let has_voted = entity != 0 && self.voters.iter().any(|other| other.entity == entity);
        let merchant_votes = self.voters.iter().filter(|other| other.merchant == merchant).count();
        if has_voted || (merchant != 0 && merchant_votes >= self.merchant_votes_max) || self.is_full() {
            return;
        }
        self.voters.push(who);
        self.cells.extend_from_slice(cells);
    }

    /// Tells whether it is to be counted.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        self.voters.len() >= self.votes_max || (self.seen >= self.votes_max * SEEN_PER_VOTE && !self.voters.is_empty())
    }

    /// Returns the votes.
    #[must_use]
    pub(crate) fn votes(&self) -> usize {
        self.voters.len()
    }

    /// Returns who has the votes, in their order.
    pub(crate) fn voters(&self) -> &[Who] {
        &self.voters
    }

    /// Returns one column of the votes.
    pub(crate) fn column(&self, place: usize) -> impl Iterator<Item = usize> + Clone {
        self.cells.chunks_exact(self.width.max(1)).map(move |row| usize::from(row[place]))
    }

    /// Empties it.
    pub(crate) fn clear(&mut self) {
        self.voters.clear();
        self.cells.clear();
        self.seen = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_votes_once_and_a_merchant_a_few_times() {
        let mut block = Block::new(4, 2, 1);
        for (entity, merchant, cell) in [(1, 7, 1), (1, 7, 2), (2, 7, 3), (3, 7, 4), (4, 8, 5), (0, 0, 6)] {
            block.offer(Who { entity, merchant, device: 0 }, &[cell]);
        }
        assert!(block.is_full());
        assert_eq!(block.column(0).collect::<Vec<_>>(), [1, 3, 5, 6]);
        block.clear();
        let one = Who { entity: 1, merchant: 7, device: 0 };
        (0..159).for_each(|_| block.offer(one, &[1]));
        assert!(!block.is_full());
        block.offer(one, &[1]);
        assert!(block.is_full() && block.votes() == 1, "one entity alone does not hold it open");
    }
}
