//! The simulator at its door: the published process, each fraud pattern, labels, drift and disorder.
//!
//! Everything is at a fixed seed; tolerances are three standard errors or more, so another seed would do too.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use fraudd::domain::{Span, TextField, Timestamp, Transaction};
use fraudd::simulator::text::json;
use fraudd::simulator::{Detail, Details, Disorder, Drift, Event, Labels, Options, Rates, Scenario, Simulation, Truth};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

const SEED: u64 = 20_260_101;

const NO_FRAUD: Rates = Rates {
    compromised_terminals: 0.0,
    compromised_customers: 0.0,
    card_testing: 0.0,
    account_takeover: 0.0,
    geo_velocity: 0.0,
};

const DISORDER: Disorder = Disorder {
    out_of_order_share: 0.1,
    displacement_max: Span::from_seconds(60),
    late_share: 0.05,
    lateness_max: Span::from_seconds(6 * 3_600),
    duplicate_share: 0.03,
};

/// A small world in which everything happens: about 570 payments a day.
fn small() -> Options {
    Options { customers: 300, terminals: 2_000, days: 10, ..Options::default() }
}

fn simulation(options: Options) -> Simulation {
    Simulation::new(options, &ChaCha8Rng::seed_from_u64(SEED)).expect("options without fault")
}

fn transactions(options: Options) -> Vec<(Transaction, Truth)> {
    let only = |event| match event {
        Event::Transaction(transaction, truth) => Some((transaction, truth)),
        Event::Label(_) => None,
    };
    simulation(options).filter_map(only).collect()
}

fn lines(simulation: Simulation) -> String {
    let mut lines = String::new();
    for event in simulation {
        match event {
            Event::Transaction(transaction, _) => json::transaction(&transaction, &mut lines),
            Event::Label(label) => json::label(&label, &mut lines),
        }
        lines.push('\n');
    }
    lines
}

fn text(transaction: &Transaction, field: TextField) -> &str {
    transaction.text(field).expect("a field that is sent")
}

fn drift(text: &str) -> Drift {
    Drift::parse(text).expect("a drift")
}

/// Returns kilometres between two points of the globe.
fn kilometres(one: (f64, f64), other: (f64, f64)) -> f64 {
    let [lat1, lat2] = [one.0, other.0].map(f64::to_radians);
    let (dlat, dlon) = (lat2 - lat1, (other.1 - one.1).to_radians());
    let chord = (dlat / 2.0).sin().powi(2) + lat1.cos() * lat2.cos() * (dlon / 2.0).sin().powi(2);
    2.0 * 6_371.0 * chord.sqrt().asin()
}

fn close(seen: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((seen - expected).abs() <= tolerance, "{what}: {seen} is not {expected} ± {tolerance} (seed {SEED})");
}

fn mean(of: &[f64]) -> f64 {
    of.iter().sum::<f64>() / of.len() as f64
}

fn deviation(of: &[f64]) -> f64 {
    let centre = mean(of);
    mean(&of.iter().map(|number| (number - centre).powi(2)).collect::<Vec<_>>()).sqrt()
}

#[test]
fn genuine_life_is_the_published_process() {
    let options = Options { customers: 1_500, terminals: 3_000, days: 15, rates: NO_FRAUD, ..Options::handbook() };
    let all = transactions(options);
    // Two a day, less the 3.08 % whose time falls outside the day.
    close(all.len() as f64 / (1_500.0 * 15.0), 2.0 * 0.9692, 0.1, "payments per customer and day");
    let seconds: Vec<_> = all.iter().map(|(payment, _)| (payment.occurred_at().seconds() % 86_400) as f64).collect();
    close(mean(&seconds), 43_200.0, 400.0, "mean second of the day");
    // A normal with deviation 20,000, cut at 2.16 deviations either side.
    close(deviation(&seconds), 18_210.0, 300.0, "deviation of the second of the day");
    let amounts: Vec<_> = all.iter().map(|(payment, _)| payment.amount() as f64).collect();
    // The mean of U(5, 100), a little more for those below 0 that are drawn again.
    close(mean(&amounts), 5_320.0, 300.0, "mean amount in cents");
    for (payment, truth) in &all {
        assert_eq!(truth.scenario == Scenario::HighAmount, payment.amount() > 22_000);
    }
}

