//! Floor 3: touches network and files, decides nothing.

pub mod history;
