//! Who is let through, in one word: a mode, a percentage and the epoch, so that a call reads them at once.

use crate::healing::breaker::Admission;

const MODE_BITS: u64 = 0b11;
const PERCENT_SHIFT: u32 = 2;
const PERCENT_BITS: u64 = 0x7f;
const EPOCH_SHIFT: u32 = 9;

/// Packs who is let through in an epoch.
pub(super) fn gate_of(admission: Admission, epoch: u64) -> u64 {
    let (mode, percent) = match admission {
        Admission::All => (0, 100),
        Admission::Nobody => (1, 0),
        Admission::Shadow(percent) => (2, percent),
        Admission::Share(percent) => (3, percent),
    };
    epoch << EPOCH_SHIFT | u64::from(percent.min(100)) << PERCENT_SHIFT | mode
}

/// Returns who is let through.
pub(super) fn admission_of(gate: u64) -> Admission {
    let percent = u32::try_from(gate >> PERCENT_SHIFT & PERCENT_BITS).unwrap_or(0);
    match gate & MODE_BITS {
        0 => Admission::All,
        2 => Admission::Shadow(percent),
        3 => Admission::Share(percent),
        // Mode 1.
        _ => Admission::Nobody,
    }
}

/// Returns the epoch.
pub(super) const fn epoch_of(gate: u64) -> u64 {
    gate >> EPOCH_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_read_again() {
        for admission in [Admission::All, Admission::Nobody, Admission::Shadow(10), Admission::Share(1)] {
            for epoch in [0, 1, 77_000] {
                let gate = gate_of(admission, epoch);
                assert_eq!((admission_of(gate), epoch_of(gate)), (admission, epoch));
            }
        }
    }
}
