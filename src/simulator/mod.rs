//! Floor 1, pure: a made-up world of card payments, fraud and labels, day by day.
//!
//! ```text
//! Options ─> World (customers, terminals, who reaches what)
//!              │ a day of genuine life            day      the fraud-detection handbook's process
//!              │ + episodes of fraud              attack   card testing, takeover, impossible travel
//!              v
//!            Sketches ── drift ──> Agenda ── in order of arrival ──> Event { Transaction, Label }
//!                                  late, doubled, displaced; labels after their delay
//! ```
//! With every detail and attack switched off ([`Options::handbook`]) the process is the one published in
//! Le Borgne et al., *Reproducible Machine Learning for Credit Card Fraud Detection*, ULB 2022.
//! The generator is passed in and split into one stream per purpose, so that a knob turned in one place
//! leaves the rest of the world as it was. Memory holds the world, one day (about half a kilobyte a payment) and the
//! labels still due (32 bytes each), however long the run.

mod agenda;
mod atlas;
mod attack;
mod day;
pub mod detail;
mod dice;
pub mod drift;
mod grid;
pub mod options;
mod scenario;
mod simulation;
mod sketch;
pub mod text;
mod world;

pub use detail::{Detail, Details};
pub use drift::{Change, Drift};
pub use options::{Disorder, Labels, Options, Rates};
pub use scenario::{Pattern, Scenario};
pub use simulation::{Event, Simulation, Truth};
