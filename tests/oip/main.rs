//! The inference protocol on a running service: real models, real gates, real sockets on the loopback.
//!
//! Needs ONNX Runtime, as `make test` fetches it; without it these tests say so and pass.

mod calls;
mod kinds;
mod repository;
mod support;

#[path = "../shared/onnx.rs"]
mod onnx;
