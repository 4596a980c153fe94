//! One kept-alive HTTP/1.1 connection with at most one request under way.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::answer::{self, Answer};

/// What went wrong with a connection. Counted, and the connection is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// An attempt to open it again was not accepted; requests that meanwhile could not leave are `late`.
    Refused,
    /// The server closed or reset the connection before the answer was whole.
    Closed,
    /// The request did not fit into the connection.
    Unsent,
    /// What came back is no answer.
    Malformed,
}

impl Failure {
    /// Returns its name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Unsent => "unsent",
            Self::Malformed => "malformed",
        }
    }
}

/// A connection to the service.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    head: String,
    out: Vec<u8>,
    received: Vec<u8>,
    due: Instant,
    sent: Instant,
}

impl Connection {
    /// Connects within a time, to post to `path`.
    pub(crate) fn open(address: SocketAddr, path: &str, within: Duration) -> Result<Self, Failure> {
        let connect = || -> std::io::Result<TcpStream> {
            let socket = TcpStream::connect_timeout(&address, within)?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = connect().map_err(|_| Failure::Refused)?;
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: ");
        let now = Instant::now();
        Ok(Self { socket, head, out: Vec::new(), received: Vec::new(), due: now, sent: now })
    }

    /// Returns the socket, for the poller.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Returns when the request under way was due.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Returns when the request under way left.
    pub(crate) fn sent(&self) -> Instant {
        self.sent
    }

    /// Returns the body of an answer that [`Connection::receive`] gave.
    pub(crate) fn body(&self, answer: &Answer) -> &[u8] {
        self.received.get(answer.body_from..).unwrap_or_default()
    }

    /// Sends one request.
    pub(crate) fn send(&mut self, body: &str, due: Instant) -> Result<(), Failure> {
        self.due = due;
        self.sent = Instant::now();
        self.out.clear();
        self.received.clear();
        self.out.extend_from_slice(self.head.as_bytes());
        // Writing to a Vec cannot fail.
        let _ = write!(self.out, "{}\r\n\r\n{body}", body.len());
        // A body is small beside the send buffer of a connection that has nothing under way.
        self.socket.write_all(&self.out).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => Failure::Unsent,
            _ => Failure::Closed,
        })
    }

    /// Reads what is there; gives the answer once it is whole.
    pub(crate) fn receive(&mut self) -> Result<Option<Answer>, Failure> {
        let mut chunk = [0u8; 16 * 1024];
        loop {
            match self.socket.read(&mut chunk) {
                Ok(0) => return Err(Failure::Closed),
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Err(Failure::Closed),
            }
            let answer = answer::parse(&self.received).map_err(|_| Failure::Malformed)?;
            if answer.is_some() {
                return Ok(answer);
            }
        }
    }
}
