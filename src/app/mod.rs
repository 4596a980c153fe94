//! The roof: builds every part from the settings, starts the tasks, drains them in order.
//!
//! ```text
//! build: models ─> schema ─> entities ─> rules, lists, policy ─> slot ─> scorer ─> service
//! run:   listen ─> backfill, restore (unready, rules answer) ─> ready ─> asked to stop ─> drain ─> close the store
//! ```
//! An instance whose model did not load stays unready for `models.grace`, so that a rollout stops; then
//! it serves on rules, and says so.

mod calibrate;
mod dry_run;
mod event_time;
mod guards;
mod healing;
mod models;
mod process;
mod publishing;
mod replay;
mod retraining;
mod schemas;
mod server;
mod state;
mod stream;
mod vitals;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use anyhow::{Context, bail};
use tokio::sync::Semaphore;

use crate::config::Settings;
use crate::domain::{RateTable, Span, Timestamp, Transaction};
use crate::edge::history::{Mapping, Reader, Report, backfill};
use crate::edge::http::inference::Protocol;
use crate::edge::http::{self, Access, Phase, Service};
use crate::edge::kafka::publisher;
use crate::edge::wire::{Contract, DecisionWriter, Mappings};
use crate::runtime::audit;
use crate::runtime::boot::BootGuard;
use crate::runtime::clock::Moment;
use crate::runtime::entities::Entities;
use crate::runtime::executor::Executor;
use crate::runtime::explainer::Budget;
use crate::runtime::fleet::{self, Register};
use crate::runtime::host::Host;
use crate::runtime::release::gates;
use crate::runtime::reload::{Reloader, Texts};
use crate::runtime::resident::Resident;
use crate::runtime::scorer::{self, Parts, Scorer};
use crate::runtime::slot::{Release, Slot};
use crate::runtime::store::Store;
use crate::runtime::tap::Tap;
use crate::scoring::feature::Schema;
use crate::scoring::list::Lists;
use crate::tasks::{self, OnExit, Shutdown};
use crate::telemetry::events::{InsecureAccess, ReleaseLoaded, ServiceStarted};
use crate::telemetry::{RuleCounters, otlp, trace};
pub use calibrate::calibrate;
pub use dry_run::{DryRun, Raised, dry_run};
pub use event_time::{Acted, Changed, HealOptions, HealReport, Noticed, Slice, Trained, heal_replay};
use process::watch_signals;
pub use process::{Ending, Process, serve};
pub use replay::{Alarms, ReplayOptions, ReplayReport, replay};
use retraining::Outbound;
pub use retraining::REQUESTED;
pub use schemas::{inexact_kinds, retention, schemas};
use state::State;
use stream::Stream;

/// The schema that names the features when no bundle can be read.
const SCHEMA_WITHOUT_BUNDLE: &str = include_str!("../../models/schemas/card-fraud.toml");
/// Threads for work that blocks and is rare: restoring, closing, saved lists, loaded models, long bodies.
/// Records are read by the store's own readers. Each thread keeps about a mebibyte while it lives.
const BLOCKING_THREADS_MAX: usize = 16;

/// History to fill the windows with before the service is ready.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Transaction files: JSON Lines, CSV or Parquet.
    pub transactions: Vec<PathBuf>,
    /// Label files.
    pub labels: Vec<PathBuf>,
    /// What the files call their columns.
    pub mapping: Mapping,
    /// When a label without its own time became known, after its transaction.
    pub label_delay: Option<Span>,
    /// Whether the first bad row ends the start.
    pub strict: bool,
}

/// What the roof needs of the command line while it fills the windows.
pub struct Terminal {
    /// Hears how many rows were read.
    pub progress: Box<dyn Fn(u64) + Send>,
    /// Hears how far restoring is.
    pub restoring: Box<dyn Fn(&crate::runtime::store::RestoreProgress) + Send>,
    /// Hears the address once the service is ready.
    pub listening: Box<dyn FnOnce(std::net::SocketAddr)>,
}