#[test]
fn customers_differ_and_their_deviation_is_half_their_mean() {
    let options = Options { customers: 60, terminals: 3_000, days: 120, rates: NO_FRAUD, ..Options::handbook() };
    let mut amounts: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for (payment, _) in transactions(options) {
        let customer = text(&payment, TextField::CustomerId).to_owned();
        amounts.entry(customer).or_default().push(payment.amount() as f64 / 100.0);
    }
    let regulars: Vec<_> = amounts.values().filter(|amounts| amounts.len() > 150).collect();
    assert!(regulars.iter().all(|amounts| (4.0..110.0).contains(&mean(amounts))));
    let ratios: Vec<_> = regulars.iter().map(|amounts| deviation(amounts) / mean(amounts)).collect();
    // Half, but for the 2.3 % below 0 that are drawn again.
    close(mean(&ratios), 0.475, 0.02, "deviation over mean");
    let counts: BTreeSet<_> = amounts.values().map(Vec::len).collect();
    assert!(counts.last().expect("customers") > &(5 * counts.first().expect("customers")));
}

#[test]
fn a_customer_pays_within_the_radius_or_not_at_all() {
    let options = Options { rates: NO_FRAUD, ..small() };
    let mut places: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (payment, _) in transactions(options.clone()) {
        if text(&payment, TextField::Channel) != "ecommerce" {
            let customer = text(&payment, TextField::CustomerId).to_owned();
            places.entry(customer).or_default().push(payment.location().expect("a place"));
        }
    }
    assert!(places.len() > 250);
    for places in places.values() {
        let farthest = places.iter().map(|&place| kilometres(places[0], place)).fold(0.0, f64::max);
        assert!(farthest <= 10.2, "{farthest} km apart, and the radius is 5");
    }
    assert_eq!(transactions(Options { radius: 0.0, ..options }).len(), 0);
}

/// Returns for each victim the days from its first to its last fraud.
fn fraud_days(all: &[(Transaction, Truth)], scenario: Scenario, victim: TextField) -> Vec<i64> {
    let mut days: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    for (payment, _) in all.iter().filter(|(_, truth)| truth.scenario == scenario) {
        days.entry(text(payment, victim)).or_default().insert(payment.occurred_at().seconds() / 86_400);
    }
    let length = |days: &BTreeSet<i64>| days.last().expect("a day") - days.first().expect("a day") + 1;
    days.values().map(length).collect()
}

#[test]
fn compromised_terminals_and_customers_last_as_long_as_published() {
    // Few enough victims that hardly any falls twice.
    let rates = Rates { compromised_terminals: 1.0, compromised_customers: 1.0, ..NO_FRAUD };
    let options =
        Options { customers: 1_500, terminals: 1_000, days: 60, high_amount: None, rates, ..Options::handbook() };
    let all = transactions(options);
    let terminals = fraud_days(&all, Scenario::CompromisedTerminal, TextField::MerchantTerminalId);
    let customers = fraud_days(&all, Scenario::CompromisedCustomer, TextField::CustomerId);
    assert!(terminals.len() > 45 && customers.len() > 45, "{} and {}", terminals.len(), customers.len());
    let within = |lengths: &[i64], days: Range<i64>| lengths.iter().filter(|length| days.contains(length)).count();
    assert!(within(&terminals, 1..29) * 20 >= terminals.len() * 18, "28 days: {terminals:?}");
    assert!(within(&terminals, 24..29) * 3 > terminals.len(), "28 days: {terminals:?}");
    assert!(within(&customers, 1..15) * 20 >= customers.len() * 18, "14 days: {customers:?}");
    assert!(within(&customers, 10..15) * 4 > customers.len(), "14 days: {customers:?}");
    let stolen: Vec<_> = all.iter().filter(|(_, truth)| truth.scenario == Scenario::CompromisedCustomer).collect();
    assert!(stolen.iter().all(|(payment, _)| payment.amount() % 5 == 0));
    // One customer a day, 14 days, two payments less 3 %, a third of them; the last 14 days are cut short.
    close(stolen.len() as f64, (60.0 * 14.0 - 91.0) * 1.938 / 3.0, 130.0, "stolen payments");
}

/// Simulates one pattern alone: its frauds, and everyone else's payments.
fn only(rates: Rates, scenario: Scenario) -> (Vec<Transaction>, Vec<Transaction>) {
    let (mut frauds, mut genuine) = (Vec::new(), Vec::new());
    for (payment, truth) in transactions(Options { high_amount: None, rates, ..small() }) {
        assert!(!truth.is_fraud() || truth.scenario == scenario);
        if truth.is_fraud() { frauds.push(payment) } else { genuine.push(payment) }
    }
    (frauds, genuine)
}

