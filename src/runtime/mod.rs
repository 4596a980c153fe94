//! Floor 2: state, time and threads. Opens no socket.

pub mod audit;
pub mod block;
pub mod boot;
pub mod clock;
pub mod decisions;
pub mod entities;
pub mod executor;
pub mod explainer;
pub mod fleet;
pub mod guard;
pub mod healer;
pub mod host;
pub mod inference;
pub mod observed;
pub mod protection;
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
pub mod watchers;
