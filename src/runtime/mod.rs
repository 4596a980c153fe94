//! Floor 2: state, time and threads. Opens no socket.

pub mod clock;
pub mod decisions;
pub mod entities;
pub mod scorer;
pub mod slot;
