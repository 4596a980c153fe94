//! A scorer and a fleet over a directory of small bundles, without sockets, on a clock that is moved by hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fraudd::domain::{Currency, RateTable, Span, TextField, Thresholds, Timestamp, TraceId, Transaction};
use fraudd::healing::ModelRef;
use fraudd::healing::lifecycle::Mandate;
use fraudd::healing::trial;
use fraudd::runtime::clock::{Clock, Moment};
use fraudd::runtime::decisions::{self, Ledger, Record};
use fraudd::runtime::entities::{self, Entities};
use fraudd::runtime::explainer::{self, Budget};
use fraudd::runtime::fleet::{self, Fleet, Register};
use fraudd::runtime::inference::{InferenceOptions, OutputChoice};
use fraudd::runtime::release::bundle::{self, Files};
use fraudd::runtime::release::gates::Limits;
use fraudd::runtime::release::manifest::{Role, Tolerance, Training};
use fraudd::runtime::release::pack::{self, Facts, Packing};
use fraudd::runtime::release::{golden, signature};
use fraudd::runtime::resident::{self, Resident};
use fraudd::runtime::scorer::{self, Answer, Effort, Request, Scorer};
use fraudd::runtime::slot::{Release, Slot};
use fraudd::runtime::store::Gate;
use fraudd::runtime::tap::Tap;
use fraudd::scoring::decide::policy::Policy;
use fraudd::scoring::feature::Schema;
use fraudd::scoring::rule::RuleSet;

pub(crate) use crate::bundles::repack;
pub(crate) use crate::onnx::runtime_is_here;

pub(crate) const SECRET: [u8; 32] = [3; 32];

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn small(name: &str) -> PathBuf {
    root().join("tests/golden/models").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(small(name)).expect(name)
}

pub(crate) fn onnx(name: &str) -> Bytes {
    std::fs::read(small(&format!("{name}.onnx"))).expect(name).into()
}

/// Packs one of the small models as a version of `small`.
pub(crate) fn packed(model: &str, golden_name: &str, version: &str) -> Files {
    let numbers = text("training.csv");
    let cells = numbers.lines().skip(1).flat_map(|line| line.split(',')).map(|cell| cell.parse().expect("a number"));
    pack::pack(Packing {
        model: onnx(model),
        schema: text("features.toml"),
        golden: golden::parse(&text(&format!("golden_{golden_name}.jsonl")), 4).expect("golden rows"),
        training_cells: cells.collect(),
        card: None,
        output: None,
        facts: Facts {
            name: "small".to_owned(),
            version: version.to_owned(),
            trainer: "make.py".to_owned(),
            role: Role::Candidate,
            created_at: Timestamp::from_seconds(1_700_000_000),
            thresholds: Thresholds { review: 0.3, challenge: None, decline: 0.8 },
            tolerance: Tolerance::DEFAULT,
            metrics: BTreeMap::new(),
            training: Training::default(),
        },
    })
    .unwrap_or_else(|error| panic!("{model}: {error}"))
}

/// A good bundle with another model in it, hashed as if it had been packed so.
pub(crate) fn with_model(model: Bytes, output: (&str, usize), version: &str) -> Files {
    let mut files = packed("logistic_tensor", "logistic", version);
    files.insert(bundle::MODEL.to_owned(), model);
    repack(&mut files, |manifest| manifest.output = OutputChoice { name: output.0.to_owned(), column: output.1 });
    files
}

pub(crate) fn sign(files: &mut Files) {
    let text = signature::sign(&files[bundle::MANIFEST], &signature::hex(&SECRET)).expect("signed");
    files.insert(bundle::SIGNATURE.to_owned(), text.into());
}

pub(crate) fn write(files: &Files, place: &Path) {
    std::fs::create_dir_all(place).expect("a directory");
    for (name, bytes) in files {
        std::fs::write(place.join(name), bytes).expect("written");
    }
}

/// A scorer and its fleet.
pub(crate) struct World {
    pub(crate) directory: Arc<tempfile::TempDir>,
    pub(crate) scorer: Scorer,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) clock: Clock,
    rates: RateTable,
}

/// How a world is made.
pub(crate) struct Setup {
    pub(crate) rules: &'static str,
    pub(crate) limits: Limits,
    pub(crate) trial: trial::Options,
    pub(crate) standby_sample_percent: u8,
}

impl Default for Setup {
    fn default() -> Self {
        let limits = Limits { trusted_keys: vec![signature::public_key(&SECRET)], ..Limits::default() };
        Self { rules: "", limits, trial: trial::Options::default(), standby_sample_percent: 0 }
    }
}

pub(crate) fn person() -> Mandate {
    Mandate::Person { name: "ann".to_owned() }
}

/// Writes version 1 (active) and version 2 (standby).
pub(crate) fn directory() -> Arc<tempfile::TempDir> {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(directory.path().join("state")).expect("a directory");
    let models = directory.path().join("models/small");
    write(&packed("logistic_tensor", "logistic", "1"), &models.join("1"));
    write(&packed("forest_tensor", "forest", "2"), &models.join("2"));
    Arc::new(directory)
}

