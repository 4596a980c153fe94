//! The doors from outside: what goes in, what comes out, what stays.

mod bad_input;
mod connections;
mod doors;
pub(super) mod support;
mod healing;