/// Reads one transaction of the past: the contract's JSON, whatever its time, whomever it belongs to.
///
/// # Errors
/// Every fault, in one line; never a value.
pub fn parse_history(json: &[u8], rates: &RateTable) -> Result<Transaction, String> {
    let mut contract = Contract::new(Arc::new(rates.clone()));
    contract.partition_key.clear();
    contract.read(json, None, Timestamp::MAX).map(|intake| intake.transaction).map_err(|reject| reject.to_string())
}

/// The service, built and not yet running.
pub struct App {
    settings: Settings,
    service: Arc<Service>,
    schemas: Vec<Arc<Schema>>,
    reloader: Reloader,
    entities: Arc<Entities>,
    store: Option<Store>,
    stream: Option<Stream>,
    boot: Arc<BootGuard>,
    executor: Arc<OnceLock<Executor>>,
}

impl App {
    /// Builds every part. Models that fail are told and left out; everything else that is wrong is an error.
    ///
    /// # Errors
    /// Rules, lists, policy or mapping files with faults, schemas that do not go together, an address that
    /// would be open to everybody.
    pub fn build(settings: Settings) -> anyhow::Result<Self> {
        Self::build_in(settings, Process::here()?)
    }

    /// Builds every part for a process.
    ///
    /// # Errors
    /// As [`App::build`].
    pub fn build_in(mut settings: Settings, process: Process) -> anyhow::Result<Self> {
        let access = Access::choose(settings.keys.clone(), settings.listen.ip(), settings.allow_insecure);
        let access = access.map_err(|reason| anyhow::anyhow!(reason))?;
        let Process { clock, executable } = process;
        let State { ledger, store, gate } = State::open(&settings)?;
        let directory = settings.state.as_ref().map(|state| state.directory.clone());
        let (boot, register) = guards::boot(&mut settings, Register::open(directory.as_deref())?, &clock);
        let resident = models::resident(&settings, &register);
        let (schema, schemas) = schemas_of(&resident)?;
        let texts = Texts::read(&settings.files)?;
        let stream = Stream::prepare(&settings, store.as_ref())?;
        let store = if stream.is_some() { store.map(Store::with_stream) } else { store };
        let ownership = stream.as_ref().map(|stream| Arc::clone(&stream.ownership));
        let entities = Arc::new(Entities::with_partitions(settings.entities.clone(), &schemas, ownership.clone())?);
        let lists_file = store.as_ref().map(Store::lists_file);
        let mut first = release(&settings, &resident, &schema, (&entities, &texts))?;
        if let Some(file) = &lists_file {
            first.lists = Arc::new(file.load_into(Lists::clone(&first.lists))?);
        }
        let slot = Arc::new(Slot::new(first));
        guards::begin(&boot, &slot.load(), &clock);
        announce(&slot.load());
        let tap = Arc::new(Tap::new(fleet::TAPPED_MAX));
        let parts = Parts {
            slot: Arc::clone(&slot),
            entities: Arc::clone(&entities),
            ledger: Arc::clone(&ledger),
            gate,
            clock: clock.clone(),
            explanations: Budget::new(&settings.explain, Moment::now()),
            ownership,
            tap: Arc::clone(&tap),
        };
        let scorer = Scorer::new(parts, scorer_options(&settings));
        let vitals = vitals::Vitals::new(&entities, &ledger, &slot, &schemas);
        vitals.export(&settings);
        let parts = fleet::Parts { slot, entities: Arc::clone(&entities), clock: clock.clone(), tap };
        let fleet = models::fleet((&settings, executable), parts, register, &resident);
        if stream.is_some() {
            Stream::tell_inexact(&schemas, &settings.partition_key);
        }
        let outbox = stream.as_ref().map(|stream| stream.outbox(&ledger)).transpose()?;
        let protocol = || Arc::new(Protocol::new(Arc::clone(&fleet), settings.protocol.clone()));
        let executor = Arc::default();
        let service = Arc::new(Service {
            host: Arc::new(Host::here(settings.host)),
            contract: contract(&settings),
            mappings: mappings(&settings)?,
            access,
            limits: settings.limits.clone(),
            protocol: settings.protocol.enabled.then(protocol),
            orders: healing::orders(&fleet, &executor, &boot),
            fleet: Arc::clone(&fleet),
            vitals: Box::new(move || vitals.read()),
            writer: DecisionWriter::default(),
            permits: Semaphore::new(settings.limits.concurrency_max),
            life: http::service::Life::default(),
            clock,
            scorer,
            lists_file,
            outbox,
            stream: OnceLock::new(),
            healing: OnceLock::new(),
        });
        let reloader = Reloader::new(settings.files.clone(), texts);
        Ok(Self { settings, service, schemas, reloader, entities, store, stream, boot, executor })
    }

