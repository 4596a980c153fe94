//! Floor 2: state, time and threads. Opens no socket.

pub mod block;
pub mod boot;
pub mod clock;
pub mod decisions;
pub mod entities;
pub mod explainer;
pub mod guard;
pub mod host;
pub mod fleet;
pub mod inference;
pub mod observed;
pub mod release;
pub mod reload;
pub mod reproduce;
pub mod resident;
pub mod retraining;
pub mod scorer;
pub mod slot;
pub mod standin;
pub mod store;
pub mod stream;
