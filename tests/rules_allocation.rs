//! The rules allocate nothing on a transaction's way: counted by the allocator itself.

#![expect(unsafe_code, reason = "a counting allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use compact_str::CompactString;

use fraudd::domain::{Currency, Draft, FeatureVector, RateTable, RuleVerdict, Score, TextField, Timestamp};
use fraudd::scoring::expression::{Environment, Scope};
use fraudd::scoring::list::Lists;
use fraudd::scoring::rule::RuleSet;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts what this thread allocates in `work`.
fn allocations<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = ALLOCATIONS.with(Cell::get);
    let value = work();
    (value, ALLOCATIONS.with(Cell::get) - before)
}

fn rule(number: usize) -> String {
    let when = [
        "tx.card.country in ['DE', 'FR'] && features.f0 * 2.0 > 1.0",
        "tx.amount / 100 % 7 == 3 || score > 0.9",
        "tx.channel.startsWith('e') && size(tx.channel) > 3",
        "features.missing > 1.0 ? true : has(tx.device.id)",
        "1 / (tx.amount - tx.amount) > 0",
    ][number % 5];
    format!("[[rule]]\nid = 'r-{number}'\nversion = 1\nwhen = \"{when}\"\nweight = 1\ncode = 'A'\ndescription = 'A.'\n")
}

#[test]
fn twenty_four_rules_and_the_lists_allocate_nothing() {
    let environment = Environment {
        features: ["f0", "missing"].map(CompactString::from).to_vec(),
        score: true,
        ..Environment::default()
    };
    let file: Vec<String> = (0..24).map(rule).collect();
    let rules = RuleSet::parse(&file.concat(), &environment).expect("valid rules");
    let entries = ["card.country", "channel"].map(|field| {
        let value = if field == "channel" { "ecommerce" } else { "FR" };
        format!("[[entry]]\nlist = 'deny'\nfield = '{field}'\nvalue = '{value}'\nreason = 'r'\n")
    });
    let lists = Lists::parse(&entries.concat()).expect("valid lists");
    let mut draft = Draft::new();
    draft.id("t-1");
    draft.occurred_at_text("2026-03-02T12:00:00Z");
    draft.amount(4_000);
    draft.currency("EUR");
    draft.text(TextField::CardCountry, "FR");
    draft.text(TextField::Channel, "ecommerce");
    let transaction = draft.finish(&RateTable::identity(Currency::parse("EUR").expect("a currency"))).expect("valid");
    let mut features = FeatureVector::with_capacity(2);
    features.push(Some(1.0), 0.0);
    features.push(None, 0.0);
    let scope = Scope { transaction: &transaction, features: &features, score: Score::new(0.5).ok() };

    let (verdicts, by_rules) = allocations(|| rules.evaluate(&scope));
    let first = [RuleVerdict::Hit, RuleVerdict::NoHit, RuleVerdict::Hit, RuleVerdict::Absent, RuleVerdict::Error];
    assert_eq!((&verdicts[..5], verdicts.len(), by_rules), (&first[..], 24, 0));
    let (found, by_lists) = allocations(|| lists.matches(&transaction, Timestamp::MAX));
    assert_eq!((found.len(), by_lists), (2, 0));
    assert!(allocations(|| vec![1u8; 32]).1 > 0, "the allocator counts");
}
