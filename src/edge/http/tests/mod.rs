//! The doors from outside: what goes in, what comes out, what stays.

mod bad_input;
mod connections;
mod doors;
mod healing;
pub(super) mod support;
