//! One kept-alive HTTP/1.1 connection with at most one request under way.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use anyhow::{Context, bail};

/// A connection to the service.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    host: String,
    out: Vec<u8>,
    received: Vec<u8>,
    due: Instant,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Whether the body says `"degraded":true`.
    pub degraded: bool,
    /// When the request was due.
    pub due: Instant,
}

impl Connection {
    /// Connects.
    pub(crate) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let host = address.to_string();
        Ok(Self { socket, host, out: Vec::new(), received: Vec::new(), due: Instant::now() })
    }

    /// Returns the socket, for the poller.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Sends one request.
    pub(crate) fn send(&mut self, path: &str, body: &str, due: Instant) -> anyhow::Result<()> {
        self.due = due;
        self.out.clear();
        self.received.clear();
        let (host, len) = (&self.host, body.len());
        write!(
            self.out,
            "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len}\r\n\r\n{body}"
        )?;
        // A request of some hundred bytes fits the send buffer of a connection that has nothing under way.
        self.socket.write_all(&self.out).context("sending a request")
    }

    /// Reads what is there; gives the answer once it is whole.
    pub(crate) fn receive(&mut self) -> anyhow::Result<Option<Answer>> {
        let mut chunk = [0u8; 16 * 1024];
        loop {
            match self.socket.read(&mut chunk) {
                Ok(0) => bail!("the service closed the connection"),
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("reading an answer"),
            }
            if let Some(answer) = self.whole_answer()? {
                return Ok(Some(answer));
            }
        }
        self.whole_answer()
    }

    fn whole_answer(&self) -> anyhow::Result<Option<Answer>> {
        let Some(head_len) = find(&self.received, b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(&self.received[..head_len])?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("a status line")?.parse()?;
        let lengths = lines.filter_map(|line| line.split_once(':'));
        let length =
            lengths.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).map(|(_, value)| value).next();
        let length: usize = length.context("an answer without content-length")?.trim().parse()?;
        let body = &self.received[head_len + 4..];
        if body.len() < length {
            return Ok(None);
        }
        let degraded = find(body, b"\"degraded\":true").is_some();
        Ok(Some(Answer { status, degraded, due: self.due }))
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
