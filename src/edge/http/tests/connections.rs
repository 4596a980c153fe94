//! What can only be seen on a socket: connections kept, closed, drained.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::support::{GOOD, Setup, service};
use crate::edge::http::server::{Options, serve};
use crate::edge::http::{Limits, Service, router};
use crate::tasks::{self, Shutdown};

struct Server {
    address: SocketAddr,
    shutdown: Shutdown,
    service: Arc<Service>,
    task: tokio::task::JoinHandle<()>,
}

async fn start(setup: Setup, options: Options) -> Server {
    let service = service(setup);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let shutdown = Shutdown::default();
    let serving = serve(listener, router(Arc::clone(&service)), Arc::clone(&service), shutdown.clone(), options);
    Server { address, shutdown, service, task: tasks::once("test-server", serving) }
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address).await.expect("a connection")
}

fn request(body_len: usize, extra: &str) -> String {
    format!(
        "POST /v1/decisions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{extra}content-length: {body_len}\r\n\r\n"
    )
}

/// Reads one answer: its head, and its body by its length.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        let len = stream.read(&mut byte).await.expect("bytes");
        assert_ne!(len, 0, "closed before an answer: {}", String::from_utf8_lossy(&text));
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).expect("UTF-8");
    let len = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; len.unwrap_or(0)];
    stream.read_exact(&mut body).await.expect("a body");
    head + &String::from_utf8(body).expect("UTF-8")
}

#[tokio::test]
async fn a_refused_body_leaves_the_connection_usable() {
    let server = start(Setup::default(), Options::default()).await;
    let mut stream = connect(&server).await;
    let large = vec![b' '; 10 << 20];
    stream.write_all(request(large.len(), "").as_bytes()).await.expect("sent");
    stream.write_all(&large).await.expect("sent");
    let refused = answer(&mut stream).await;
    assert!(refused.starts_with("HTTP/1.1 413") && refused.contains("body_too_large"), "{refused}");
    for body in ["{", GOOD] {
        stream.write_all((request(body.len(), "") + body).as_bytes()).await.expect("sent");
        let status = if body == GOOD { "HTTP/1.1 200" } else { "HTTP/1.1 400" };
        assert!(answer(&mut stream).await.starts_with(status));
    }
}

#[tokio::test]
async fn a_sender_who_asks_first_is_refused_before_it_sends() {
    let server = start(Setup::default(), Options::default()).await;
    let mut stream = connect(&server).await;
    stream.write_all(request(10 << 20, "expect: 100-continue\r\n").as_bytes()).await.expect("sent");
    let refused = answer(&mut stream).await;
    assert!(refused.starts_with("HTTP/1.1 413") && refused.contains("connection: close"), "{refused}");
}

#[tokio::test]
async fn slow_senders_are_not_waited_for() {
    let short = Duration::from_millis(30);
    let limits = Limits { body_timeout: short, ..Limits::default() };
    let options = Options { header_timeout: short, ..Options::default() };
    let server = start(Setup { limits, ..Setup::default() }, options).await;
    let mut slow_body = connect(&server).await;
    slow_body.write_all((request(100, "") + "{").as_bytes()).await.expect("sent");
    assert!(answer(&mut slow_body).await.starts_with("HTTP/1.1 408"));
    let mut slow_header = connect(&server).await;
    slow_header.write_all(b"POST /v1/decisions HTTP/1.1\r\nhost: ").await.expect("sent");
    let mut rest = Vec::new();
    slow_header.read_to_end(&mut rest).await.expect("closed");
}

#[tokio::test]
async fn more_connections_than_allowed_wait() {
    let options = Options { connections_max: 1, ..Options::default() };
    let server = start(Setup::default(), options).await;
    let mut first = connect(&server).await;
    first.write_all((request(GOOD.len(), "") + GOOD).as_bytes()).await.expect("sent");
    assert!(answer(&mut first).await.starts_with("HTTP/1.1 200"));
    let mut second = connect(&server).await;
    second.write_all((request(GOOD.len(), "") + GOOD).as_bytes()).await.expect("sent");
    let early = tokio::time::timeout(Duration::from_millis(50), answer(&mut second)).await;
    assert!(early.is_err(), "answered beyond the limit");
    drop(first);
    assert!(answer(&mut second).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight() {
    let server = start(Setup::default(), Options::default()).await;
    let mut busy = connect(&server).await;
    let (first, rest) = GOOD.split_at(10);
    busy.write_all((request(GOOD.len(), "") + first).as_bytes()).await.expect("sent");
    let mut idle = connect(&server).await;
    idle.write_all((request(GOOD.len(), "") + GOOD).as_bytes()).await.expect("sent");
    answer(&mut idle).await;
    server.shutdown.ask();
    let mut nothing = Vec::new();
    idle.read_to_end(&mut nothing).await.expect("the idle connection is closed");
    assert_eq!(server.service.life.phase(), crate::edge::http::Phase::Draining);
    busy.write_all(rest.as_bytes()).await.expect("sent");
    assert!(answer(&mut busy).await.starts_with("HTTP/1.1 200"), "what was in flight is answered");
    server.task.await.expect("the server ends");
    assert!(TcpStream::connect(server.address).await.is_err(), "still accepting");
}

#[tokio::test]
async fn a_drain_does_not_wait_for_ever() {
    let options = Options { drain_grace: Duration::from_millis(30), ..Options::default() };
    let server = start(Setup::default(), options).await;
    let mut stuck = connect(&server).await;
    stuck.write_all((request(GOOD.len(), "") + "{").as_bytes()).await.expect("sent");
    while server.service.permits.available_permits() == Limits::default().concurrency_max {
        tokio::task::yield_now().await;
    }
    server.shutdown.ask();
    server.task.await.expect("the server ends");
}
