//! One distribution under watch: the evidence of every alternative, of two that are learned, and of a pile-up.
//!
//! ```text
//! block of votes (bins) ─> worths of each alternative ─> Shiryaev-Roberts runs ─> their mean
//!                     └──> running histograms ─> next block's learned alternatives (predictable: the past only)
//! ```
//! The mean over alternatives, and over channels, keeps the promise whatever the dependence between them.

use super::alternatives;
use super::evidence::{GOES_ON, Mirror, Over, Run, mean_log};
use super::figures;
use super::tolerance::Tolerance;

/// Learned alternatives: half-life in votes, and after how many blocks they are learned again.
const LEARNED: [(f64, u64); 2] = [(250.0, 8), (5_000.0, 64)];
/// So many votes of the baseline are mixed into what was learned.
const SHRINK_VOTES: f64 = 50.0;
/// What a learned alternative must promise to gain a vote before it bets.
const GROWTH_MIN: f64 = 1e-4;
/// What a learned alternative that does not bet loses a vote.
const IDLE_WORTH: f64 = -1e-3;
/// The share that a pile-up puts on the fullest bin of the block before.
const PILE: f64 = 0.8;
/// The share that a feature that stands still puts there.
const STUCK: f64 = 1.0 - 1e-6;
/// Rounding worths to 32 bits must not make them larger.
const ROUNDING: f64 = 1e-6;

/// One distribution under watch.
#[derive(Clone, Debug)]
pub struct Channel {
    set: Tolerance,
    /// Worth of a vote: a row a bin, a column an alternative; the learned ones and the pile-up come last.
    worths: Vec<f32>,
    width: usize,
    runs: Vec<Run>,
    sums: Vec<f32>,
    factors: Vec<f32>,
    learned: Vec<Learned>,
    counts: Vec<u32>,
    fullest: Option<usize>,
    /// Worth of a vote for a bin, and for another one, if that bin piles up and if it stands still: of each bin.
    spikes: Vec<[(f64, f64); 2]>,
    /// The second of the fullest bin.
    stuck_worths: (f64, f64),
    stuck: Run,
    mirror: Option<Mirror>,
    /// Runs since the mirror began to gain, and blocks in them; empty while nothing alarmed.
    fresh: Vec<Run>,
    fresh_blocks: u64,
    stuck_mirror: Option<Mirror>,
    blocks: u64,
    votes: u64,
}

#[derive(Clone, Debug)]
struct Learned {
    keep: f64,
    histogram: Vec<f64>,
    every_blocks: u64,
}

impl Channel {
    /// Watches a distribution with these benign laws.
    #[must_use]
    pub fn new(set: Tolerance, block_votes: usize) -> Self {
        let family = alternatives::family(&set);
        let bins = set.shares.len();
        let width = family.len() + LEARNED.len() + 1;
        let mut worths = vec![0.0; bins * width];
        for (column, row) in family.iter().enumerate() {
            for (bin, worth) in row.iter().enumerate() {
                worths[bin * width + column] = narrow(*worth);
            }
        }
        let learned = LEARNED.map(|(half_life, every_blocks)| Learned {
            keep: 0.5_f64.powf(block_votes as f64 / half_life),
            histogram: vec![0.0; bins],
            every_blocks,
        });
        let spikes = (0..bins).map(|bin| [spike(&set, bin, PILE), spike(&set, bin, STUCK)]).collect();
        let mut channel = Self {
            set,
            worths,
            width,
            runs: vec![Run::default(); width],
            sums: vec![0.0; width],
            factors: vec![1.0; width],
            learned: learned.into(),
            counts: vec![0; bins],
            fullest: None,
            spikes,
            stuck_worths: (0.0, 0.0),
            stuck: Run::default(),
            mirror: None,
            fresh: Vec::new(),
            fresh_blocks: 0,
            stuck_mirror: None,
            blocks: 0,
            votes: 0,
        };
        (family.len()..width).for_each(|column| channel.set_column(column, |_| IDLE_WORTH));
        channel
    }

