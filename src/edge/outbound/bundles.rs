//! Bundles out of an object store: fetched whole, checked, and put where the watched directory finds them.
//!
//! ```text
//! look ─> list PREFIX/NAME/VERSION/FILE ─> whole and new? ─> .staging-…: each file bounded, hashed, synced ─> rename
//!   └ fails: counted, told once, tried again after pauses that double; the service goes on
//! ```
//! What lands is a candidate like any other: signature, gates, trial are for those who watch the directory. What is
//! taken out of the store stays here. Everything runs on one thread with a runtime of its own, so that neither the
//! disk nor a slow store ever holds up an answer.

mod fetch;
mod listing;
mod store;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::path::Path as Prefix;
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub use fetch::STAGING;
pub use listing::OBJECTS_MAX;
pub use store::{Credentials, url_fault};

use crate::tasks::{self, Shutdown};
use crate::telemetry::bundles::{BundleFetched, BundleNotFetched, SourceLooked};
use fetch::Fetched;
use listing::Offered;

/// The longest pause between two looks, as a multiple of the usual one.
const PAUSES_MAX: u32 = 16;
/// The most looks that one bundle sits out after failures.
const SKIPPED_MAX: u32 = 32;

/// Where bundles come from, and within which bounds.
#[derive(Clone, Debug)]
pub struct Options {
    /// `s3://bucket/prefix`, `az://container/prefix`, `gs://bucket/prefix` or `file:///directory`.
    pub url: String,
    /// What the environment says about signing in.
    pub credentials: Credentials,
    /// PEM certificates that are trusted beside those compiled in.
    pub ca_file: Option<PathBuf>,
    /// The directory where bundles land, as NAME/VERSION.
    pub landing: PathBuf,
    /// A directory whose bundles are not fetched again.
    pub beside: PathBuf,
    /// How often the store is looked at, give or take a fifth.
    pub every: Duration,
    /// How long listing, and fetching one bundle, may take.
    pub timeout: Duration,
    /// The most bytes of one bundle.
    pub bundle_len_max: u64,
    /// The most bundles that may lie in the landing place.
    pub landed_max: usize,
    /// What the scatter of pauses is drawn from.
    pub seed: u64,
}

/// Why a bundle was not fetched, or the store not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The store does not answer, or not as it should.
    #[error("tried to read the store: {0}")]
    Unreachable(String),
    /// The store refuses us.
    #[error("the store refuses us: {0}")]
    Denied(String),
    /// It took too long.
    #[error("it took longer than models.source_timeout")]
    Slow,
    /// Files are missing, or end early: somebody may still be writing them.
    #[error("it is not whole: {0}")]
    Incomplete(String),
    /// A file is not what its manifest hashed.
    #[error("{file} has the sha256 {found} and the manifest says {stated}")]
    Hash {
        /// The file.
        file: String,
        /// The hash of what came.
        found: String,
        /// What the manifest says.
        stated: String,
    },
    /// Something was written to it while it was fetched.
    #[error("it was changed while it was fetched: {0}")]
    Changed(String),
    /// It names itself in a way that is no place for a bundle.
    #[error("{0}")]
    Name(String),
    /// It is over a bound.
    #[error("{what} has {bytes} bytes, {bytes_max} are allowed")]
    TooLarge {
        /// Which part.
        what: String,
        /// Its size.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// There are more of them than there may be.
    #[error("{0}")]
    TooMany(String),
    /// Its manifest cannot be read.
    #[error("its manifest cannot be read: {0}")]
    Malformed(String),
    /// Another bundle has its name and version here.
    #[error("another bundle of this name and version lies in {0}: give the change a version of its own")]
    Taken(String),
    /// The disk does not take it.
    #[error("tried to write it: {0}")]
    Disk(String),
}

impl Fault {
    /// Returns the name used in logs and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Denied(_) => "denied",
            Self::Slow => "slow",
            Self::Incomplete(_) => "incomplete",
            Self::Hash { .. } => "hash",
            Self::Changed(_) => "changed",
            Self::Name(_) => "name",
            Self::TooLarge { .. } => "too_large",
            Self::TooMany(_) => "too_many",
            Self::Malformed(_) => "malformed",
            Self::Taken(_) => "taken",
            Self::Disk(_) => "disk",
        }
    }

    /// Tells whether trying again can help although nothing changes in the store.
    const fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::Denied(_)
            | Self::Slow
            | Self::Hash { .. }
            | Self::Changed(_)
            | Self::Incomplete(_)
            | Self::TooMany(_)
            | Self::Taken(_)
            | Self::Disk(_) => true,
            Self::Name(_) | Self::TooLarge { .. } | Self::Malformed(_) => false,
        }
    }
}

/// What came of a look at the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Bundles that landed, as NAME/VERSION.
    pub landed: Vec<String>,
    /// Bundles that did not, with the name of the fault.
    pub failed: Vec<(String, &'static str)>,
}

/// What is known of one bundle of the store.
#[derive(Debug, Default)]
struct Known {
    looks: u64,
    is_settled: bool,
    told: Option<&'static str>,
    failures: u32,
    /// Looks it still sits out.
    skips: u32,
}

