//! The guard as a tower layer, for whatever else asks a model than the scorer itself.
//!
//! The scorer takes permits directly: it must answer by rules when it gets none, and a service in between would box
//! a future for each call. The contract is the same: one permit a call, settled once, cancelled calls too.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::Guard;
use crate::runtime::inference::Scored;

/// Puts a guard before a service that answers with [`Scored`].
#[derive(Clone, Debug)]
pub struct GuardLayer {
    guard: Arc<Guard>,
}

/// A service behind a guard.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    guard: Arc<Guard>,
    inner: S,
}

/// Why a guarded service did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused<E> {
    /// The breaker let nobody through, or not this call.
    #[error("the breaker is open")]
    BreakerOpen,
    /// The service failed before the model was asked.
    #[error(transparent)]
    Inner(E),
}

impl GuardLayer {
    /// Makes the layer of one model.
    #[must_use]
    pub const fn new(guard: Arc<Guard>) -> Self {
        Self { guard }
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: Arc::clone(&self.guard), inner }
    }
}

impl<S, Request> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Scored>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Scored;
    type Error = Refused<S::Error>;
    type Future = Pin<Box<dyn Future<Output = Result<Scored, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context).map_err(Refused::Inner)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Some(permit) = self.guard.admit_shared() else {
            return Box::pin(std::future::ready(Err(Refused::BreakerOpen)));
        };
        let (asked, slow_after_us) = (self.inner.call(request), self.guard.slow_after_us());
        Box::pin(async move {
            let scored = asked.await.map_err(Refused::Inner)?;
            permit.settle_scored(scored.score.as_ref().err(), scored.course, slow_after_us);
            Ok(scored)
        })
    }
}
