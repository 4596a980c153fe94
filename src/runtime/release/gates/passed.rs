//! Bundles that passed their gates: nothing else can be started (`RL-1`).
//!
//! A [`Passed`] comes out of the gates and from nowhere else: there is no other constructor. What it holds are
//! the bytes that passed.

use std::path::Path;

use super::{Limits, Report, child, quick};
use crate::healing::lifecycle::Trust;
use crate::runtime::release::bundle::{Bundle, Files};
use crate::runtime::release::signature::{self, Standing};

/// A bundle that passed its gates.
#[derive(Clone, Debug)]
pub struct Passed {
    bundle: Bundle,
    trust: Trust,
}

impl Passed {
    /// Asks a bundle that was let in before, or that the settings name, what a service asks at its start.
    ///
    /// # Errors
    /// Every gate that fails, in one line.
    pub fn at_start(bundle: Bundle, limits: &Limits) -> Result<Self, String> {
        told(&quick(&bundle, limits))?;
        Ok(Self { trust: trust(&bundle, limits), bundle })
    }

    /// Asks every gate, in a child process of the given executable, beside the files of the active bundle. The report is told either way.
    ///
    /// # Errors
    /// Every gate that fails, in one line.
    pub fn by_child(
        executable: &Path,
        files: &Files,
        active: Option<&Files>,
        limits: &Limits,
    ) -> (Report, Result<Self, String>) {
        let report = child::validate(executable, files, active, limits);
        let passed = told(&report).and_then(|()| {
            // The bytes that passed are the bytes that start.
            let bundle = Bundle::from_files(files).map_err(|error| error.to_string())?;
            Ok(Self { trust: trust(&bundle, limits), bundle })
        });
        (report, passed)
    }

    /// Returns the bundle.
    #[must_use]
    pub const fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Tells whether it is signed by a trusted key.
    #[must_use]
    pub const fn trust(&self) -> Trust {
        self.trust
    }
}

fn told(report: &Report) -> Result<(), String> {
    if report.passed() {
        return Ok(());
    }
    let failures: Vec<String> =
        report.failures().map(|check| format!("gate {:?}: {}", check.gate, check.reason)).collect();
    Err(if failures.is_empty() { "no gate gave a verdict".to_owned() } else { failures.join("; ") })
}

fn trust(bundle: &Bundle, limits: &Limits) -> Trust {
    let keys: Vec<_> = limits.trusted_keys.iter().filter_map(|key| signature::trusted_key(key).ok()).collect();
    match signature::judge(bundle, &keys) {
        Standing::Signed => Trust::Signed,
        Standing::Unsigned | Standing::Bad => Trust::Unsigned,
    }
}
