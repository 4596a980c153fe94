//! Lists: what matches, until when, and what a file or request must not say.

use proptest::prelude::*;

use super::*;
use crate::domain::transaction::{Attribute, samples};
use crate::domain::{Span, TextField};

fn instant(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("an instant")
}

fn now() -> Timestamp {
    instant("2026-03-01T12:00:00Z")
}

fn draft(list: &str, field: &str, value: &str) -> EntryDraft {
    let (list, field, value) = (list.into(), field.into(), value.into());
    EntryDraft { list, field, value, reason: "why not".into(), ..EntryDraft::default() }
}

fn entry(list: &str, field: &str, value: &str) -> ListEntry {
    ListEntry::check(draft(list, field, value)).expect("a valid entry")
}

fn lists(entries: &[ListEntry]) -> Lists {
    entries.iter().fold(Lists::default(), |lists, entry| lists.with(entry.clone()).expect("room"))
}

fn transaction() -> Transaction {
    samples::transaction("t-1", now(), 100, |draft| {
        draft.text(TextField::CardToken, "tok_1");
        draft.text(TextField::DeviceId, "dev_1");
        draft.attribute("tier", Attribute::Text("gold".into()));
        draft.attribute("age", Attribute::Int(7));
    })
}

fn matched(lists: &Lists, now: Timestamp) -> Vec<(ListKind, String)> {
    lists.matches(&transaction(), now).iter().map(|entry| (entry.list, entry.value.to_string())).collect()
}

#[test]
fn exact_values_match_and_deny_comes_first() {
    let all = lists(&[
        entry("allow", "card.token", "tok_1"),
        entry("allow", "customer_id", "tok_1"),
        entry("deny", "device.id", "dev_1"),
        entry("deny", "device.id", "dev_10"),
        entry("deny", "card.token", "TOK_1"),
        entry("deny", "card.token", "tok_1"),
        entry("allow", "attributes.tier", "gold"),
        entry("allow", "attributes.age", "7"),
        entry("allow", "currency", "EUR"),
        entry("allow", "transaction_id", "t-1"),
    ]);
    let (deny, allow): (Vec<_>, Vec<_>) =
        matched(&all, now()).into_iter().partition(|(list, _)| *list == ListKind::Deny);
    let values = |side: &[(ListKind, String)]| {
        let mut values: Vec<String> = side.iter().map(|(_, value)| value.clone()).collect();
        values.sort();
        values
    };
    assert_eq!(values(&deny), ["dev_1", "tok_1"]);
    assert_eq!(values(&allow), ["EUR", "gold", "t-1", "tok_1"]);
    let first_allow = matched(&all, now()).iter().position(|(list, _)| *list == ListKind::Allow);
    assert_eq!(first_allow, Some(2), "deny comes before allow");
    assert!(matched(&Lists::default(), now()).is_empty());
}

#[test]
fn an_entry_counts_until_its_last_microsecond() {
    let expires_at = Some("2026-03-01T13:00:00Z".to_owned());
    let limited = ListEntry::check(EntryDraft { expires_at, ..draft("deny", "card.token", "tok_1") }).expect("valid");
    let lists = lists(&[limited, entry("deny", "device.id", "dev_1")]);
    let end = instant("2026-03-01T13:00:00Z");
    assert_eq!(matched(&lists, end.minus(Span::from_micros(1))).len(), 2);
    assert_eq!(matched(&lists, end).len(), 1);
    assert_eq!((lists.len(), lists.without_expired(end).len()), (2, 1));
    assert_eq!(lists.without_expired(end).entries()[0].value, "dev_1");
}

#[test]
fn changes_give_new_lists_and_leave_the_old() {
    let one = lists(&[entry("deny", "card.token", "tok_1")]);
    let two = one.with(entry("deny", "device.id", "tok_1")).expect("room");
    let both = two.with(entry("allow", "card.token", "tok_1")).expect("room");
    assert_eq!((one.len(), two.len(), both.len()), (1, 2, 3));
    let replaced = EntryDraft { reason: "another".into(), ..draft("deny", "card.token", "tok_1") };
    let replaced = one.with(ListEntry::check(replaced).expect("valid")).expect("room");
    assert_eq!((replaced.len(), replaced.entries()[0].reason.as_str()), (1, "another"));
    assert_ne!(replaced.version(), one.version());
    assert_eq!(replaced.with(entry("deny", "card.token", "tok_1")).expect("room").version(), one.version());
    let left = both.without(ListKind::Deny, "tok_1").expect("found");
    assert_eq!(left.entries(), [&entry("allow", "card.token", "tok_1")]);
    assert_eq!(left.without(ListKind::Deny, "tok_1").expect_err("gone"), Error::NotFound(ListKind::Deny));
    let none = left.without(ListKind::Allow, "tok_1").expect("found");
    assert!(none.is_empty());
    assert_eq!(none.version(), Lists::default().version());
}