    /// Counts a block of votes, each the number of a bin.
    pub fn block(&mut self, votes: &(impl Iterator<Item = usize> + Clone), ceilings: Ceilings) {
        self.sums.fill(0.0);
        self.counts.fill(0);
        votes.clone().for_each(|bin| self.counts[bin] += 1);
        for (row, count) in self.worths.chunks_exact(self.width).zip(&self.counts).filter(|(_, count)| **count > 0) {
            let times = f32::from(u16::try_from(*count).unwrap_or(u16::MAX));
            for (sum, worth) in self.sums.iter_mut().zip(row) {
                *sum += times * worth;
            }
        }
        let cast: u32 = self.counts.iter().sum();
        self.votes += u64::from(cast);
        self.factors.iter_mut().zip(&self.sums).for_each(|(factor, sum)| *factor = exp_below(*sum));
        for (run, factor) in self.runs.iter_mut().zip(&self.factors) {
            run.multiply(f64::from(*factor), ceilings.acting);
        }
        if let Some(full) = self.fullest {
            let hits = self.counts[full];
            let worth = self.stuck_worths.0 * f64::from(hits) + self.stuck_worths.1 * f64::from(cast - hits);
            self.stuck.add(worth, ceilings.acting);
        }
        let goes_on = |mirror: &Option<Mirror>| mirror.as_ref().is_some_and(|mirror| mirror.log() < GOES_ON);
        let went_on = goes_on(&self.mirror);
        for mirror in [&mut self.mirror, &mut self.stuck_mirror].into_iter().flatten() {
            votes.clone().for_each(|bin| mirror.vote(bin, ceilings.ended));
        }
        // The block in which it ends still holds votes of the change: they say nothing of moving again.
        let goes_on = went_on || goes_on(&self.mirror);
        self.fresh_blocks = if goes_on { 0 } else { self.fresh_blocks + 1 };
        for (run, factor) in self.fresh.iter_mut().zip(&self.factors) {
            if goes_on {
                run.clear();
            } else {
                run.multiply(f64::from(*factor), ceilings.acting);
            }
        }
        self.blocks += 1;
        self.learn();
    }

    fn learn(&mut self) {
        for place in 0..self.learned.len() {
            let learned = &mut self.learned[place];
            for (share, count) in learned.histogram.iter_mut().zip(&self.counts) {
                *share = *share * learned.keep + f64::from(*count);
            }
            if self.blocks.is_multiple_of(learned.every_blocks) {
                let worths = self.learned_worths(place);
                self.set_column(self.width - 1 - LEARNED.len() + place, |bin| {
                    worths.as_ref().map_or(IDLE_WORTH, |w| w[bin])
                });
            }
        }
        let most = self.counts.iter().copied().enumerate().max_by_key(|(bin, count)| (*count, usize::MAX - bin));
        let fullest = most.filter(|(_, count)| *count > 0).map(|(bin, _)| bin);
        if fullest.is_none() || fullest == self.fullest {
            return;
        }
        self.fullest = fullest;
        if let Some(full) = fullest {
            let [(hit, miss), stuck] = self.spikes[full];
            self.stuck_worths = stuck;
            self.set_column(self.width - 1, |bin| if bin == full { hit } else { miss });
        }
    }

    /// What a vote is worth if the law is the one of the running histogram; `None` where that gains nothing.
    fn learned_worths(&self, place: usize) -> Option<Vec<f64>> {
        let histogram = &self.learned[place].histogram;
        let total = histogram.iter().sum::<f64>() + SHRINK_VOTES;
        let law = histogram.iter().zip(&self.set.shares).map(|(count, p)| (count + SHRINK_VOTES * p) / total);
        let law: Vec<f64> = law.collect();
        if self.set.holds(&law) {
            // No benign law gains, so this one promises nothing: what follows would say so, and takes long.
            return None;
        }
        let worths = self.set.increments(&law);
        let growth: f64 = law.iter().zip(&worths).map(|(q, s)| q * s).sum();
        (growth > GROWTH_MIN).then_some(worths)
    }

    fn set_column(&mut self, column: usize, worth: impl Fn(usize) -> f64) {
        for bin in 0..self.set.shares.len() {
            self.worths[bin * self.width + column] = narrow(worth(bin));
        }
    }

    /// Returns the mean of the runs, the statistic that is compared with the run length.
    #[must_use]
    pub fn run(&self) -> f64 {
        self.runs.iter().map(|run| run.get()).sum::<f64>() / self.width as f64
    }

    /// Returns its logarithm, at least 0.
    #[must_use]
    pub fn log(&self) -> f64 {
        mean_log(self.runs.iter().map(|run| run.get()), self.width)
    }