#[test]
fn card_testing_is_many_cards_on_one_device_at_one_merchant() {
    let (frauds, _) = only(Rates { card_testing: 2.0, ..NO_FRAUD }, Scenario::CardTesting);
    let mut bursts: BTreeMap<&str, Vec<&Transaction>> = BTreeMap::new();
    for fraud in &frauds {
        bursts.entry(text(fraud, TextField::DeviceId)).or_default().push(fraud);
    }
    assert_eq!(bursts.len(), 20);
    for burst in bursts.values() {
        let distinct = |field| burst.iter().map(|fraud| text(fraud, field)).collect::<BTreeSet<_>>().len();
        assert!((20..=60).contains(&burst.len()));
        assert!(distinct(TextField::CardToken) * 10 >= burst.len() * 7, "mostly different cards");
        assert_eq!((distinct(TextField::MerchantId), distinct(TextField::DeviceIp)), (1, 1));
        assert!(burst.iter().all(|fraud| (50..=300).contains(&fraud.amount())));
        let lasted = burst[burst.len() - 1].occurred_at().since(burst[0].occurred_at());
        assert!(lasted <= Span::from_seconds(20 * 60), "{lasted}");
    }
    let refused = frauds.iter().filter(|fraud| text(fraud, TextField::AuthorisationResult) != "approved").count();
    close(refused as f64 / frauds.len() as f64, 0.7, 0.06, "share of refused attempts");
}

#[test]
fn a_takeover_brings_a_new_device_a_far_country_and_higher_amounts() {
    let (frauds, genuine) = only(Rates { account_takeover: 6.0, ..NO_FRAUD }, Scenario::AccountTakeover);
    let known: BTreeSet<_> = genuine.iter().filter_map(|payment| payment.text(TextField::DeviceId)).collect();
    let mut amounts: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for payment in &genuine {
        amounts.entry(text(payment, TextField::CustomerId)).or_default().push(payment.amount() as f64);
    }
    let (mut ratios, mut episodes) = (Vec::new(), BTreeSet::new());
    for fraud in &frauds {
        let device = text(fraud, TextField::DeviceId);
        assert!(!known.contains(device));
        assert_ne!(text(fraud, TextField::ShippingCountry), text(fraud, TextField::BillingCountry));
        episodes.insert(device);
        let own = amounts.get(text(fraud, TextField::CustomerId)).filter(|own| own.len() > 15);
        ratios.extend(own.map(|own| fraud.amount() as f64 / mean(own)));
    }
    assert_eq!(episodes.len(), 60);
    assert!((3 * 60..=6 * 60).contains(&frauds.len()));
    close(mean(&ratios), 4.0, 0.5, "amount over the customer's mean");
}

#[test]
fn a_cloned_card_travels_faster_than_anyone() {
    let (frauds, genuine) = only(Rates { geo_velocity: 5.0, ..NO_FRAUD }, Scenario::GeoVelocity);
    assert!(frauds.len() > 60);
    for fraud in &frauds {
        let card = text(fraud, TextField::CardToken);
        let in_person = |payment: &&Transaction| {
            text(payment, TextField::CardToken) == card
                && text(payment, TextField::Channel) == "pos"
                && payment.occurred_at() < fraud.occurred_at()
        };
        let last = genuine.iter().rfind(in_person).expect("a genuine payment in person before");
        let hours = fraud.occurred_at().since(last.occurred_at()).as_seconds() / 3_600.0;
        let away = kilometres(last.location().expect("a place"), fraud.location().expect("a place"));
        assert!(hours <= 1.0 && away / hours > 2_000.0, "{away} km in {hours} h");
        assert_eq!(text(fraud, TextField::Channel), "pos");
    }
}

#[test]
fn a_genuine_day_is_the_same_with_and_without_attacks() {
    let genuine = |options| -> Vec<(Timestamp, i64, String)> {
        let all = transactions(options).into_iter().filter(|(_, truth)| truth.scenario.number() < 4);
        all.map(|(payment, _)| {
            (payment.occurred_at(), payment.amount(), text(&payment, TextField::CustomerId).to_owned())
        })
        .collect()
    };
    let rates = Rates { card_testing: 0.0, account_takeover: 0.0, geo_velocity: 0.0, ..small().rates };
    assert_eq!(genuine(small()), genuine(Options { rates, ..small() }));
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
    let options = Options { days: 3, disorder: DISORDER, ..small() };
    let one = lines(simulation(options.clone()));
    assert_eq!(one, lines(simulation(options.clone())));
    let other = Simulation::new(options, &ChaCha8Rng::seed_from_u64(SEED + 1)).expect("options without fault");
    assert_ne!(one, lines(other));
    let hash = &Sha256::digest(&one)[..4];
    // Pinned, so that a change of the stream is a decision. The last bits of exp and ln are the platform's.
    if cfg!(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64")) {
        assert_eq!(hash, [111, 14, 201, 226]);
    }
}

