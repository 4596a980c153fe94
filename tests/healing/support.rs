//! The real service over a directory of small bundles, with a clock that is moved by hand and faults on purpose.
//!
//! Traffic is drawn from the rows that the models were trained on, so that a healthy model is in control of it; each
//! story then changes one thing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fraudd::app::{App, History, Process, Terminal};
use fraudd::config::Settings;
use fraudd::domain::{Label, LabelKind, RateTable, Span, Thresholds, Timestamp, TraceId};
use fraudd::edge::http::Service;
use fraudd::healing::ModelRef;
use fraudd::healing::drift::Standing;
use fraudd::healing::lifecycle::{Mandate, Order};
use fraudd::healing::trial;
use fraudd::runtime::clock::{Clock, Moment};
use fraudd::runtime::decisions::Record;
use fraudd::runtime::healer::HealingView;
use fraudd::runtime::release::bundle::{self, Files};
use fraudd::runtime::release::manifest::{Role, Tolerance, Training};
use fraudd::runtime::release::pack::{self, Facts, Packing};
use fraudd::runtime::release::{golden, signature};
use fraudd::runtime::scorer::{Answer, Effort, Request};
use fraudd::tasks::faults::Faults;
use fraudd::tasks::{self, Shutdown};
use futures_util::future::join_all;

use crate::bundles::miscalibrate;

pub(crate) use crate::onnx::runtime_is_here;

const SECRET: [u8; 32] = [3; 32];
/// How long a story waits for what must come.
const PATIENCE: Duration = Duration::from_mins(4);
/// How long an answer may take: far more than any model is waited for.
const DEADLINE: Duration = Duration::from_secs(10);
/// Transactions at once.
const CLIENTS: usize = 25;
/// How far the clock moves with them.
const PACE: Span = Span::from_micros(50_000);

/// Every input comes out of the transaction, so that traffic can be like training.
pub(crate) const SCHEMA: &str = r#"
name = "heal"
missing = 0.0
[attributes]
hour = "int"
weekend = "int"
night = "int"
[[feature]]
name = "amount"
description = "The amount in euro."
field = "base_amount"
divide_by = 100
[[feature]]
name = "hour"
description = "The hour, by the sender's word."
field = "attributes.hour"
[[feature]]
name = "is_weekend"
description = "Saturday or Sunday, by the sender's word."
field = "attributes.weekend"
[[feature]]
name = "is_night"
description = "Night, by the sender's word."
field = "attributes.night"
"#;

/// The shipped rules read other features.
const RULES: &str = r#"
[[rule]]
id = "large-amount"
version = 1
when = "tx.amount > 100000000"
weight = 100
code = "LARGE_AMOUNT"
description = "A large amount."
"#;

/// The same but for one input that needs a week of the customer's past.
pub(crate) fn windowed() -> String {
    let entity = "[[entity]]\nname = \"customer\"\nkey = \"customer_id\"\n[[feature]]\nname = \"amount\"";
    SCHEMA
        .replacen("[[feature]]\nname = \"amount\"", entity, 1)
        .replace("field = \"attributes.weekend\"", "entity = \"customer\"\naggregate = \"count\"\nwindow = \"7d\"")
}

fn small(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(small(name)).expect(name)
}

/// The rows of training: amount, hour, weekend, night.
fn rows() -> Vec<[f64; 4]> {
    let numbers = text("training.csv");
    let row = |line: &str| {
        let cells: Vec<f64> = line.split(',').map(|cell| cell.parse().expect("a number")).collect();
        <[f64; 4]>::try_from(cells).expect("four cells")
    };
    numbers.lines().skip(1).map(row).collect()
}

/// A bundle to be packed.
pub(crate) struct Recipe {
    /// The model's file, and the golden rows that belong to it.
    pub(crate) model: [&'static str; 2],
    pub(crate) schema: String,
    /// What the amounts of its training are multiplied by: 1 is as the traffic has them.
    pub(crate) amounts: f64,
    pub(crate) thresholds: Thresholds,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            model: ["logistic_tensor", "logistic"],
            schema: SCHEMA.to_owned(),
            amounts: 1.0,
            thresholds: Thresholds { review: 0.3, challenge: None, decline: 0.8 },
        }
    }
}

impl Recipe {
    /// The other kind of model.
    pub(crate) fn forest() -> Self {
        Self { model: ["forest_tensor", "forest"], ..Self::default() }
    }

