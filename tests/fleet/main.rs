//! The fleet of models over real bundles, real gates and a real ONNX Runtime: orders, restarts, trials, swaps under
//! traffic, and bundles that must never answer.

mod bad_models;
mod doors;
mod orders;
mod storm;
mod support;
mod trials;

#[path = "../shared/bundles.rs"]
mod bundles;
#[path = "../shared/onnx.rs"]
mod onnx;
