//! The loop that accepts connections, and the way it ends.
//!
//! ```text
//! asked to stop ─> not ready ─(pause: balancers notice)─> stop accepting ─> finish in flight ─> cut what is left
//! ```
//! No more connections than configured are open at once; further ones wait in the kernel's queue. A
//! connection that sends no whole header in time is closed, which also ends idle ones.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt;

use super::frame;
use super::service::{Phase, Service};
use crate::tasks::{self, Shutdown};
use crate::telemetry::events::{DrainEnded, DrainStarted};
use crate::telemetry::metrics;

/// How many connections the kernel keeps waiting; it may keep fewer (`net.core.somaxconn`).
const KNOCKING_MAX: u32 = 4_096;

/// How the server treats connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most connections at once.
    pub connections_max: usize,
    /// How long a header may take, and how long a connection may idle.
    pub header_timeout: Duration,
    /// How long the service stays unready but answering before it stops accepting.
    pub drain_pause: Duration,
    /// How long requests in flight may take after that.
    pub drain_grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections_max: 4_096,
            header_timeout: Duration::from_secs(30),
            drain_pause: Duration::from_secs(0),
            drain_grace: Duration::from_secs(15),
        }
    }
}

/// Listens on an address; many may knock at once, as after a restart of what calls us.
///
/// # Errors
/// The operating system's: the address is taken, or not ours.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(KNOCKING_MAX)
}

/// Serves until asked to stop, then drains; returns when everything in flight is answered or cut.
pub async fn serve(listener: TcpListener, router: Router, service: Arc<Service>, shutdown: Shutdown, options: Options) {
    let server = Server {
        router,
        service: Arc::clone(&service),
        connections: GracefulShutdown::new(),
        permits: Arc::new(Semaphore::new(options.connections_max)),
        header_timeout: options.header_timeout,
    };
    server.accept_until(&listener, shutdown.asked()).await;
    DrainStarted { grace: options.drain_grace }.emit();
    service.life.enter(Phase::Leaving, "shutting down");
    server.accept_until(&listener, tokio::time::sleep(options.drain_pause)).await;
    drop(listener);
    service.life.enter(Phase::Draining, "shutting down");
    let permits = Arc::clone(&server.permits);
    let drained = tokio::time::timeout(options.drain_grace, server.connections.shutdown()).await;
    let cut = if drained.is_ok() { 0 } else { options.connections_max - permits.available_permits() };
    DrainEnded { cut }.emit();
}

/// What a connection's requests enter by. One for each connection, so that its count is not fought over.
struct Entrance {
    router: Router,
    service: Arc<Service>,
}

impl Entrance {
    async fn enter(&self, request: Request<Incoming>) -> Result<Response, Infallible> {
        if frame::is_for_decide(&request) {
            return Ok(frame::decide(&self.service, request).await);
        }
        self.router.clone().oneshot(request.map(Body::new)).await
    }
}

struct Server {
    router: Router,
    service: Arc<Service>,
    connections: GracefulShutdown,
    permits: Arc<Semaphore>,
    header_timeout: Duration,
}

impl Server {
    async fn accept_until(&self, listener: &TcpListener, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        loop {
            let next = async {
                // The semaphore is never closed; if it were, nothing could be accepted any more.
                let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
                Some((permit, listener.accept().await))
            };
            // The end comes first, so that a flood of connections cannot hide it; accepting cannot starve
            // because the end is quiet until it comes.
            let accepted = tokio::select! {
                biased;
                () = &mut end => return,
                accepted = next => accepted,
            };
            match accepted {
                Some((permit, Ok((stream, _)))) => self.connect(stream, permit),
                // Out of file descriptors, most likely: wait for some connection to end.
                Some((_, Err(_))) => tokio::time::sleep(Duration::from_millis(50)).await,
                None => return,
            }
        }
    }

    fn connect(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        // Answers are small and written whole: waiting for more to send would only delay them.
        let _ = stream.set_nodelay(true);
        let entrance = Arc::new(Entrance { router: self.router.clone(), service: Arc::clone(&self.service) });
        let service = service_fn(move |request| {
            let entrance = Arc::clone(&entrance);
            async move { entrance.enter(request).await }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .serve_connection(TokioIo::new(stream), service);
        let connection = self.connections.watch(connection);
        metrics().http.connections.inc();
        tasks::once("http-connection", async move {
            let _counted = Counted(permit);
            // How a connection ends is the client's business; what was wrong with it is in its answers.
            let _ = connection.await;
        });
    }
}

/// Gives the permit back and the gauge down, however the connection ends.
struct Counted(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Drop for Counted {
    fn drop(&mut self) {
        metrics().http.connections.dec();
    }
}