    /// Returns what the doors work with.
    #[must_use]
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Serves until asked to stop, then drains. `terminal` hears how far it is.
    ///
    /// # Errors
    /// An address that cannot be bound, an exporter that cannot be started, history that cannot be read.
    pub async fn run(self, history: History, shutdown: Shutdown, terminal: Terminal) -> anyhow::Result<()> {
        let Self { settings, service, schemas, reloader, entities, store, stream, boot, executor } = self;
        if let Some(options) = &settings.otlp {
            trace::set_sample_ratio(options.sample_ratio);
            otlp::start(options)?;
        }
        let store = store.map(|store| store.start(service.scorer.ledger(), &entities, &shutdown).map(Arc::new));
        let store = store.transpose()?;
        let spool = publishing::spool(&settings);
        let outbound = Arc::new(Outbound::start(&settings, publishing::door(spool.as_ref()))?);
        let comparing = service.fleet.start().context("tried to start the fleet's threads")?;
        let listener =
            http::listen(settings.listen).with_context(|| format!("tried to listen on {}", settings.listen))?;
        let address = listener.local_addr()?;
        ServiceStarted { address: &address }.emit();
        if matches!(service.access, Access::Insecure) {
            InsecureAccess { address: &address }.emit();
        }
        let server = server::serve(listener, &service, &settings, &shutdown);
        let _guards = guards::watch(&service, Arc::clone(&boot), &settings, &shutdown);
        let site = healing::Site {
            settings: &settings,
            service: &service,
            outbound: &outbound,
            boot: &boot,
            executor: &executor,
        };
        let healing = healing::Running::start(&site, &shutdown)?;
        let _reload = watch_files(reloader, &service, settings.reload_every.to_std(), &shutdown);
        let publishing = publishing::start(&settings, healing.as_ref().map(healing::Running::audit), spool)?;
        let fetching = models::source(&settings, &service.clock, &shutdown)?;
        let reading = stream.map(|stream| stream.start(&settings, (&service, &schemas), &shutdown));
        let (mut reading, mut filled) = match reading.transpose() {
            Ok(reading) => (reading, Ok(())),
            Err(error) => (None, Err(error)),
        };
        // History first: it is older than what the store knows.
        if filled.is_ok() {
            filled = fill(&service, schemas.clone(), (settings.rates.clone(), history), terminal.progress).await;
        }
        if let (Ok(()), Some(store)) = (&filled, &store) {
            filled = state::restore(Arc::clone(store), &service, &shutdown, terminal.restoring).await;
        }
        if filled.is_err() {
            shutdown.ask();
        } else if !shutdown.is_asked() {
            if let Some(reading) = &reading {
                reading.ready(&shutdown, |reason| service.life.tell(reason)).await;
            }
            become_ready(&service, &settings, &shutdown);
            if let Some(reading) = &mut reading {
                reading.watch(&service, &shutdown);
            }
            (terminal.listening)(address);
        }
        server.await?;
        if let Some(reading) = reading {
            reading.drain().await;
        }
        tokio::task::spawn_blocking(move || {
            end(healing, (publishing, fetching), &outbound);
            drop(comparing);
        })
        .await?;
        state::close(store).await?;
        filled
    }
}