#[test]
fn the_number_of_entries_has_a_bound() {
    let many: Vec<ListEntry> = (0..ENTRIES_MAX).map(|n| entry("deny", "device.id", &format!("d-{n}"))).collect();
    let full = Lists::from_entries(many);
    assert_eq!(full.len(), ENTRIES_MAX);
    assert_eq!(full.with(entry("deny", "device.id", "one-more")).expect_err("no room"), Error::Full);
    assert!(full.with(entry("deny", "device.id", "d-7")).is_ok(), "a replacement needs no room");
}

#[test]
fn files_are_read_with_all_faults_and_no_value_in_them() {
    let file = r#"
[[entry]]
list = "deny"
field = "card.token"
value = "4111111111111111"
reason = "card 4111 1111 1111 1111"

[[entry]]
list = "grey"
field = "amount"
value = "x"
reason = ""
expires_at = "soon"
until = 3

[[entry]]
list = "deny"
field = "card.country"
value = "fr"
reason = "why"
expires_at = 2026-12-31T00:00:00Z

[[entry]]
field = "card.country"

[[entry]]
list = "deny"
field = "customer_id"
value = "4111111111111111"
reason = "an id, not a card"

[[entry]]
list = "deny"
field = "customer_id"
value = "4111111111111111"
reason = "again"
"#;
    let faults = Lists::parse(file).expect_err("refused");
    let told: Vec<String> = faults.iter().map(|fault| format!("{} {}", fault.line, fault.message)).collect();
    let expected = [
        "5 holds a full card number: send a token, the first 6 to 8 digits or the last 4",
        "6 reason holds a full card number",
        "9 list is unknown",
        "10 field is no text field of a transaction",
        "12 reason is empty, longer than 200 bytes or not one line",
        "13 expires_at is not an instant",
        "14 unknown key until",
        "19 expected an ISO 3166-1 alpha-2 code in capitals, such as FR",
        "23 list is missing",
        "23 value is missing",
        "23 reason is missing",
        "35 an earlier entry has the same list, field and value",
    ];
    assert_eq!(told, expected);
    assert!(!format!("{faults:?}").contains("4111"), "a fault repeats a value");
}

#[test]
fn the_shipped_lists_are_empty_and_their_example_is_valid() {
    const FILE: &str = include_str!("../../../config/lists.toml");
    assert!(Lists::parse(FILE).expect("valid").is_empty());
    let example: Vec<&str> = FILE.lines().skip(3).map(|line| line.trim_start_matches('#')).collect();
    let lists = Lists::parse(&example.join("\n")).expect("valid");
    assert_eq!(lists.entries()[0].expires_at, Some(instant("2026-12-31T00:00:00Z")));
}

fn any_entry() -> impl Strategy<Value = ListEntry> {
    let fields = prop::sample::select(vec!["card.token", "device.id", "attributes.tier", "customer_id"]);
    let expiry = prop::option::of(0i64..4);
    (prop::bool::ANY, fields, "[a-c]{1,2}|tok_1|dev_1|gold", expiry, "[ -~é\"]{0,9}x").prop_map(
        |(deny, field, value, expiry, reason)| {
            let expires_at = expiry.map(|hours| now().plus(Span::from_seconds(3_600 * hours)).to_string());
            let list = if deny { "deny" } else { "allow" };
            let draft = EntryDraft { reason, expires_at, ..draft(list, field, &value) };
            ListEntry::check(draft).expect("a valid entry")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Look-ups equal a scan of all entries, by whatever way the lists came to be.
    #[test]
    fn lists_equal_a_scan(entries in prop::collection::vec(any_entry(), 0..40), hours in 0i64..4) {
        let mut kept: Vec<ListEntry> = Vec::new();
        for entry in &entries {
            kept.retain(|known| known.key() != entry.key());
            kept.push(entry.clone());
        }
        let at = now().plus(Span::from_seconds(3_600 * hours));
        let payment = transaction();
        let in_scan = |entry: &&ListEntry| {
            payment.read(&entry.field) == Value::Text(&entry.value) && entry.is_in_effect(at)
        };
        let mut scanned: Vec<&ListEntry> = kept.iter().filter(in_scan).collect();
        let by_insert = lists(&entries);
        let by_file = Lists::parse(&by_insert.to_toml()).expect("what we write, we read");
        prop_assert_eq!(by_insert.version(), by_file.version());
        prop_assert_eq!(by_insert.entries(), by_file.entries());
        for lists in [&by_insert, &by_file] {
            let mut found = lists.matches(&payment, at).to_vec();
            prop_assert!(found.is_sorted_by_key(|entry| entry.list));
            found.sort_by_key(|entry| entry.key());
            scanned.sort_by_key(|entry| entry.key());
            prop_assert_eq!(&found, &scanned);
        }
    }
}
