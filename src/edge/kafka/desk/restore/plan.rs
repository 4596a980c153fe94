//! What restoring a partition takes: pure, from what the group committed and what is here.

use super::replay::Failure;
use crate::edge::kafka::lane::{Assigned, Committed, Place};
use crate::edge::kafka::options::Start;
use crate::runtime::stream::Position;
use crate::runtime::stream::position::Error;

/// How to get the state of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// It is here, or there is none yet.
    Go(Position),
    /// The changelog has the rest.
    Replay {
        /// From the local position; from the changelog's beginning without one.
        from: Option<Position>,
        /// To the committed one.
        to: Position,
    },
    /// It cannot be had whole.
    Lost(Failure),
}

/// Plans for a partition that came; `local` is the position of the state that is here.
pub(super) fn plan(assigned: &Assigned, local: Option<Position>, start: Start) -> Plan {
    let Some(committed) = &assigned.transactions.committed else {
        return match local {
            None => Plan::Go(anew(assigned, start)),
            // It was ours before and had no record yet: there is nothing in that state that anybody could miss.
            Some(local) if is_untouched(assigned, local) => Plan::Go(local),
            Some(local) => Plan::Lost(Failure::lost(format!(
                "the group has committed nothing, but state here stands at offset {}: another group or cluster, or a topic \
                 that was made anew",
                local.transactions
            ))),
        };
    };
    let to = match Position::parse(committed.offset, &committed.metadata) {
        Ok(position) => position,
        Err(Error::Newer(version)) => return Plan::Lost(Failure::newer(Error::Newer(version).to_string())),
        Err(Error::Malformed) => {
            let reason =
                format!("offset {} was committed by somebody else: it says nothing of state", committed.offset);
            return Plan::Lost(Failure::lost(reason));
        }
    };
    if let Some(reason) = gone(&assigned.transactions, to.transactions, "transactions")
        .or_else(|| gone(&assigned.labels, to.labels, "labels"))
    {
        return Plan::Lost(Failure::lost(reason));
    }
    match local {
        None => Plan::Replay { from: None, to },
        Some(local) if local == to => Plan::Go(to),
        Some(local) if local.transactions > to.transactions || local.labels > to.labels => {
            Plan::Lost(Failure::lost(format!(
                "state here stands at offset {}, the group at {}: its offsets were set back, or the broker lost records",
                local.transactions, to.transactions
            )))
        }
        Some(local) if (local.transactions, local.labels) == (to.transactions, to.labels) => Plan::Lost(Failure::lost(
            format!("state here and the group stand at offset {} and have not seen the same records", to.transactions),
        )),
        Some(local) => Plan::Replay { from: Some(local), to },
    }
}

/// Tells whether a position is that of a partition of which nothing has been read, in topics that still reach there.
fn is_untouched(assigned: &Assigned, local: Position) -> bool {
    let reaches = |place: &Place, next: i64| (place.earliest..=place.latest).contains(&next);
    local == Position::start(local.transactions, local.labels)
        && reaches(&assigned.transactions, local.transactions)
        && reaches(&assigned.labels, local.labels)
}

/// Returns where a partition begins without state: at its committed offset, else where the settings say.
pub(super) fn anew(assigned: &Assigned, start: Start) -> Position {
    let place = |place: &Place| {
        let committed = place.committed.as_ref().map(|Committed { offset, .. }| *offset);
        let first = match start {
            Start::Earliest => place.earliest,
            Start::Latest => place.latest,
        };
        committed.unwrap_or(first).max(place.earliest)
    };
    Position::start(place(&assigned.transactions), place(&assigned.labels))
}

fn gone(place: &Place, next: i64, topic: &str) -> Option<String> {
    (next < place.earliest).then(|| {
        format!(
            "{topic} from offset {next} to {} were deleted before they were read: retention is too short",
            place.earliest - 1
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(transactions: i64, chain: u64) -> Position {
        Position { transactions, labels: 0, watermark_micros: 5, chain }
    }

    fn assigned(committed: Option<Committed>, earliest: i64) -> Assigned {
        let labels = Place { committed: None, earliest: 0, latest: 7 };
        Assigned { partition: 3, transactions: Place { committed, earliest, latest: 90 }, labels }
    }

    fn committed(position: Position) -> Committed {
        Committed { offset: position.transactions, metadata: position.metadata(), token: None }
    }

    fn check(assigned: &Assigned, local: Option<Position>, expected: &Plan) {
        assert_eq!(plan(assigned, local, Start::Earliest), *expected);
    }

    fn check_lost(assigned: &Assigned, local: Option<Position>, words: &str) {
        match plan(assigned, local, Start::Earliest) {
            Plan::Lost(failure) => assert!(failure.reason.contains(words), "{}", failure.reason),
            other => panic!("expected a loss that says {words:?}, got {other:?}"),
        }
    }

    #[test]
    fn a_first_run_begins_where_the_settings_say() {
        let first = assigned(None, 4);
        assert_eq!(plan(&first, None, Start::Earliest), Plan::Go(Position::start(4, 0)));
        assert_eq!(plan(&first, None, Start::Latest), Plan::Go(Position::start(90, 7)));
        check_lost(&first, Some(at(9, 1)), "committed nothing");
    }

    #[test]
    fn a_partition_that_had_no_record_yet_goes_on_where_it_began() {
        let nothing = |transactions| Some(Position::start(transactions, 2));
        let first = assigned(None, 4);
        assert_eq!(plan(&first, nothing(40), Start::Latest), Plan::Go(Position::start(40, 2)));
        // The topic was made anew: that offset is of another log.
        check_lost(&first, nothing(91), "committed nothing");
        check_lost(&first, nothing(3), "committed nothing");
    }

    #[test]
    fn local_state_is_trusted_at_or_before_the_committed_offset() {
        let group = assigned(Some(committed(at(50, 8))), 0);
        check(&group, Some(at(50, 8)), &Plan::Go(at(50, 8)));
        check(&group, Some(at(40, 7)), &Plan::Replay { from: Some(at(40, 7)), to: at(50, 8) });
        check(&group, None, &Plan::Replay { from: None, to: at(50, 8) });
        check_lost(&group, Some(at(51, 9)), "set back");
        check_lost(&group, Some(at(50, 9)), "not seen the same records");
    }

    #[test]
    fn what_cannot_be_known_is_said() {
        check_lost(&assigned(Some(committed(at(50, 8))), 60), None, "deleted before they were read");
        let foreign = Some(Committed { offset: 50, metadata: String::new(), token: None });
        check_lost(&assigned(foreign, 0), None, "by somebody else");
        let newer = Some(Committed { offset: 50, metadata: "v9;x".into(), token: None });
        match plan(&assigned(newer, 0), None, Start::Earliest) {
            Plan::Lost(failure) => assert!(!failure.may_continue, "{}", failure.reason),
            other => panic!("{other:?}"),
        }
    }
}