pub(crate) fn world(setup: &Setup) -> World {
    open(directory(), setup)
}

/// Opens a world over a directory that may have been used before.
pub(crate) fn open(directory: Arc<tempfile::TempDir>, setup: &Setup) -> World {
    let clock = Clock::manual(Timestamp::parse("2026-03-02T10:00:00Z").expect("an instant"));
    let models = resident::Options {
        enabled: true,
        directory: directory.path().join("models"),
        active: "small/1".to_owned(),
        standby: "small/2".to_owned(),
        runtime_library: None,
        staged: None,
    };
    let register = Register::open(Some(&directory.path().join("state"))).expect("a register");
    let chosen = register.choose(&models);
    let inference = InferenceOptions::default();
    let resident = Resident::load_allowed(&chosen, &inference, &setup.limits, &|model| register.allows(model));
    let schema = Arc::new(Schema::parse(&text("features.toml")).expect("a schema"));
    let schema = resident.schema.clone().unwrap_or(schema);
    let entities = Entities::new(entities::Options::default(), &[Arc::clone(&schema)]).expect("entities");
    let entities = Arc::new(entities);
    let rules = RuleSet::parse(setup.rules, &schema.environment(true)).expect("rules");
    let rates = RateTable::identity(Currency::EUR);
    let slot = Arc::new(Slot::new(Release {
        facts: Arc::default(),
        plan: entities.admit(&schema).expect("a plan"),
        model: resident.active.as_ref().map(|loaded| Arc::clone(&loaded.model)),
        rules: Arc::new(rules),
        schema,
        lists: Arc::default(),
        policy: Arc::new(Policy::parse(include_str!("../../config/policy.toml")).expect("a policy")),
        rates: Arc::new(rates.clone()),
        rule_counters: Arc::default(),
        rolled_back: false,
        union: None,
        calibration: None,
    }));
    let tap = Arc::new(Tap::new(fleet::TAPPED_MAX));
    tap.open();
    let settings = fleet::Settings {
        trial: setup.trial.clone(),
        standby_sample_percent: setup.standby_sample_percent,
        ..fleet::Settings::default()
    };
    let options = fleet::Options {
        settings,
        models,
        inference,
        limits: setup.limits.clone(),
        executable: env!("CARGO_BIN_EXE_fraudd").into(),
    };
    let parts = fleet::Parts {
        slot: Arc::clone(&slot),
        entities: Arc::clone(&entities),
        clock: clock.clone(),
        tap: Arc::clone(&tap),
    };
    let fleet = Arc::new(Fleet::new(options, parts, register, &resident));
    let parts = scorer::Parts {
        slot,
        entities,
        ledger: Arc::new(Ledger::new(decisions::Options::default())),
        gate: Arc::new(Gate::live()),
        clock: clock.clone(),
        explanations: Budget::new(&explainer::Options::default(), Moment::now()),
        ownership: None,
        tap,
    };
    // Long deadlines: what is shown here is who answers, not how fast.
    let options = scorer::Options {
        model_deadline: Duration::from_secs(20),
        stream_model_deadline: Duration::from_secs(20),
        partition_key: vec![TextField::CustomerId],
    };
    World { directory, scorer: Scorer::new(parts, options), fleet, clock, rates }
}

impl World {
    pub(crate) fn models(&self) -> PathBuf {
        self.directory.path().join("models")
    }

    /// Adds a version of `small`.
    pub(crate) fn add(&self, files: &Files, version: &str) {
        write(files, &self.models().join("small").join(version));
    }

    pub(crate) fn model(&self, version: &str) -> ModelRef {
        self.fleet.meant_by("small", version).unwrap_or_else(|| panic!("small/{version} is not known"))
    }

    pub(crate) fn stage(&self, version: &str) -> &'static str {
        let views = self.fleet.models();
        views.iter().find(|view| view.version == version).map_or("unknown", |view| view.stage)
    }

    pub(crate) fn transaction(&self, number: u64) -> Transaction {
        let (customer, amount) = (number % 199, 100 + number * 7_919 % 40_000);
        let (hour, minute) = (number / 60 % 24, number % 60);
        let json = format!(
            r#"{{"transaction_id":"t-{number}","occurred_at":"2026-03-01T{hour:02}:{minute:02}:00Z","amount":{amount},
            "currency":"EUR","customer_id":"c-{customer}","channel":"ecommerce"}}"#
        );
        fraudd::app::parse_history(json.as_bytes(), &self.rates).expect("a transaction")
    }

    pub(crate) fn request(&self, number: u64) -> Request {
        let now = Moment::now();
        Request {
            transaction: self.transaction(number),
            trace_id: TraceId(1),
            received_at: self.clock.now(),
            started: now,
            deadline: now.after(Duration::from_secs(30)),
            explain: false,
            effort: Effort::Whole,
        }
    }

    pub(crate) async fn decide(&self, number: u64) -> Arc<Record> {
        match self.scorer.score(self.request(number)).await {
            Answer::Decided { record, .. } => record,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn wait(&self, seconds: i64) {
        self.clock.advance(Span::from_seconds(seconds));
    }
}