#[test]
fn memory_holds_the_labels_that_are_due_and_no_more() {
    let mut simulation = simulation(Options { days: 60, customers: 100, terminals: 500, ..Options::default() });
    let mut waiting: BTreeMap<u32, usize> = BTreeMap::new();
    while simulation.next().is_some() {
        waiting.insert(simulation.days_begun(), simulation.waiting());
    }
    let highest = |days: Range<u32>| waiting.range(days).map(|(_, count)| *count).max().expect("days") as f64;
    // 200 payments a day and an attack now and then, for seven days.
    assert!(highest(0..61) < 8.0 * 260.0, "{waiting:?}");
    assert!(highest(45..60) < 1.2 * highest(10..25), "what waits grows: {waiting:?}");
}

#[test]
fn labels_come_after_their_delay_and_before_transactions_of_the_same_instant() {
    let labels = Labels { share: 0.8, delay: Span::from_days(2), jitter_max: Span::from_seconds(7_200) };
    let mut known: BTreeMap<String, (Timestamp, Truth)> = BTreeMap::new();
    let (mut last, mut kinds) = ((Timestamp::MIN, 0), Vec::new());
    for event in simulation(Options { labels, ..small() }) {
        let now = match event {
            Event::Transaction(payment, truth) => {
                known.insert(payment.id().into(), (payment.occurred_at(), truth));
                (truth.arrives_at, 1)
            }
            Event::Label(label) => {
                let (occurred_at, truth) = known[label.transaction_id.as_str()];
                let waited = label.occurred_at.since(occurred_at);
                assert!((labels.delay..=Span::from_seconds(180_000)).contains(&waited), "{waited}");
                assert_eq!(truth.label, Some((label.kind, label.occurred_at)));
                assert_eq!(label.kind.is_fraud(), truth.is_fraud());
                kinds.push(label.source);
                (label.occurred_at, 0)
            }
        };
        assert!(last <= now, "{last:?} comes before {now:?}");
        last = now;
    }
    close(kinds.len() as f64 / known.len() as f64, 0.8, 0.02, "share of labels");
    let count = |source: &str| kinds.iter().filter(|known| *known == source).count() as f64;
    close(count("chargebacks") / (count("chargebacks") + count("analyst")), 0.7, 0.1, "share of chargebacks");
    assert_eq!(known.values().filter(|(_, truth)| truth.label.is_some()).count(), kinds.len());
}

#[test]
fn the_label_feed_can_stop() {
    let options = Options { days: 12, drifts: vec![drift("labels.share=0@9d")], ..small() };
    let stop = options.start.plus(Span::from_days(9));
    let at = |event| match event {
        Event::Label(label) => Some(label.occurred_at),
        Event::Transaction(..) => None,
    };
    let times: Vec<_> = simulation(options).filter_map(at).collect();
    assert!(times.len() > 900 && times.iter().all(|&time| time < stop));
}

/// Compares a drifted with an undrifted world: equal before the start; returns both from there on.
fn drifted(change: &str) -> (Vec<Transaction>, Vec<Transaction>) {
    let plain = Options { days: 8, ..small() };
    let start = plain.start.plus(drift(change).after);
    let split = |options| -> (Vec<Transaction>, Vec<Transaction>) {
        transactions(options).into_iter().map(|(payment, _)| payment).partition(|payment| payment.occurred_at() < start)
    };
    let (before, after) = split(plain.clone());
    let (drifted_before, drifted_after) = split(Options { drifts: vec![drift(change)], ..plain });
    assert!(!before.is_empty() && before == drifted_before, "{change} acts before its start");
    assert_ne!(after, drifted_after, "{change} does nothing");
    (after, drifted_after)
}

fn amounts(of: &[Transaction]) -> Vec<i64> {
    of.iter().map(Transaction::amount).collect()
}

#[test]
fn amounts_and_nulls_drift_from_their_start_and_not_before() {
    let (plain, scaled) = drifted("amount.scale=100@4d");
    assert_eq!(amounts(&plain).iter().map(|amount| amount * 100).collect::<Vec<_>>(), amounts(&scaled));
    let (plain, shifted) = drifted("amount.shift=-700@100h");
    assert_eq!(amounts(&plain).iter().map(|amount| (amount - 700).max(0)).collect::<Vec<_>>(), amounts(&shifted));
    let (_, nulled) = drifted("null.card.bin=0.3@90h");
    let missing = nulled.iter().filter(|payment| payment.text(TextField::CardBin).is_none()).count();
    close(missing as f64 / nulled.len() as f64, 0.3, 0.04, "null rate");
    let (_, nowhere) = drifted("null.location=1@90h");
    assert!(nowhere.iter().all(|payment| payment.location().is_none()));
    let (plain, learned) = drifted("fraud_amount.scale=0.1@4d");
    let less = amounts(&plain).into_iter().zip(amounts(&learned)).filter(|(before, after)| before != after);
    assert!(less.clone().count() > 10 && less.clone().all(|(before, after)| after <= before / 10 + 1));
}

