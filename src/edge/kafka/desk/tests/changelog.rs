//! State comes back from the changelog, or the partition says why not.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Whatever the batches were, a new machine with the changelog alone is where the old one was, and an old one
    /// that is behind catches up.
    #[test]
    fn state_comes_back_from_the_changelog(cuts in prop::collection::vec(1..9_usize, 1..12)) {
        let directories = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
        let mut rig = rig(directories[0].path());
        let mut left: VecDeque<i64> = (0..60).map(|nth| mine(&rig.instance, nth)).collect();
        for cut in cuts {
            let some: Vec<_> = left.drain(..cut.min(left.len())).collect();
            rig.take(some.iter().flat_map(|number| [of(&transaction(*number)), fetched(Source::Transactions, None)]));
            if left.is_empty() {
                break;
            }
        }
        let at = rig.position();
        let committed = Committed { offset: at.transactions, metadata: at.metadata(), token: None };
        let anew = open(directories[1].path());
        let mut second = desk(&anew, &rig.log, options());
        prop_assert_eq!(restored(&mut second, Some(committed.clone())), Ok([at.transactions, at.labels]));
        prop_assert_eq!(second.prefixes[&0].position(), at);
        prop_assert_eq!(anew.fingerprint(500), rig.instance.fingerprint(500));
        drop(second);
        anew.running.close();
        drop(anew);
        // The local store has it all now: nothing of the changelog is needed.
        let again = open(directories[1].path());
        prop_assert_eq!(again.positions.get(&0), Some(&at));
        let mut third = desk(&again, &Log::default(), options());
        prop_assert_eq!(restored(&mut third, Some(committed)), Ok([at.transactions, at.labels]));
        prop_assert_eq!(again.fingerprint(500), rig.instance.fingerprint(500));
    }
}

#[test]
fn state_that_is_a_little_behind_costs_one_seek_and_a_few_records() {
    let directories = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let mut rig = rig(directories[0].path());
    let mut behind = None;
    for nth in 0..60 {
        let number = mine(&rig.instance, nth);
        rig.take([of(&transaction(number))]);
        behind = behind.or_else(|| (nth == 56).then(|| (rig.position(), rig.log.lock().clone())));
    }
    let committed = |at: Position| Some(Committed { offset: at.transactions, metadata: at.metadata(), token: None });
    let (at, log) = behind.expect("taken down under way");
    let anew = open(directories[1].path());
    let mut first = desk(&anew, &Arc::new(parking_lot::Mutex::new(log)), options());
    assert_eq!(restored(&mut first, committed(at)), Ok([57, 0]));
    drop(first);
    anew.running.close();
    drop(anew);
    let anew = open(directories[1].path());
    let calls = Calls::default();
    let mut second = counted(&anew, (&rig.log, &calls), options());
    assert_eq!(restored(&mut second, committed(rig.position())), Ok([60, 0]));
    assert_eq!(*calls.lock(), [1, 16]);
    assert_eq!(anew.fingerprint(500), rig.instance.fingerprint(500));
}

#[test]
fn a_changelog_record_that_is_full_is_followed_by_another_of_the_same_transaction() {
    let directories = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let mut rig = rig(directories[0].path());
    let options = || Options { changelog_len_max: 300, ..options() };
    rig.desk = desk(&rig.instance, &rig.log, options());
    rig.next = restored(&mut rig.desk, None).expect("a first run");
    let records: Vec<_> = (0..20).map(|nth| of(&transaction(mine(&rig.instance, nth)))).collect();
    rig.take(records);
    let log = rig.log.lock().clone();
    assert!(log.len() > 3, "{} records", log.len());
    let longest = log.iter().map(Vec::len).max().unwrap_or_default();
    assert!(longest < 300 + 400, "full, and one entry more: {longest}");
    // A local store that holds the first of them only goes on in the middle of the transaction.
    let at = rig.position();
    let committed = || Some(Committed { offset: at.transactions, metadata: at.metadata(), token: None });
    let anew = open(directories[1].path());
    let cut = Arc::new(parking_lot::Mutex::new(log[..2].to_vec()));
    let reason = restored(&mut desk(&anew, &cut, options()), committed()).expect_err("it is not whole");
    assert!(reason.contains("ends at offset"), "{reason}");
    anew.running.close();
    drop(anew);
    let anew = open(directories[1].path());
    assert!(anew.positions[&0].transactions < at.transactions);
    let mut second = desk(&anew, &rig.log, options());
    assert_eq!(restored(&mut second, committed()), Ok([at.transactions, at.labels]));
    assert_eq!(anew.fingerprint(500), rig.instance.fingerprint(500));
}

#[test]
fn a_changelog_that_is_not_whole_stops_the_partition_or_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rig = rig(directory.path());
    for nth in 0..6 {
        let number = mine(&rig.instance, nth);
        rig.take([of(&transaction(number))]);
    }
    let at = rig.position();
    let committed = || Some(Committed { offset: at.transactions, metadata: at.metadata(), token: None });
    let whole = rig.log.lock().clone();
    let check = |change: &dyn Fn(&mut Vec<Vec<u8>>), words: &str| {
        let mut log = whole.clone();
        change(&mut log);
        let log = Arc::new(parking_lot::Mutex::new(log));
        let directory = tempfile::tempdir().expect("a directory");
        let instance = open(directory.path());
        let reason = restored(&mut desk(&instance, &log, options()), committed()).expect_err(words);
        assert!(reason.contains(words), "{reason}");
        // A newer format is never gone on from.
        let mut going_on = options();
        going_on.restore.on_lost_state = OnLostState::Continue;
        let outcome = restored(&mut desk(&instance, &log, going_on), committed());
        assert_eq!(outcome.is_ok(), !words.contains("start the fraudd"), "{outcome:?}");
    };
    check(&|log| drop(log.remove(2)), "gap");
    check(&|log| drop(log.pop()), "ends at offset 5");
    check(&Vec::clear, "has no record");
    check(&|log| log[3][60] ^= 1, "damaged");
    check(&|log| log[1][0] = 9, "start the fraudd that wrote it");
    // The first records are gone, and what is left does not reach back as far as windows do.
    check(&|log| drop(log.remove(0)), "reaches back");
}