/// Ends what works beside the doors: who acts, then who tells of it, then who fetches and learns. A run that learns from
/// the store ends before the store does. Blocks.
fn end(
    healing: Option<healing::Running>,
    (publishing, fetching): (Option<publisher::Running>, Option<JoinHandle<()>>),
    outbound: &Outbound,
) {
    if let Some(healing) = healing {
        healing.close();
    }
    if let Some(publishing) = publishing {
        publishing.close();
    }
    if let Some(fetching) = fetching {
        // Its panic was logged by the hook.
        let _ = fetching.join();
    }
    outbound.close();
}

/// Builds the release that the settings name, without a service around it.
///
/// # Errors
/// A model that does not load, files with faults.
pub fn release_of(mut settings: Settings) -> anyhow::Result<Arc<Release>> {
    settings.models.standby.clear();
    let resident = Resident::load(&settings.models, &settings.inference, &gates::Limits::default());
    let Some(active) = &resident.active else {
        bail!(
            "tried to load models.active = {}, and it did not load: `fraudd model validate` says why",
            settings.models.active
        )
    };
    let schema = Arc::clone(&active.schema);
    let entities = Entities::new(settings.entities.clone(), std::slice::from_ref(&schema))?;
    let texts = Texts::read(&settings.files)?;
    Ok(Slot::new(release(&settings, &resident, &schema, (&entities, &texts))?).load())
}

/// Returns the schema that answers, and all that entities are watched for.
fn schemas_of(resident: &Resident) -> anyhow::Result<(Arc<Schema>, Vec<Arc<Schema>>)> {
    let schema = match &resident.schema {
        Some(schema) => Arc::clone(schema),
        None => Arc::new(schema_without_bundle()?),
    };
    let mut schemas = vec![Arc::clone(&schema)];
    schemas.extend(resident.standby.iter().map(|standby| Arc::clone(&standby.schema)));
    Ok((schema, schemas))
}

fn schema_without_bundle() -> anyhow::Result<Schema> {
    Schema::parse(SCHEMA_WITHOUT_BUNDLE).map_err(|faults| anyhow::anyhow!("the compiled-in schema: {faults:?}"))
}

fn release(
    settings: &Settings,
    resident: &Resident,
    schema: &Arc<Schema>,
    (entities, texts): (&Entities, &Texts),
) -> anyhow::Result<Release> {
    let checked = texts.check(schema)?;
    Ok(Release {
        facts: Arc::default(),
        schema: Arc::clone(schema),
        plan: entities.admit(schema)?,
        model: resident.active.as_ref().map(|loaded| Arc::clone(&loaded.model)),
        rules: checked.rules,
        lists: Arc::new(checked.lists),
        policy: checked.policy,
        rates: Arc::new(settings.rates.clone()),
        rule_counters: Arc::new(RuleCounters::default()),
        rolled_back: false,
        union: None,
        calibration: None,
    })
}

fn announce(release: &Release) {
    let facts = &release.facts;
    ReleaseLoaded { model: &facts.model_name, version: &facts.model_version, role: &facts.model_role }.emit();
}

fn scorer_options(settings: &Settings) -> scorer::Options {
    let of_stream = settings.kafka.as_ref().map_or(settings.model_deadline, |kafka| kafka.model_deadline);
    scorer::Options {
        model_deadline: settings.model_deadline.to_std(),
        stream_model_deadline: of_stream.to_std(),
        partition_key: settings.partition_key.clone(),
    }
}

fn contract(settings: &Settings) -> Contract {
    Contract {
        unknown_fields: settings.unknown_fields,
        partition_key: settings.partition_key.clone(),
        ahead_max: settings.ahead_max,
        rates: Arc::new(settings.rates.clone()),
    }
}