#[test]
fn traffic_drifts_from_its_start_and_not_before() {
    let (plain, busy) = drifted("traffic.scale=2@4d");
    close(busy.len() as f64 / plain.len() as f64, 2.0, 0.15, "traffic");
}

#[test]
fn fraud_patterns_begin_or_multiply_at_their_start() {
    let count = |drifts: Vec<Drift>, scenario: Scenario| {
        let options = Options { days: 20, drifts, ..small() };
        let half = options.start.plus(Span::from_days(10));
        let all = transactions(options);
        let frauds = all.iter().filter(|(_, truth)| truth.scenario == scenario);
        let early = frauds.clone().filter(|(payment, _)| payment.occurred_at() < half).count();
        (early, frauds.count() - early)
    };
    let check = |change: &str, scenario: Scenario, times_min: usize| {
        let ((early, late), (drifted_early, drifted_late)) =
            (count(Vec::new(), scenario), count(vec![drift(change)], scenario));
        assert_eq!(early, drifted_early, "{change}");
        assert!(drifted_late > 0 && drifted_late >= late * times_min, "{change}: {late} and {drifted_late}");
    };
    check("fraud.scale=4@10d", Scenario::AccountTakeover, 3);
    check("fraud.scale=4@10d", Scenario::GeoVelocity, 3);
    check("card_testing.per_day=10@10d", Scenario::CardTesting, 8);
}

#[test]
fn disorder_has_the_shares_asked_for_and_loses_nothing() {
    let ordered = transactions(small());
    let all = transactions(Options { disorder: DISORDER, ..small() });
    let mut first: BTreeMap<&str, &Transaction> = BTreeMap::new();
    let (mut displaced, mut late, mut duplicates, mut last) = (0, 0, 0, Timestamp::MIN);
    for (payment, truth) in &all {
        assert!(last <= truth.arrives_at);
        last = truth.arrives_at;
        if truth.duplicate {
            duplicates += 1;
            assert_eq!(first[payment.id()].payload_hash(), payment.payload_hash());
            continue;
        }
        assert!(first.insert(payment.id(), payment).is_none());
        let waited = truth.arrives_at.since(payment.occurred_at());
        assert!((Span::ZERO..=DISORDER.lateness_max).contains(&waited), "{waited}");
        late += usize::from(waited > DISORDER.displacement_max);
        displaced += usize::from(waited > Span::ZERO && waited <= DISORDER.displacement_max);
    }
    let share = |count: usize| count as f64 / first.len() as f64;
    // One displacement in 61 is 0 s long.
    close(share(displaced), 0.1 * 60.0 / 61.0, 0.015, "out of order");
    close(share(late), 0.05, 0.01, "late");
    close(share(duplicates), 0.03, 0.008, "duplicates");
    let sorted: Vec<_> = first.into_values().cloned().collect();
    assert_eq!(sorted, ordered.into_iter().map(|(payment, _)| payment).collect::<Vec<_>>());
}

#[test]
fn each_detail_can_be_left_out_and_the_handbook_leaves_out_all() {
    let full = transactions(Options { days: 1, ..small() });
    for detail in Detail::ALL {
        let fewer = transactions(Options { days: 1, details: Details::ALL.without(detail), ..small() });
        for ((whole, _), (part, _)) in full.iter().zip(&fewer) {
            assert_eq!(part.location(), whole.location().filter(|_| detail != Detail::Location));
            for (field, path, _) in TextField::ALL {
                let sent = whole.text(field).filter(|_| Detail::of(field) != Some(detail));
                assert_eq!(part.text(field), sent, "{path} without {}", detail.name());
            }
        }
    }
    for (payment, _) in transactions(Options { days: 1, customers: 50, ..Options::handbook() }) {
        let sent: Vec<_> = TextField::ALL.into_iter().filter(|(field, _, _)| payment.text(*field).is_some()).collect();
        assert_eq!(sent.len(), 2, "customer and terminal only: {sent:?}");
        assert_eq!(payment.location(), None);
    }
}
