//! Reading a store from outside: every label, then every decision, oldest first.
//!
//! ```text
//! events/  transactions, labels ──> read_labels      ledger/  releases, decisions ──> read_decisions
//! ```
//! Nothing is locked and nothing is changed, so a service may write on meanwhile: what it has begun and not
//! finished is left out, and a segment that retention removes under our eyes is gone as it would be a second
//! later. What cannot be read for another reason is told, never passed over in silence.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::encoding::{self, Event, Tag};
use super::error::{Damage, Error};
use super::repair::walk;
use super::{Kind, segment};
use crate::domain::{Label, ReleaseFacts, Timestamp};
use crate::runtime::decisions::Record;

/// How often a log is begun anew because retention took a file that was about to be read.
const TRIES_MAX: u32 = 5;

/// What a look through one log found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// What was handed on.
    pub read: u64,
    /// Records that are of no use: no release is kept that they name, or their bytes say nothing.
    pub unreadable: u64,
    /// Each place that cannot be read.
    pub damages: Vec<Damage>,
    /// The newest event time of a transaction, where transactions were passed.
    pub newest: Option<Timestamp>,
}

/// Reads every label of a store, in the order they came. `tell` hears every file.
///
/// # Errors
/// A directory that is not there or cannot be read, another format version.
pub fn read_labels(directory: &Path, tell: &dyn Fn(&Path), take: &mut dyn FnMut(Label)) -> Result<Exported, Error> {
    let (mut seen, mut exported) = (0, Exported::default());
    let log = directory.join("events");
    exported.damages = over(&log, Kind::Events, tell, &mut |sequence, payload| {
        if sequence <= seen {
            return;
        }
        seen = sequence;
        match (encoding::note(payload).map(|note| note.tag), encoding::event(payload)) {
            (Some(Tag::Label), Some(Event::Label(label))) => {
                exported.read += 1;
                take(label);
            }
            (Some(Tag::Transaction), Some(Event::Transaction(transaction))) => {
                exported.newest = exported.newest.max(Some(transaction.occurred_at()));
            }
            _ => exported.unreadable += 1,
        }
    })?;
    Ok(exported)
}

/// Reads every decision of a store, oldest first. `tell` hears every file; an error of `take` ends it.
///
/// # Errors
/// As [`read_labels`], and whatever `take` says.
pub fn read_decisions<E: From<Error>>(
    directory: &Path,
    tell: &dyn Fn(&Path),
    take: &mut dyn FnMut(Record) -> Result<(), E>,
) -> Result<Exported, E> {
    let (mut seen, mut exported, mut refused) = (0, Exported::default(), None);
    let mut releases: HashMap<u64, Arc<ReleaseFacts>> = HashMap::new();
    let log = directory.join("ledger");
    let damages = over(&log, Kind::Ledger, tell, &mut |sequence, payload| {
        let Some(note) = encoding::note(payload) else { return exported.unreadable += 1 };
        if note.tag == Tag::Release {
            releases.extend(encoding::release(payload).map(|facts| (note.hash, Arc::new(facts))));
        }
        if sequence <= seen || refused.is_some() || !note.tag.is_decision() {
            return;
        }
        seen = sequence;
        let facts = encoding::release_of(payload).and_then(|key| releases.get(&key).cloned());
        match facts.and_then(|facts| encoding::record(payload, sequence, facts)) {
            Some(record) => {
                exported.read += 1;
                refused = take(record).err();
            }
            None => exported.unreadable += 1,
        }
    })?;
    exported.damages = damages;
    match refused {
        Some(error) => Err(error),
        None => Ok(exported),
    }
}

/// Walks over a log that may be written to meanwhile. `take` may hear a frame again after a file was gone.
fn over(
    directory: &Path,
    kind: Kind,
    tell: &dyn Fn(&Path),
    take: &mut dyn FnMut(u64, &[u8]),
) -> Result<Vec<Damage>, Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        // A directory without logs is a mistyped one.
        segment::list(directory).map_err(Error::io("list", directory))?;
        let walked = walk(directory, kind, tell, &mut |_, sequence, payload| {
            take(sequence, payload);
            Ok(())
        });
        match walked {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound && tries < TRIES_MAX => {}
            Err(error) => return Err(error),
            Ok(report) => return Ok(report.damages),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{LabelKind, Span};
    use crate::runtime::clock::Moment;
    use crate::runtime::decisions::{self, Ledger, Reservation};
    use crate::runtime::store::{Message, Store, put_label, samples};
    use crate::tasks::Shutdown;

    fn label(id: &str) -> Label {
        let occurred_at = Timestamp::from_seconds(1_772_400_000);
        Label { transaction_id: id.into(), kind: LabelKind::Chargeback, occurred_at, source: "bank".into() }
    }

    #[tokio::test]
    async fn a_store_is_read_while_a_service_writes_to_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let (store, kept) = Store::open(samples::options(directory.path())).expect("a store");
        let cache = decisions::Options { age_max: Span::from_days(36_500), bytes_max: 64 << 20 };
        let ledger = Arc::new(Ledger::with_store(cache, &store, &kept));
        let (entities, _) = samples::entities();
        let running = store.start(&ledger, &entities, &Shutdown::default()).expect("threads");
        for number in 0..300 {
            let record = samples::record(&format!("t-{number}"), 0);
            let found = ledger.reserve(record.transaction.id(), record.payload_hash);
            let Reservation::Reserved(mut ticket) = found else { panic!("{number} is new") };
            ticket.observed(&record.transaction);
            ticket.settle(record, Moment::now().after(Duration::from_mins(1))).await;
        }
        let mut payload = Vec::new();
        put_label(&mut payload, &label("t-7"));
        let recorded = ledger.record_labels(|reply| Message::Labels {
            payloads: vec![payload],
            deferred: Vec::new(),
            reply: Some(reply),
        });
        assert!(recorded.await);

        // The store is still open and locked.
        let mut labels = Vec::new();
        let exported = read_labels(directory.path(), &|_| {}, &mut |label| labels.push(label)).expect("read");
        assert_eq!(labels, [label("t-7")]);
        assert_eq!((exported.read, exported.unreadable, exported.damages.len()), (1, 0, 0));
        assert_eq!(exported.newest, Some(Timestamp::from_seconds(1_772_359_200)));
        let mut ids = Vec::new();
        let exported = read_decisions(directory.path(), &|_| {}, &mut |record| {
            assert_eq!(record.features.len(), 5);
            ids.push(record.transaction.id().to_owned());
            Ok::<(), Error>(())
        });
        let exported = exported.expect("read");
        assert_eq!(ids, (0..300).map(|number| format!("t-{number}")).collect::<Vec<_>>(), "{exported:?}");

        let mut count = 0;
        let refused = read_decisions(directory.path(), &|_| {}, &mut |_| {
            count += 1;
            Err(Error::InUse { path: directory.path().into() })
        });
        assert!(refused.is_err_and(|error| matches!(error, Error::InUse { .. })) && count == 1);
        running.close();
    }

    #[test]
    fn a_mistyped_directory_is_said() {
        let directory = tempfile::tempdir().expect("a directory");
        let read = read_labels(directory.path(), &|_| {}, &mut |_| {});
        assert!(read.is_err_and(|error| error.to_string().contains("events")));
    }
}