fn mappings(settings: &Settings) -> anyhow::Result<Mappings> {
    let Some(path) = &settings.mapping else { return Ok(Mappings::default()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("tried to read {}", path.display()))?;
    Mappings::parse(&text).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(|fault| format!("{}: {fault}", path.display())).collect();
        anyhow::anyhow!(lines.join("\n"))
    })
}

fn watch_files(
    reloader: Reloader,
    service: &Arc<Service>,
    every: std::time::Duration,
    shutdown: &Shutdown,
) -> tokio::task::JoinHandle<()> {
    let reloader = Arc::new(parking_lot::Mutex::new(reloader));
    let (service, stop) = (Arc::clone(service), shutdown.clone());
    tasks::spawn("reload", OnExit::Restart { restarts_max: 10 }, shutdown.clone(), move || {
        let (reloader, service, stop) = (Arc::clone(&reloader), Arc::clone(&service), stop.clone());
        async move {
            while !stop.is_asked() {
                let (reloader, slot) = (Arc::clone(&reloader), Arc::clone(service.scorer.slot()));
                // Reading and compiling is heavy: off the async threads. A panic restarts the task.
                let looked = tokio::task::spawn_blocking(move || reloader.lock().look(&slot)).await;
                let told = looked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
                if let (Some(told), Some(healer)) = (told, service.healing.get()) {
                    healer.audit().note(audit::Kind::Config, &told);
                }
                let _ = tokio::time::timeout(every, stop.asked()).await;
            }
        }
    })
}

/// Fills the windows from history, off the async threads, while the service is up and unready.
async fn fill(
    service: &Arc<Service>,
    schemas: Vec<Arc<Schema>>,
    (rates, history): (RateTable, History),
    progress: Box<dyn Fn(u64) + Send>,
) -> anyhow::Result<()> {
    if history.transactions.is_empty() {
        return Ok(());
    }
    service.life.enter(Phase::Starting, "filling entity state from history");
    let service = Arc::clone(service);
    let report = tokio::task::spawn_blocking(move || {
        let History { transactions, labels, mapping, label_delay, strict } = history;
        let reader = Reader { mapping, rates, parse: &parse_history, label_delay, strict };
        let store = (service.scorer.entities(), schemas.as_slice());
        backfill(store, &reader, (&transactions, &labels), &*progress)
    });
    tell(&report.await??);
    Ok(())
}

fn tell(report: &Report) {
    let Report { transactions, labels, labels_applied, warmth } = report;
    tracing::info!(
        transactions = transactions.rows,
        refused = transactions.bad_rows,
        labels = labels.rows,
        labels_applied,
        "entity state filled from history"
    );
    for row in transactions.told.iter().chain(&labels.told) {
        tracing::warn!(file = %row.file.display(), row = row.line, reason = row.message, "row of history refused");
    }
    for schema in warmth {
        tracing::info!(schema = schema.schema, warmth = ?schema.warmth, "feature windows");
    }
}

/// Enters readiness: at once with a model or when none is wanted, after the grace when it is missing.
fn become_ready(service: &Arc<Service>, settings: &Settings, shutdown: &Shutdown) {
    let grace = settings.model_grace.to_std();
    if service.scorer.release().model.is_some() {
        return service.life.enter(Phase::Ready, "serving");
    }
    if !settings.models.enabled || grace.is_zero() {
        return service.life.enter(Phase::Ready, "serving on rules, as configured");
    }
    service.life.enter(Phase::Unready, "the model did not load: see the log");
    let (service, stop) = (Arc::clone(service), shutdown.clone());
    tasks::spawn("model-grace", OnExit::Finish, shutdown.clone(), move || {
        let (service, stop) = (Arc::clone(&service), stop.clone());
        async move {
            if tokio::time::timeout(grace, stop.asked()).await.is_err() {
                service.life.enter(Phase::Ready, "serving on rules, the model did not load");
                tracing::error!("serving without a model: rules and stand-in policy answer until one is loaded");
            }
        }
    });
}