    /// Returns the run of standing still.
    #[must_use]
    pub fn stuck_run(&self) -> f64 {
        self.stuck.get()
    }

    /// Returns the logarithm of the evidence that it stands still, at least 0.
    #[must_use]
    pub fn stuck_log(&self) -> f64 {
        self.stuck.get().max(1.0).ln()
    }

    /// Returns the e-value of a change: the run over the blocks it took.
    #[must_use]
    pub fn e_value(&self) -> f64 {
        self.run() / self.blocks.max(1) as f64
    }

    /// Starts the mirror of the alternative that has gathered most.
    pub fn alarmed(&mut self) {
        let best = self.runs.iter().enumerate().max_by(|(_, a), (_, b)| a.get().total_cmp(&b.get()));
        let column = best.map_or(0, |(column, _)| column);
        let bins = 0..self.set.shares.len();
        self.mirror = Some(Mirror::new(bins.map(|bin| f64::from(self.worths[bin * self.width + column])).collect()));
        self.fresh = vec![Run::default(); self.width];
    }

    /// Starts the mirror of standing still.
    pub fn alarmed_stuck(&mut self) {
        let (Some(full), (hit, miss)) = (self.fullest, self.stuck_worths) else { return };
        let bins = 0..self.set.shares.len();
        self.stuck_mirror = Some(Mirror::new(bins.map(|bin| if bin == full { hit } else { miss }).collect()));
    }

    /// Returns what speaks for the end of what alarmed; `None` where nothing alarmed.
    #[must_use]
    pub fn over(&self) -> Option<Over> {
        let fresh = mean_log(self.fresh.iter().map(|run| run.get()), self.width);
        self.mirror.as_ref().map(|mirror| Over { log: mirror.log(), fresh })
    }

    /// Returns the mean of the runs, leaving out what alarmed and is over.
    #[must_use]
    pub fn standing_run(&self) -> f64 {
        let runs = if self.fresh.is_empty() { &self.runs } else { &self.fresh };
        runs.iter().map(|run| run.get()).sum::<f64>() / self.width as f64
    }

    /// Returns what speaks for moving again; `None` where it did not stand still.
    #[must_use]
    pub fn moving(&self) -> Option<Over> {
        self.stuck_mirror.as_ref().map(|mirror| Over { log: mirror.log(), fresh: 0.0 })
    }

    /// Returns PSI (less chance) and Kolmogorov-Smirnov distance of the last few hundred votes, for people.
    #[must_use]
    pub fn recent(&self) -> (f64, f64) {
        let histogram = &self.learned[0].histogram;
        let (bins, total) = (histogram.len() as f64, histogram.iter().sum::<f64>());
        let shares: Vec<f64> = histogram.iter().map(|count| (count + 0.5) / (total + 0.5 * bins)).collect();
        // Older votes weigh less: the mean weight of an exponential memory is half.
        #[expect(clippy::cast_possible_truncation, reason = "a few hundred votes")]
        let votes = (2.0 * total).round() as u64;
        let chance = figures::psi_by_chance(histogram.len(), votes, u64::MAX);
        (figures::psi(&shares, &self.set.shares) - chance, figures::ks(&shares, &self.set.shares))
    }

    /// Forgets the evidence, keeping what was learned.
    pub fn clear(&mut self) {
        self.runs.iter_mut().for_each(Run::clear);
        (self.mirror, self.blocks, self.votes) = (None, 0, 0);
        self.fresh.clear();
    }

    /// Forgets what alarmed and is over; what speaks for moving again since then stays.
    pub fn go_on(&mut self) {
        if self.mirror.take().is_some() {
            self.runs = std::mem::take(&mut self.fresh);
            self.blocks = self.fresh_blocks;
        }
    }

    /// Forgets the evidence that it stands still.
    pub fn clear_stuck(&mut self) {
        self.stuck.clear();
        self.stuck_mirror = None;
    }

    /// Returns the votes since it was cleared.
    #[must_use]
    pub fn votes(&self) -> u64 {
        self.votes
    }
}

/// The worth of a vote inside and outside a bin that takes this share of all; the normaliser has two levels only, so that
/// it needs no sorting.
fn spike(set: &Tolerance, bin: usize, share: f64) -> (f64, f64) {
    let (_, high) = set.bounds(bin);
    let (inside, outside) = (1.0 - share + share / set.shares[bin], 1.0 - share);
    let normaliser = outside + (inside - outside) * high;
    ((inside / normaliser).ln(), (outside / normaliser).ln())
}

