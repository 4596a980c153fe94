//! Floor 2: state, time and threads. Opens no socket.

pub mod clock;
pub mod entities;
pub mod inference;
pub mod release;
