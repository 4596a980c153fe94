//! The HTTP server as a task.

use std::sync::Arc;

use crate::config::Settings;
use crate::edge::http::{self, Service};
use crate::tasks::{self, OnExit, Shutdown};

/// Serves until shutdown is asked for, then drains.
pub(super) fn serve(
    listener: tokio::net::TcpListener,
    service: &Arc<Service>,
    settings: &Settings,
    shutdown: &Shutdown,
) -> tokio::task::JoinHandle<()> {
    let parts = parking_lot::Mutex::new(Some((listener, Arc::clone(service), shutdown.clone())));
    let options = settings.server.clone();
    tasks::spawn("http", OnExit::Finish, shutdown.clone(), move || {
        let (parts, options) = (parts.lock().take(), options.clone());
        async move {
            let Some((listener, service, shutdown)) = parts else { return };
            http::serve(listener, http::router(Arc::clone(&service)), service, shutdown, options).await;
        }
    })
}