/// Where runs saturate.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Runs that alarm.
    pub acting: f64,
    /// Runs that end an alarm.
    pub ended: f64,
}

#[expect(clippy::cast_possible_truncation, reason = "rounded down first")]
fn narrow(worth: f64) -> f32 {
    (worth - ROUNDING) as f32
}

/// Returns a number that is never above the exponential, and below it by less than 4e-6 of it: a smaller factor keeps
/// the promise. Written so that the compiler does several at once; the library's takes a third of all watching.
#[must_use]
fn exp_below(power: f32) -> f32 {
    const LEAST: f32 = -80.0;
    const MOST: f32 = 80.0;
    /// Adding it leaves the nearest whole number in the lowest bits.
    const WHOLE: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const SAFETY: f32 = 1.0 - 2e-6;
    let bounded = power.clamp(LEAST, MOST);
    let shifted = bounded * std::f32::consts::LOG2_E + WHOLE;
    let whole = shifted - WHOLE;
    let rest = bounded - whole * LN_2_HIGH - whole * LN_2_LOW;
    // Taylor's terms up to the seventh: what is left out is below 2e-8 of it for half of ln 2.
    let terms = [1.0 / 5_040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let sum = terms.iter().fold(0.0, |sum: f32, term| sum * rest + term);
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    if power < LEAST { 0.0 } else { sum * scale * SAFETY }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_exponential_is_never_above_and_hardly_below(power in -100.0_f32..100.0) {
            let (ours, exact) = (f64::from(exp_below(power)), f64::from(power).exp());
            prop_assert!(ours <= exact, "{power}: {ours} {exact}");
            if (-80.0..=80.0).contains(&power) {
                prop_assert!(ours >= exact * (1.0 - 4e-6), "{power}: {ours} {exact}");
            }
        }
    }

    const CEILINGS: Ceilings = Ceilings { acting: 1e300, ended: 1e300 };
    const BINS: usize = 24;

    /// A uniform distribution that stood still for 600 votes, and did so for `last` votes more in the block of its return.
    fn returned(last: usize) -> Channel {
        let mut channel = Channel::new(Tolerance::new(&[1.0 / BINS as f64; BINS], 10_000_000, 0.15, 0.0), 25);
        let mut votes = (0..).map(|vote| (vote * 7) % BINS);
        let mut block = |channel: &mut Channel, still: usize| {
            let rest: Vec<usize> = votes.by_ref().take(25 - still).collect();
            let votes = std::iter::repeat_n(0, still).chain(rest);
            channel.block(&votes, CEILINGS);
        };
        (0..40).for_each(|_| block(&mut channel, 0));
        (0..12).for_each(|_| block(&mut channel, 25));
        channel.alarmed();
        (0..12).for_each(|_| block(&mut channel, 25));
        block(&mut channel, last);
        (0..4).for_each(|_| block(&mut channel, 0));
        channel
    }

    #[test]
    fn the_block_in_which_a_change_ends_says_nothing_of_another_one() {
        for last in 0..=25 {
            let mut channel = returned(last);
            let over = channel.over().expect("it alarmed");
            assert!(over.log > 10.0 && over.fresh < 4.0, "{last}: {over:?}");
            assert!(channel.log() > 100.0, "the change itself stays known until it is forgotten");
            channel.go_on();
            assert!(channel.over().is_none() && channel.log() < 4.0 && channel.e_value() < 4.0, "{last}");
        }
    }

    #[test]
    fn what_moves_again_after_an_end_stays_known() {
        let mut channel = returned(0);
        (0..4).for_each(|_| channel.block(&[BINS - 1; 25].into_iter(), CEILINGS));
        let over = channel.over().expect("it alarmed");
        assert!(over.fresh > 20.0, "{over:?}");
        channel.go_on();
        assert!((channel.log() - over.fresh).abs() < 1e-9 && channel.e_value() > 1e6, "{}", channel.log());
    }

    #[test]
    fn the_exponential_of_no_number_grows_nothing() {
        assert!(exp_below(0.0) <= 1.0 && exp_below(0.0) > 0.999_99);
        assert!(exp_below(f32::NEG_INFINITY).abs() < f32::MIN_POSITIVE);
        assert!(exp_below(f32::INFINITY).is_finite());
    }
}