    /// Packs it as a version.
    pub(crate) fn pack(&self, version: &str) -> Files {
        let [model, golden_name] = self.model;
        let cells = rows().into_iter().flat_map(|[amount, rest @ ..]| {
            let [hour, weekend, night] = rest;
            [amount * self.amounts, hour, weekend, night]
        });
        pack::pack(Packing {
            model: std::fs::read(small(&format!("{model}.onnx"))).expect(model).into(),
            schema: self.schema.clone(),
            golden: golden::parse(&text(&format!("golden_{golden_name}.jsonl")), 4).expect("golden rows"),
            training_cells: cells.collect(),
            card: None,
            output: None,
            facts: Facts {
                name: "heal".to_owned(),
                version: version.to_owned(),
                trainer: "make.py".to_owned(),
                role: Role::Candidate,
                created_at: Timestamp::from_seconds(1_700_000_000),
                thresholds: self.thresholds,
                tolerance: Tolerance::DEFAULT,
                metrics: BTreeMap::new(),
                training: Training::default(),
            },
        })
        .unwrap_or_else(|error| panic!("{model}: {error}"))
    }
}

/// Packs a bundle that no gate of calibration lets in.
pub(crate) fn badly_calibrated(version: &str) -> Files {
    let mut files = Recipe::default().pack(version);
    miscalibrate(&mut files);
    files
}

/// Signs a bundle with the key that the service trusts.
pub(crate) fn sign(files: &mut Files) {
    let text = signature::sign(&files[bundle::MANIFEST], &signature::hex(&SECRET)).expect("signed");
    files.insert(bundle::SIGNATURE.to_owned(), text.into());
}

/// Writes a bundle, its manifest last: with it the bundle is there.
fn write(files: &Files, place: &Path) {
    std::fs::create_dir_all(place).expect("a directory");
    for (name, bytes) in files.iter().filter(|(name, _)| *name != bundle::MANIFEST) {
        std::fs::write(place.join(name), bytes).expect("written");
    }
    std::fs::write(place.join(bundle::MANIFEST), &files[bundle::MANIFEST]).expect("written");
}

/// What lies on disk.
pub(crate) fn directory(bundles: &[(&str, Files)]) -> Arc<tempfile::TempDir> {
    let directory = tempfile::tempdir().expect("a directory");
    for (version, files) in bundles {
        write(files, &directory.path().join("models/heal").join(version));
    }
    std::fs::write(directory.path().join("rules.toml"), RULES).expect("written");
    Arc::new(directory)
}

/// The usual two: version 1 answers, version 2 stands by.
pub(crate) fn usual() -> Arc<tempfile::TempDir> {
    directory(&[("1", Recipe::default().pack("1")), ("2", Recipe::forest().pack("2"))])
}

/// What is less than usual about the traffic.
#[derive(Clone, Copy, Default)]
pub(crate) struct Traffic {
    /// What amounts are multiplied by, less 1.
    pub(crate) more: f64,
    /// Whether the hour is lost on the way.
    pub(crate) loses_hour: bool,
}

/// The service as it should be for a story, from its settings on.
pub(crate) fn settings(directory: &Path) -> Settings {
    let path = |name: &str| directory.join(name).display().to_string();
    let environment = [
        ("FRAUDD__SERVER__LISTEN", "127.0.0.1:0".to_owned()),
        ("FRAUDD__STATE__DIRECTORY", path("state")),
        ("FRAUDD__FILES__RULES", path("rules.toml")),
        ("FRAUDD__MODELS__DIRECTORY", path("models")),
        ("FRAUDD__MODELS__ACTIVE", "heal/1".to_owned()),
        ("FRAUDD__MODELS__STANDBY", "heal/2".to_owned()),
        // The machine that tests run on may be as busy as it likes: it is not part of the story.
        ("FRAUDD__BREAKER__HOST_PRESSURE_MAX", "1".to_owned()),
        ("FRAUDD__BREAKER__HOST_THROTTLED_MAX", "1".to_owned()),
        ("FRAUDD__BREAKER__HOST_STOLEN_MAX", "1".to_owned()),
    ];
    let environment = environment.map(|(key, value)| (key.to_owned(), value)).to_vec();
    let (mut settings, _) = Settings::load(&[], environment).unwrap_or_else(|faults| panic!("{faults:?}"));
    // Who answers is shown here, not how fast a busy machine is.
    settings.model_deadline = Span::from_seconds(2);
    settings.inference.breaker.slow_after_us = 500_000;
    settings.drift.uncalibrated = Standing::Acting;
    settings.fleet.trusted_keys = vec![signature::public_key(&SECRET)];
    settings.fleet.standby_sample_percent = 50;
    settings.fleet.watch_every = Duration::from_millis(100);
    settings.fleet.trial = trial::Options {
        steps: vec![10, 50],
        shadow_votes_min: 100,
        canary_votes_min: 100,
        shadow_dwell_min: Span::from_seconds(5),
        canary_dwell_min: Span::from_seconds(5),
        errors_max: 0.1,
        new_alerts_max: 0.1,
        // The ratio of two times is not what is tested here.
        latency_ratio_max: 1e9,
        ..trial::Options::default()
    };
    let table = &mut settings.healing.as_mut().expect("healing is on").healer.table;
    table.promotion_percents = vec![10, 50, 100];
    // Golden rows run in the machine's time, the story's clock is faster.
    table.times.golden_age_max = Span::from_seconds(600);
    table.times.hold_off = Span::from_seconds(5);
    settings
}

