//! The watch over the model directories: a new bundle is validated once, by itself; a refused one is remembered by its hash.
//!
//! A bundle is one as soon as its manifest is there; while its other files do not agree with it, it is looked at
//! again whenever they change. Nothing that is found here answers anybody: it becomes validated and waits.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use xxhash_rust::xxh3::xxh3_64;

use super::repository::Place;
use super::{Error, Fleet, Step};
use crate::domain::Span;
use crate::healing::lifecycle::{Mandate, Order};
use crate::healing::{ModelRef, Stage};
use crate::runtime::release::bundle;
use crate::telemetry::fleet::{BundleJudged, GoldenFailed};

/// A manifest longer than this is none.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// What the register knows of files in a directory.
enum Known {
    /// There is a verdict on them.
    Settled,
    /// They have a verdict to get.
    Waiting,
    /// They were never judged, or are not whole.
    No,
}

impl Fleet {
    /// Looks at the directories once; validates what is new. Takes seconds for each new bundle. Returns how many were judged.
    pub fn look(&self) -> usize {
        let mut judged = 0;
        for place in self.places() {
            let path = self.options.models.locate(&format!("{}/{}", place.0, place.1));
            let looks = looks(&path);
            let is_seen = self.inner.lock().seen.get(&place) == Some(&looks);
            let is_settled = match self.known(&path) {
                Known::Settled => true,
                // Released from a ban: the same files have their gates to pass again.
                Known::Waiting => false,
                Known::No => is_seen,
            };
            if is_settled {
                self.inner.lock().seen.insert(place, looks);
                continue;
            }
            // Somebody validates another one just now: the next look will find this one.
            let Ok(_turn) = self.take_turn(&place) else { return judged };
            let verdict = self.validate(&place).map(drop);
            self.judged(&place, &verdict);
            self.inner.lock().seen.insert(place, looks);
            judged += 1;
        }
        judged
    }

    /// Tells what the register knows of what lies there.
    fn known(&self, path: &Path) -> Known {
        let manifest = path.join(bundle::MANIFEST);
        if fs::metadata(&manifest).map_or(0, |facts| facts.len()) > MANIFEST_BYTES_MAX {
            return Known::No;
        }
        let Ok(bytes) = fs::read(manifest) else { return Known::No };
        match self.inner.lock().lives.get(&bundle::sha256(&bytes)) {
            Some(life) if life.stage == Stage::Candidate && life.refusal.is_none() => Known::Waiting,
            Some(_) => Known::Settled,
            None => Known::No,
        }
    }

    fn judged(&self, place: &Place, verdict: &Result<(), String>) {
        let mut inner = self.inner.lock();
        let is_known = inner.lives.all().any(|life| (&life.model.name, &life.model.version) == (&place.0, &place.1));
        if let (Err(reason), false) = (verdict, is_known) {
            // Its files do not agree with their manifest, or were not read: it has no hash to be known by.
            let model = ModelRef { name: place.0.clone(), version: place.1.clone(), sha256: String::new() };
            let (at, by, reason) = (self.parts.clock.now(), "gates".to_owned(), reason.clone());
            inner.tell(Step { at, model, what: "refused", from: None, percent: 0, by, reason });
        }
        match verdict {
            Ok(()) => drop(inner.refusals.remove(place)),
            Err(reason) => drop(inner.refusals.insert(place.clone(), reason.clone())),
        }
        drop(inner);
        BundleJudged { name: &place.0, version: &place.1, refusal: verdict.as_ref().err().map(String::as_str) }.emit();
    }

    /// Does what must be done now and then: lets models go that nobody holds, brings back a standby when there is none, and runs golden rows.
    pub fn tend(&self) {
        let gone: Vec<_> = {
            let mut inner = self.inner.lock();
            let (gone, held) = inner.leaving.drain(..).partition(|model| std::sync::Arc::strong_count(model) == 1);
            inner.leaving = held;
            gone
        };
        // Joins their threads: outside the lock, and nobody waits for it.
        drop(gone);
        self.resume();
        self.recall();
        self.keep_forces();
        self.check_places();
    }

    /// Makes what is in force agree with the register: after a restart a trial is loaded again, and a canary that new
    /// rules have ended is withdrawn.
    fn resume(&self) {
        let Some(ordering) = self.ordering.try_lock() else { return };
        let on_trial = {
            let inner = self.inner.lock();
            let life = inner.lives.on_trial().cloned();
            life.map(|life| (inner.loaded_as(&life.model).is_some(), life))
        };
        let Some((is_loaded, life)) = on_trial else { return };
        let answers = self.parts.slot.in_force().canary.is_some();
        let is_as_it_should = is_loaded && (life.stage != Stage::Canary || answers);
        if is_as_it_should || (!is_loaded && self.put_in_place().is_ok()) {
            return;
        }
        drop(ordering);
        let reason = if is_loaded { "the rules in force no longer fit its schema" } else { "it does not load again" };
        let _told = self.perform(&Order::Withdraw { model: life.model }, &Mandate::Healing, reason);
    }

    /// Brings back the bundle that answered last, when nothing stands by.
    fn recall(&self) {
        let Some(_one_at_a_time) = self.ordering.try_lock() else { return };
        let (mut lives, model) = {
            let inner = self.inner.lock();
            let Some(life) = inner.lives.to_recall() else { return };
            (inner.lives.clone(), life.model.clone())
        };
        // One that cannot be loaded stays out; the next look at its files changes nothing about that until it is asked again.
        let Ok(loaded) = self.bring(&model) else { return };
        if self.parts.entities.admit(&loaded.schema).is_err() || lives.recall(&model, self.parts.clock.now()).is_err() {
            return;
        }
        let _told = self.save(&lives, true);
        let mut inner = self.inner.lock();
        inner.loaded.push(loaded);
        inner.become_lives(lives, ("healing", self.parts.clock.now()));
    }

    /// Runs golden rows through the active and the standby model when that is due.
    fn check_places(&self) {
        let every = self.options.settings.golden_every;
        if every.is_zero() {
            return;
        }
        let every = Span::from_micros(i64::try_from(every.as_micros()).unwrap_or(i64::MAX));
        let now = self.parts.clock.now();
        let due: Vec<_> = {
            let inner = self.inner.lock();
            let models = [Stage::Active, Stage::Standby].into_iter().filter_map(|stage| inner.lives.at(stage));
            let is_due = |sha256: &str| inner.golden.get(sha256).is_none_or(|at| now.since(*at) >= every);
            models.filter(|life| is_due(&life.model.sha256)).map(|life| life.model.clone()).collect()
        };
        for model in due {
            match self.check_golden(&model) {
                Ok(()) | Err(Error::NotLoaded) => {}
                Err(error) => GoldenFailed { model: &model.to_string(), error: &error }.emit(),
            }
        }
    }
}

/// How a directory's files look: names, lengths and times of change. Content is read only when these change.
fn looks(path: &Path) -> u64 {
    let names = bundle::HASHED.into_iter().chain([bundle::MANIFEST, bundle::SIGNATURE]);
    let mut text = String::new();
    for name in names {
        let facts = fs::metadata(path.join(name)).ok();
        let changed = facts.as_ref().and_then(|facts| facts.modified().ok());
        let _infallible = write!(text, "{name} {:?} {changed:?};", facts.map(|facts| facts.len()));
    }
    xxh3_64(text.as_bytes())
}
