//! The store against a naive oracle: any order, duplicates, lateness, labels, equal times, caps.
//!
//! The oracle keeps every event and every label in plain lists and looks at all of them for each feature
//! (O(n²)); it shares nothing with the store but the names of the features. Whole numbers must be equal
//! to the bit, averages and deviations to 1e-12.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use fraudd::domain::FeatureVector;
use fraudd::domain::{Currency, Draft, Label, LabelKind, RateTable, Span, TextField, Timestamp, Transaction};
use fraudd::runtime::entities::{Entities, Options};
use fraudd::scoring::feature::{Plan, Schema};
use proptest::prelude::*;

const MINUTE: i64 = 60_000_000;
const START: i64 = 1_700_000_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Want {
    Count,
    Sum,
    Mean,
    Std,
    Min,
    Max,
    Distinct,
    Last,
    Rate,
    Since,
}

#[derive(Clone, Debug)]
struct Spec {
    want: Want,
    minutes: i64,
    delay: i64,
    last: Option<usize>,
    only_pos: bool,
    same_device: bool,
    label: Option<&'static str>,
    current: bool,
}

impl Spec {
    fn toml(&self, number: usize) -> String {
        let (measure, column) = match self.want {
            Want::Count => ("count", ""),
            Want::Sum => ("sum", "base_amount"),
            Want::Mean => ("mean", "base_amount"),
            Want::Std => ("std", "base_amount"),
            Want::Min => ("min", "base_amount"),
            Want::Max => ("max", "location.lat"),
            Want::Distinct => ("distinct", "merchant.id"),
            Want::Last => ("last", "location.lat"),
            Want::Rate => ("rate_of_fraud", ""),
            Want::Since => ("time_since", ""),
        };
        let mut text = format!(
            "[[feature]]\nname = \"f{number}\"\ndescription = \"x\"\nentity = \"card\"\naggregate = \"{measure}\"\nwindow = \"{}m\"\n",
            self.minutes
        );
        if !column.is_empty() {
            let _ = writeln!(text, "column = \"{column}\"");
        }
        if self.delay > 0 {
            let _ = writeln!(text, "delay = \"{}m\"", self.delay);
        }
        if let Some(last) = self.last {
            let _ = writeln!(text, "last = {last}");
        }
        if self.only_pos {
            text += "where = 'has(tx.channel) && tx.channel == \"pos\"'\n";
        }
        if self.same_device {
            text += "same = \"device.id\"\n";
        }
        if let Some(label) = self.label {
            let _ = writeln!(text, "labels = \"{label}\"");
        }
        if self.delay == 0 && self.label.is_none() && self.want != Want::Since {
            let _ = writeln!(text, "include_current = {}", self.current);
        }
        text
    }

    fn includes_current(&self) -> bool {
        self.current && self.delay == 0 && self.label.is_none() && self.want != Want::Since
    }
}

fn spec() -> impl Strategy<Value = Spec> {
    let want = prop::sample::select(vec![
        Want::Count,
        Want::Sum,
        Want::Mean,
        Want::Std,
        Want::Min,
        Want::Max,
        Want::Distinct,
        Want::Last,
        Want::Rate,
        Want::Since,
    ]);
    let label = prop::sample::select(vec![None, None, None, Some("known"), Some("fraud"), Some("genuine")]);
    let windows = prop::sample::select(vec![1_i64, 5, 20, 60]);
    let delays = prop::sample::select(vec![0_i64, 0, 3, 10]);
    let last = prop::option::weighted(0.3, 1_usize..6);
    (want, windows, delays, last, any::<[bool; 3]>(), label).prop_map(|(want, minutes, delay, last, flags, label)| {
        let newest = matches!(want, Want::Distinct | Want::Last | Want::Since);
        Spec {
            want,
            minutes,
            delay,
            last: if newest { None } else { last },
            only_pos: flags[0],
            same_device: flags[1],
            label,
            current: flags[2],
        }
    })
}

#[derive(Clone, Debug)]
struct Event {
    id: u8,
    minute: i64,
    card: Option<u8>,
    amount: i64,
    euro: bool,
    device: Option<u8>,
    merchant: Option<u8>,
    pos: bool,
    lat: Option<i8>,
}

impl Event {
    fn time(&self) -> i64 {
        START + self.minute * MINUTE
    }