/// The running service.
pub(crate) struct World {
    pub(crate) directory: Arc<tempfile::TempDir>,
    pub(crate) service: Arc<Service>,
    pub(crate) clock: Clock,
    pub(crate) faults: Faults,
    shutdown: Shutdown,
    thread: Option<std::thread::JoinHandle<()>>,
    calls: AtomicU64,
    rows: Vec<[f64; 4]>,
}

/// Starts the service and waits until it is ready.
pub(crate) async fn open(directory: Arc<tempfile::TempDir>, change: impl FnOnce(&mut Settings)) -> World {
    let start = Timestamp::parse("2026-03-02T10:00:00Z").expect("an instant");
    open_at(directory, (start, 0), change).await
}

/// The same at an instant, after so many calls.
pub(crate) async fn open_at(
    directory: Arc<tempfile::TempDir>,
    (start, calls): (Timestamp, u64),
    change: impl FnOnce(&mut Settings),
) -> World {
    let clock = Clock::manual(start);
    let faults = Faults::possible();
    let mut settings = settings(directory.path());
    settings.inference.faults = faults.clone();
    change(&mut settings);
    let process = Process { clock: clock.clone(), executable: env!("CARGO_BIN_EXE_fraudd").into() };
    let app = App::build_in(settings, process).expect("built");
    let (service, shutdown) = (Arc::clone(app.service()), Shutdown::default());
    let is_ready = Arc::new(AtomicBool::new(false));
    let ready = Arc::clone(&is_ready);
    let stop = shutdown.clone();
    let thread = tasks::thread("service", move || {
        let terminal = Terminal {
            progress: Box::new(|_| {}),
            restoring: Box::new(|_| {}),
            listening: Box::new(move |_| ready.store(true, Ordering::Release)),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let ran = runtime.expect("a runtime").block_on(app.run(History::default(), stop, terminal));
        ran.expect("it ends well");
    });
    let until = Moment::now().after(PATIENCE);
    while !is_ready.load(Ordering::Acquire) {
        assert!(!until.has_passed() && !shutdown.is_asked(), "the service does not get ready");
        tokio::task::yield_now().await;
    }
    let thread = Some(thread.expect("a thread"));
    World { directory, service, clock, faults, shutdown, thread, calls: AtomicU64::new(calls), rows: rows() }
}

impl World {
    pub(crate) fn view(&self) -> Arc<HealingView> {
        self.service.healing.get().expect("healing runs").view()
    }

    pub(crate) fn model(&self, version: &str) -> ModelRef {
        self.known(version).unwrap_or_else(|| panic!("heal/{version} is not known"))
    }

    /// How many transactions were asked about.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn known(&self, version: &str) -> Option<ModelRef> {
        self.service.fleet.meant_by("heal", version)
    }

    pub(crate) fn stage(&self, version: &str) -> &'static str {
        let views = self.service.fleet.models();
        views.iter().find(|view| view.version == version).map_or("unknown", |view| view.stage)
    }

    pub(crate) fn active(&self) -> String {
        self.service.fleet.facts().active.map(|active| active.model.version).unwrap_or_default()
    }

    /// A person promotes a version that waits in the directory.
    pub(crate) async fn promote(&self, version: &str) {
        self.until(Traffic::default(), "it is found", |world| world.known(version).is_some()).await;
        self.until(Traffic::default(), "it is validated", |world| world.stage(version) == "validated").await;
        let (service, model) = (Arc::clone(&self.service), self.model(version));
        let mandate = Mandate::Person { name: "ann".to_owned() };
        let done =
            tokio::task::spawn_blocking(move || (service.orders)(&Order::Promote { model }, &mandate, "for the story"));
        done.await.expect("no panic").expect("promoted");
        assert_eq!(self.active(), version);
    }

    /// Adds a bundle to the directory.
    pub(crate) fn add(&self, files: &Files, version: &str) {
        write(files, &self.directory.path().join("models/heal").join(version));
    }

    fn request(&self, traffic: Traffic) -> Request {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let place = usize::try_from(mixed).expect("fits") % self.rows.len();
        let [amount, hour, weekend, night] = self.rows[place];
        let now = self.clock.now();
        let cents = (amount * (1.0 + traffic.more) * 100.0).round().max(1.0);
        let hour = if traffic.loses_hour { String::new() } else { format!("\"hour\":{hour},") };
        let (customer, merchant) = (number % 997, number % 131);
        let json = format!(
            r#"{{"transaction_id":"t-{number}","occurred_at":"{now}","amount":{cents},"currency":"EUR",
            "customer_id":"c-{customer}","merchant":{{"id":"m-{merchant}"}},"channel":"ecommerce",
            "attributes":{{{hour}"weekend":{weekend},"night":{night}}}}}"#
        );
        let rates = RateTable::identity(fraudd::domain::Currency::EUR);
        let started = Moment::now();
        Request {
            transaction: fraudd::app::parse_history(json.as_bytes(), &rates).expect("a transaction"),
            trace_id: TraceId(7),
            received_at: now,
            started,
            deadline: started.after(DEADLINE),
            explain: false,
            effort: Effort::Whole,
        }
    }

    /// Decides a round of transactions at once; none fails, none is late.
    pub(crate) async fn round(&self, traffic: Traffic) -> Vec<Arc<Record>> {
        self.clock.advance(PACE);
        let asked = (0..CLIENTS).map(|_| async {
            let request = self.request(traffic);
            let deadline = request.deadline;
            let answer = self.service.scorer.score(request).await;
            assert!(!deadline.has_passed(), "an answer after its deadline");
            match answer {
                Answer::Decided { record, .. } => record,
                other => panic!("not decided: {other:?}"),
            }
        });
        join_all(asked).await
    }

    /// Lets traffic flow until something is so; returns what was decided meanwhile.
    pub(crate) async fn until(
        &self,
        traffic: Traffic,
        what: &str,
        is_over: impl Fn(&Self) -> bool,
    ) -> Vec<Arc<Record>> {
        let until = Moment::now().after(PATIENCE);
        let mut decided = Vec::new();
        while !is_over(self) {
            assert!(!until.has_passed(), "{what}: {}", self.told());
            decided.extend(self.round(traffic).await);
            tokio::task::yield_now().await;
        }
        decided
    }

    /// Lets that much time of the story pass under traffic.
    pub(crate) async fn pass(&self, traffic: Traffic, seconds: i64) -> Vec<Arc<Record>> {
        let end = self.clock.now().plus(Span::from_seconds(seconds));
        self.until(traffic, "time passes", |world| world.clock.now() >= end).await
    }

    /// Labels decisions.
    pub(crate) async fn label(&self, decided: &[Arc<Record>], is_fraud: impl Fn(&Record) -> bool) {
        let label = |record: &Arc<Record>| Label {
            transaction_id: record.transaction.id().into(),
            kind: if is_fraud(record) { LabelKind::Fraud } else { LabelKind::Legitimate },
            occurred_at: self.clock.now(),
            source: "analyst".into(),
        };
        let labels: Vec<Label> = decided.iter().map(label).collect();
        self.service.scorer.label(&labels).await.expect("recorded");
    }

    /// Tells how healing stands, for a failed assertion.
    pub(crate) fn told(&self) -> String {
        let view = self.view();
        serde_json::to_string_pretty(&*view).expect("JSON")
    }

    /// Stops the service as an orchestrator does.
    pub(crate) fn close(mut self) -> Arc<tempfile::TempDir> {
        self.shutdown.ask();
        self.thread.take().expect("it runs").join().expect("it ends well");
        Arc::clone(&self.directory)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A story that failed in the midst of a fault: what hangs goes on, and the service ends.
        for model in ["heal/1", "heal/2", "heal/3"] {
            self.faults.end(model);
        }
        self.shutdown.ask();
        if let Some(thread) = self.thread.take() {
            // The story's own panic is the one to be told.
            let _ = thread.join();
        }
    }
}