/// A store of bundles, looked at again and again.
pub struct Source {
    options: Options,
    /// Opened by the first look that can: a store that cannot be opened is one that cannot be read.
    store: Option<(Arc<dyn ObjectStore>, Prefix)>,
    known: BTreeMap<String, Known>,
    told: Option<&'static str>,
    failures: u32,
    looked: u64,
}

impl Source {
    /// Makes a source; nothing is asked of it yet. What an earlier process left half fetched is removed.
    #[must_use]
    pub fn new(options: Options) -> Self {
        fetch::sweep(&options.landing);
        Self { options, store: None, known: BTreeMap::new(), told: None, failures: 0, looked: 0 }
    }

    /// Looks at the store once and fetches what is whole and new. Cancel safe: what is half fetched is removed.
    ///
    /// # Errors
    /// [`Fault`], when the store cannot be listed.
    pub async fn look(&mut self) -> Result<Looked, Fault> {
        let (store, listed) = match self.list().await {
            Ok(found) => found,
            Err(fault) => {
                self.failures = self.failures.saturating_add(1);
                let is_news = self.told.replace(fault.name()) != Some(fault.name());
                SourceLooked::Failed { reason: fault.name(), error: &fault, is_news }.emit();
                return Err(fault);
            }
        };
        self.failures = 0;
        let is_news = self.told.take().is_some();
        self.known.retain(|place, _| listed.iter().any(|offered| offered.name == *place));
        let mut looked = Looked::default();
        for offered in &listed {
            self.consider(&*store, offered, &mut looked).await;
        }
        let waiting = self.known.values().filter(|known| !known.is_settled).count();
        SourceLooked::Read { bundles: listed.len(), waiting, is_news }.emit();
        Ok(looked)
    }

    async fn list(&mut self) -> Result<(Arc<dyn ObjectStore>, Vec<Offered>), Fault> {
        let (store, prefix) = match self.store.take() {
            Some(opened) => opened,
            None => store::open(&self.options).map_err(Fault::Unreachable)?,
        };
        let listed = tokio::time::timeout(self.options.timeout, listing::list(&*store, &prefix)).await;
        self.store = Some((Arc::clone(&store), prefix));
        listed.unwrap_or(Err(Fault::Slow)).map(|listed| (store, listed))
    }

    /// Fetches one bundle unless it is here, or was tried as it is.
    async fn consider(&mut self, store: &dyn ObjectStore, offered: &Offered, looked: &mut Looked) {
        let known = self.known.entry(offered.name.clone()).or_default();
        if known.looks != offered.looks {
            *known = Known { looks: offered.looks, told: known.told, ..Known::default() };
        }
        if known.is_settled {
            return;
        }
        if known.skips > 0 {
            known.skips -= 1;
            return;
        }
        let fetched = fetch::fetch(store, offered, &self.options);
        let fetched = tokio::time::timeout(self.options.timeout, fetched).await.unwrap_or(Err(Fault::Slow));
        match fetched {
            Ok(fetched) => {
                (known.is_settled, known.told) = (true, None);
                if let Fetched::Landed { bytes } = fetched {
                    BundleFetched { bundle: &offered.name, bytes }.emit();
                    looked.landed.push(offered.name.clone());
                }
            }
            Err(fault) => {
                known.failures = known.failures.saturating_add(1);
                known.skips = (1_u32 << known.failures.min(6)).min(SKIPPED_MAX) / 2;
                known.is_settled = !fault.may_pass();
                let is_news = known.told.replace(fault.name()) != Some(fault.name());
                BundleNotFetched { bundle: &offered.name, reason: fault.name(), error: &fault, is_news }.emit();
                looked.failed.push((offered.name.clone(), fault.name()));
            }
        }
    }

    /// Returns how long to wait before the next look: longer while the store cannot be read, never quite the same.
    fn pause(&mut self) -> Duration {
        self.looked = self.looked.wrapping_add(1);
        let times = (1_u32 << self.failures.min(8)).min(PAUSES_MAX);
        let drawn = xxh3_64_with_seed(&self.looked.to_le_bytes(), self.options.seed) % 401;
        // 0.8 to 1.2 of it.
        let scatter = 0.8 + drawn as f64 / 1_000.0;
        self.options.every.saturating_mul(times).mul_f64(scatter)
    }

    /// Looks until asked to stop.
    async fn run(&mut self, shutdown: &Shutdown) {
        while !shutdown.is_asked() {
            tokio::select! {
                // The end comes first: a look that is given up leaves nothing behind.
                biased;
                () = shutdown.asked() => return,
                // Its fault has been told.
                _ = self.look() => {}
            }
            let pause = self.pause();
            let _ = tokio::time::timeout(pause, shutdown.asked()).await;
        }
    }
}

/// Starts the thread that looks until asked to stop.
///
/// # Errors
/// No thread, no runtime to be had.
pub fn start(options: Options, shutdown: Shutdown) -> io::Result<JoinHandle<()>> {
    let mut source = Source::new(options);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
    tasks::thread("fraudd-bundles", move || {
        runtime.block_on(source.run(&shutdown));
        // A name that is still being resolved is not waited for.
        runtime.shutdown_background();
    })
}

#[cfg(test)]
mod tests;
