//! What the bins might look like instead: a fixed family of alternatives, and what a vote is worth under each.
//!
//! Tilts in normal scores of the baseline's ranks (a tilt by theta moves a normal feature by theta standard
//! deviations, or scales it), and spikes on the outermost bins, where fraud is. One family serves every feature,
//! whatever its unit, because ranks have none. Alternatives that would gain next to nothing are left out.

use super::tolerance::Tolerance;

const TILTS: [f64; 6] = [-0.8, -0.35, -0.15, 0.15, 0.35, 0.8];
/// A move so large that a handful of votes tells.
const LEAPS: [f64; 2] = [-1.6, 1.6];
const SPIKES: [f64; 2] = [1.5, 3.0];
const SPIKED_BINS: [usize; 3] = [1, 2, 4];
/// What an alternative must gain a vote, when it is true, to be worth its place.
const GROWTH_MIN: f64 = 1e-4;
/// Alternatives nearer to each other than this, in every bin, are one.
const DISTANCE_MIN: f64 = 1e-6;

/// Builds the worth of a vote (log) for each alternative: one row an alternative, one column a bin.
#[must_use]
pub(crate) fn family(set: &Tolerance) -> Vec<Vec<f64>> {
    let scores = normal_scores(&set.shares);
    let mut kept: Vec<Vec<f64>> = Vec::new();
    for alternative in candidates(&set.shares, &scores) {
        let worth = set.increments(&alternative);
        let growth: f64 = alternative.iter().zip(&worth).map(|(q, s)| q * s).sum();
        let is_new = kept.iter().all(|other| other.iter().zip(&worth).any(|(a, b)| (a - b).abs() > DISTANCE_MIN));
        if growth > GROWTH_MIN && is_new {
            kept.push(worth);
        }
    }
    kept
}

fn candidates(shares: &[f64], scores: &[f64]) -> Vec<Vec<f64>> {
    let bins = shares.len();
    let mut laws = Vec::new();
    for theta in TILTS.into_iter().chain(LEAPS) {
        laws.push(tilted(shares, |bin| theta * scores[bin]));
    }
    for theta in TILTS {
        // Half the square: a scale of 1 + theta, about; bounded, or one bin would take all.
        laws.push(tilted(shares, |bin| (theta * 0.5 * (scores[bin] * scores[bin] - 1.0)).clamp(-3.0, 3.0)));
    }
    for factor in SPIKES {
        for count in SPIKED_BINS.into_iter().filter(|count| count * 2 <= bins) {
            laws.push(tilted(shares, |bin| if bin < count { f64::ln(factor) } else { 0.0 }));
            laws.push(tilted(shares, |bin| if bin + count >= bins { f64::ln(factor) } else { 0.0 }));
        }
    }
    laws
}

fn tilted(shares: &[f64], by: impl Fn(usize) -> f64) -> Vec<f64> {
    let raw: Vec<f64> = shares.iter().enumerate().map(|(bin, share)| share * by(bin).exp()).collect();
    let total: f64 = raw.iter().sum();
    raw.into_iter().map(|share| share / total).collect()
}

/// Returns the normal quantile of the middle rank of each bin.
fn normal_scores(shares: &[f64]) -> Vec<f64> {
    let mut below = 0.0;
    let middle = |share: &f64| {
        let rank = below + share / 2.0;
        below += share;
        normal_quantile(rank)
    };
    shares.iter().map(middle).collect()
}

/// The quantile of the normal distribution by Acklam's rational approximation (relative error 1.2e-9).
fn normal_quantile(rank: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416, 1.0];
    const TAIL: f64 = 0.024_25;
    let polynomial = |of: &[f64], at: f64| of.iter().fold(0.0, |sum, term| sum * at + term);
    let rank = rank.clamp(1e-12, 1.0 - 1e-12);
    if rank < TAIL {
        let root = (-2.0 * rank.ln()).sqrt();
        polynomial(&C, root) / polynomial(&D, root)
    } else if rank > 1.0 - TAIL {
        -normal_quantile(1.0 - rank)
    } else {
        let middle = rank - 0.5;
        let square = middle * middle;
        polynomial(&A, square) * middle / polynomial(&B, square)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_normal_distribution() {
        for (rank, quantile) in [(0.5, 0.0), (0.841_344_746, 1.0), (0.025, -1.959_963_985), (0.999, 3.090_232_306)] {
            assert!((normal_quantile(rank) - quantile).abs() < 1e-7, "{rank}");
        }
    }

    #[test]
    fn a_family_says_something_for_every_shape_of_bins() {
        let even = Tolerance::new(&[1.0 / 32.0; 32], 100_000, 0.15, 0.001);
        assert!(family(&even).len() >= 20, "{}", family(&even).len());
        let flag = Tolerance::new(&[0.9, 0.1], 100_000, 0.15, 0.001);
        assert!((4..=20).contains(&family(&flag).len()), "{}", family(&flag).len());
        let single = Tolerance::new(&[1.0], 100_000, 0.15, 0.001);
        assert!(family(&single).is_empty(), "one bin cannot drift");
        let wide = Tolerance::new(&[0.5, 0.5], 10, 4.0, 0.001);
        assert!(family(&wide).is_empty(), "all is tolerated");
    }
}
