//! The stream's state side over real files and threads: doors that race, crashes at every frame, blobs in any order.

mod door;
mod journal;
mod sink;
pub(crate) mod support;
