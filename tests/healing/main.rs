//! Healing, whole: the real service with its detectors, breaker, planner, executor and record, over traffic of which one
//! thing is wrong, and over its look-alike, which must lead to nothing.
//!
//! What is shown is what the record says and what decisions say. No request fails, and none is late: that is checked with
//! each decision.

mod calibration;
mod drift;
mod endings;
mod faults;
mod features;
mod golden;
mod labels;
mod quality;
mod record;
mod restarts;
mod support;
mod trials;
mod union;

#[path = "../shared/bundles.rs"]
mod bundles;
#[path = "../shared/onnx.rs"]
mod onnx;
