//! Drift: are inputs and scores still distributed as in training?
//!
//! ```text
//! profile    the bundle's baseline as cells             tolerance     which laws are benign, and the robust normaliser
//! watch      observations -> blocks -> evidence         alternatives  what the law might be instead
//! assess     evidence -> findings                       channel       one distribution: fixed and learned alternatives
//! book       what stands, what was told                 evidence      Shiryaev-Roberts runs, and their mirror
//! judge      is the standby in control on this traffic? calibrate     how much tolerance history needs
//! volume, crowd                                         the flow; who is behind alerts
//! ring, figures, report, classic                        PSI, JS, KS and W1 for people, and the classic rule
//! ```
//! Formulae, guarantees and measured delays: `docs/detectors.md`.

mod alternatives;
mod assess;
mod block;
pub(in crate::healing) mod book;
mod calibrate;
mod channel;
mod classic;
mod crowd;
pub(in crate::healing) mod evidence;
pub mod figures;
mod judge;
mod options;
mod profile;
mod report;
mod ring;
mod tolerance;
mod volume;
mod watch;

pub(in crate::healing) use assess::Step;
pub use calibrate::{Calibrated, Calibration};
pub use channel::{Ceilings, Channel};
pub use evidence::Over;
pub use figures::{Distances, Figures};
pub use judge::{Control, State, judge};
pub use options::{Classic, Limits, Options, Standing};
pub use profile::{Cells, InputProfile, Lost, Profile, ScoresProfile};
pub use tolerance::Tolerance;
pub use watch::{Observation, Watch};

#[cfg(test)]
mod tests;