    fn base(&self) -> Option<f64> {
        self.euro.then_some(self.amount as f64)
    }

    fn transaction(&self) -> Transaction {
        let mut draft = Draft::new();
        draft.id(&format!("t{}", self.id));
        draft.occurred_at(Timestamp::from_micros(self.time()));
        draft.amount(self.amount);
        draft.currency(if self.euro { "EUR" } else { "USD" });
        let text = |number: Option<u8>| number.map(|number| format!("x{number}"));
        for (field, value) in [
            (TextField::CardToken, text(self.card)),
            (TextField::DeviceId, text(self.device)),
            (TextField::MerchantId, text(self.merchant)),
            (TextField::Channel, self.pos.then(|| "pos".to_owned())),
        ] {
            if let Some(value) = value {
                draft.text(field, &value);
            }
        }
        if let Some(lat) = self.lat {
            draft.latitude(f64::from(lat) / 3.0);
            draft.longitude(0.0);
        }
        draft.finish(&RateTable::identity(Currency::parse("EUR").expect("a currency"))).expect("valid")
    }
}

fn event() -> impl Strategy<Value = Event> {
    let amount = prop_oneof![0_i64..1_000, Just(9_007_199_254_740_991)];
    let devices = prop::option::weighted(0.8, 0_u8..3);
    let place = (prop::option::weighted(0.9, 0_u8..2), devices, prop::option::of(0_u8..4));
    (0_u8..40, 0_i64..90, place, amount, any::<[bool; 2]>(), prop::option::of(-80_i8..80)).prop_map(
        |(id, minute, (card, device, merchant), amount, [euro, pos], lat)| Event {
            id,
            minute,
            card,
            amount,
            euro,
            device,
            merchant,
            pos,
            lat,
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    Send(Event),
    Again(usize),
    Say { id: u8, minute: i64, fraud: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let say = (0_u8..40, 0_i64..120, any::<bool>()).prop_map(|(id, minute, fraud)| Step::Say { id, minute, fraud });
    prop_oneof![5 => event().prop_map(Step::Send), 1 => (0_usize..40).prop_map(Step::Again), 3 => say]
}

/// Everything that ever happened, in the order of arrival.
#[derive(Default)]
struct Oracle {
    events: Vec<Event>,
    labels: Vec<(u8, i64, bool)>,
    dropped: Vec<Event>,
    events_max: usize,
}

impl Oracle {
    fn known(&self, event: &Event, time: i64) -> Option<bool> {
        let told = self.labels.iter().filter(|(id, at, _)| *id == event.id && *at <= time);
        // A later label supersedes; of two at the same instant fraud stands.
        told.max_by_key(|(_, at, fraud)| (*at, *fraud)).map(|(_, _, fraud)| *fraud)
    }

    /// Inserts an event and drops the oldest of its card beyond the cap.
    fn insert(&mut self, event: &Event) {
        self.events.push(event.clone());
        let mut own: Vec<usize> = (0..self.events.len()).filter(|&at| self.events[at].card == event.card).collect();
        own.sort_by_key(|&at| (self.events[at].time(), at));
        if event.card.is_some() && own.len() > self.events_max {
            let gone = self.events.remove(own[0]);
            self.dropped.push(gone);
        }
    }

    fn window(spec: &Spec, now: &Event) -> (i64, i64) {
        let end = now.time() - spec.delay * MINUTE;
        (end - spec.minutes * MINUTE, end)
    }

    /// The events a feature is made of, oldest first.
    fn seen<'a>(&'a self, spec: &Spec, now: &'a Event) -> Vec<&'a Event> {
        let (start, end) = Self::window(spec, now);
        let own_place = self.events.iter().position(|event| event.id == now.id && event.time() == now.time());
        let mut seen: Vec<(usize, &Event)> = self
            .events
            .iter()
            .enumerate()
            .filter(|(place, event)| {
                let earlier = event.time() < now.time() || own_place.is_none_or(|own| *place < own);
                event.card == now.card
                    && event.id != now.id
                    && earlier
                    && event.time() > start
                    && event.time() <= end
                    && (!spec.only_pos || event.pos)
                    && (!spec.same_device || event.device == now.device)
                    && match spec.label {
                        None => true,
                        Some("known") => self.known(event, now.time()).is_some(),
                        Some(kind) => self.known(event, now.time()) == Some(kind == "fraud"),
                    }
            })
            .collect();
        seen.sort_by_key(|(place, event)| (event.time(), *place));
        let mut seen: Vec<&Event> = seen.into_iter().map(|(_, event)| event).collect();
        if spec.includes_current() && (!spec.only_pos || now.pos) {
            seen.push(now);
        }
        if let Some(last) = spec.last {
            // Of those that count, the newest.
            seen.drain(..seen.len().saturating_sub(last));
        }
        seen
    }

    fn feature(&self, spec: &Spec, now: &Event) -> Option<f64> {
        now.card?;
        if spec.same_device && now.device.is_none() {
            return None;
        }
        let seen = self.seen(spec, now);
        let amounts: Vec<f64> = seen.iter().filter_map(|event| event.base()).collect();
        let lats: Vec<f64> = seen.iter().filter_map(|event| event.lat.map(|lat| f64::from(lat) / 3.0)).collect();
        let some = |value: f64| (!amounts.is_empty()).then_some(value);
        let count = amounts.len() as f64;
        let exact: i128 = seen.iter().filter(|event| event.euro).map(|event| i128::from(event.amount)).sum();
        match spec.want {
            Want::Count => Some(seen.len() as f64),
            Want::Sum => Some(exact as f64),
            Want::Mean => some(exact as f64 / count),
            Want::Std => {
                // In whole numbers: doubles would round the mean of amounts near 2^53.
                let euros = || seen.iter().filter(|event| event.euro).map(|event| i128::from(event.amount));
                let squares: i128 = euros().map(|amount| amount * amount).sum();
                let spread = euros().count() as i128 * squares - exact * exact;
                some((spread as f64).sqrt() / count)
            }
            Want::Min => amounts.iter().copied().min_by(f64::total_cmp),
            Want::Max => lats.iter().copied().max_by(f64::total_cmp),
            Want::Distinct => {
                Some(seen.iter().filter_map(|event| event.merchant).collect::<BTreeSet<_>>().len() as f64)
            }
            Want::Last => lats.last().copied(),
            Want::Rate => (!seen.is_empty()).then(|| {
                let is_now = |event: &&&Event| event.id != now.id;
                let frauds = seen.iter().filter(is_now).filter(|event| self.known(event, now.time()) == Some(true));
                frauds.count() as f64 / seen.len() as f64
            }),
            Want::Since => seen.last().map(|event| (now.time() - event.time()) as f64 / 1e6),
        }
    }

    fn lost(&self, spec: &Spec, now: &Event) -> bool {
        let (start, end) = Self::window(spec, now);
        let inside = |event: &&Event| event.card == now.card && event.time() > start && event.time() <= end;
        now.card.is_some() && spec.last.is_none() && self.dropped.iter().any(|event| inside(&event))
    }
}

fn compare(specs: &[Spec], oracle: &Oracle, event: &Event, vector: &FeatureVector) -> Result<(), TestCaseError> {
    for (place, spec) in specs.iter().enumerate() {
        let expected = oracle.feature(spec, event);
        let (ours, wanted) = (vector.get(place), expected);
        let close = match (ours, wanted, spec.want) {
            (Some(ours), Some(wanted), Want::Std | Want::Mean) => (ours - wanted).abs() <= 1e-12 * wanted.abs(),
            (ours, wanted, _) => ours.map(f64::to_bits) == wanted.map(f64::to_bits),
        };
        prop_assert!(close, "{spec:?} of {event:?}: {ours:?} is not {wanted:?}");
    }
    let found = |place: &Spec| !matches!(place.want, Want::Last | Want::Since);
    if specs.iter().filter(|spec| found(spec)).any(|spec| !spec.same_device && oracle.lost(spec, event)) {
        prop_assert!(vector.capped, "dropped events were not told of for {event:?}");
    }
    if oracle.dropped.is_empty() {
        prop_assert!(!vector.capped, "nothing was dropped for {event:?}");
    }
    Ok(())
}

fn store(specs: &[Spec], events_max: usize) -> (Entities, Arc<Plan>) {
    let mut text = "name = \"t\"\nmissing = -1.0\n[[entity]]\nname = \"card\"\nkey = \"card.token\"\n".to_owned();
    for (number, spec) in specs.iter().enumerate() {
        text += &spec.toml(number);
    }
    let schema = Arc::new(Schema::parse(&text).unwrap_or_else(|faults| panic!("{faults:?}\n{text}")));
    let options = Options {
        events_per_entity_max: events_max,
        lateness_max: Span::from_days(100),
        shards: 2,
        ..Options::default()
    };
    let store = Entities::new(options, std::slice::from_ref(&schema)).expect("a store");
    let plan = store.admit(&schema).expect("a plan");
    (store, plan)
}

fn label(id: u8, minute: i64, fraud: bool) -> Label {
    Label {
        transaction_id: format!("t{id}").into(),
        kind: if fraud { LabelKind::Chargeback } else { LabelKind::FalsePositive },
        occurred_at: Timestamp::from_micros(START + minute * MINUTE),
        source: "test".into(),
    }
}

fn run(specs: &[Spec], steps: &[Step], events_max: usize) -> Result<(), TestCaseError> {
    let (store, plan) = store(specs, events_max);
    let mut oracle = Oracle { events_max, ..Oracle::default() };
    let mut sent: Vec<Event> = Vec::new();
    for step in steps {
        let event = match step {
            Step::Say { id, minute, fraud } => {
                store.label(&label(*id, *minute, *fraud));
                oracle.labels.push((*id, START + *minute * MINUTE, *fraud));
                continue;
            }
            Step::Again(at) if sent.is_empty() => {
                let _ = at;
                continue;
            }
            Step::Again(at) => sent[at % sent.len()].clone(),
            // An id is sent with one payload only: another one is refused at the door.
            Step::Send(event) => sent.iter().find(|known| known.id == event.id).unwrap_or(event).clone(),
        };
        let transaction = event.transaction();
        let before = store.stats();
        let peeked = store.peek(&transaction, &plan);
        prop_assert_eq!(store.stats(), before, "a peek changes nothing");
        let vector = store.observe(&transaction, &plan);
        prop_assert_eq!(&peeked, &vector);
        compare(specs, &oracle, &event, &vector)?;
        if sent.iter().all(|known| known.id != event.id) {
            oracle.insert(&event);
            sent.push(event);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_equals_the_oracle(
        specs in prop::collection::vec(spec(), 1..12),
        steps in prop::collection::vec(step(), 1..90),
    ) {
        run(&specs, &steps, 1_000)?;
    }

    #[test]
    fn the_state_does_not_depend_on_the_order_of_arrival(
        specs in prop::collection::vec(spec(), 1..8),
        minutes in prop::collection::btree_set(0_i64..90, 2..30),
        template in prop::collection::vec(event(), 30),
        labels in prop::collection::vec((0_u8..30, 0_i64..120, any::<bool>()), 0..40),
        seed in any::<u64>(),
    ) {
        let events: Vec<Event> = minutes.iter().zip(&template).zip(0..).map(|((minute, event), id)| Event {
            id, minute: *minute, ..event.clone()
        }).collect();
        let mut steps: Vec<Step> = events.into_iter().map(Step::Send).collect();
        steps.extend(labels.into_iter().map(|(id, minute, fraud)| Step::Say { id, minute, fraud }));
        let mut shuffled = steps.clone();
        shuffled.sort_by_key(|step| {
            let text = format!("{step:?}");
            text.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
        });
        let views: Vec<_> = [steps, shuffled].into_iter().map(|steps| {
            let (store, plan) = store(&specs, 1_000);
            for step in steps {
                match step {
                    Step::Send(event) => store.absorb(&event.transaction()),
                    Step::Say { id, minute, fraud } => { store.label(&label(id, minute, fraud)); }
                    Step::Again(_) => {}
                }
            }
            [30, 60, 95, 130].map(|minute| {
                let now = Timestamp::from_micros(START + minute * MINUTE);
                ["x0", "x1"].map(|id| store.describe("card", id, now, &plan))
            })
        }).collect();
        prop_assert_eq!(&views[0], &views[1]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_capped_store_equals_the_oracle_on_what_is_kept(
        specs in prop::collection::vec(spec(), 1..12),
        steps in prop::collection::vec(event().prop_map(Step::Send), 60..200),
    ) {
        // Ids are 0..40: made different here, so that the cap of 16 bites.
        let steps: Vec<Step> = steps.into_iter().zip(0_u8..200).map(|(step, id)| match step {
            Step::Send(event) => Step::Send(Event { id, ..event }),
            other => other,
        }).collect();
        run(&specs, &steps, 16)?;
    }
}
