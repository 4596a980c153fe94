//! A TCP proxy that misbehaves on demand: latency, bandwidth, silence, resets, refusal, and a cut right
//! after a chosen Kafka request has been answered to nobody.
//!
//! ```text
//! client ──listener──> up:   read ─> queue ─> when due ─> write ──> target
//!        <──────────── down: write <─ when due <─ queue <─ read <──
//! ```
//! Rules are looked at for every piece, so they take effect at once, on open connections too.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::Builder;
use std::time::Duration;

use fraudd::runtime::clock::Moment;
use socket2::SockRef;

/// `EndTxn`, whose answer says whether a commit happened.
pub(crate) const END_TXN: i16 = 26;
/// `TxnOffsetCommit`.
pub(crate) const TXN_OFFSET_COMMIT: i16 = 28;
/// `Produce`.
pub(crate) const PRODUCE: i16 = 0;
/// `Metadata`.
pub(crate) const METADATA: i16 = 3;

/// How often a pump that waits looks at the rules.
const LOOK: Duration = Duration::from_millis(20);
const PIECE_LEN: usize = 16 << 10;
const QUEUE_LEN_MAX: usize = 1_024;

/// What happens to bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They pass.
    #[default]
    Forward,
    /// They stay: connections are open and silent, as when a cable is cut.
    Silent,
    /// New connections are closed at once, open ones are reset.
    Refuse,
}

#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    mode: Mode,
    target: Option<SocketAddr>,
    latency: Duration,
    bytes_per_second: Option<u32>,
    /// The request after which to cut, and how many times yet.
    cut: Option<(i16, u32)>,
    /// Connections opened before this count are reset.
    reset_before: u64,
    is_closed: bool,
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Rules>,
    changed: Condvar,
    opened: AtomicU64,
    cuts: AtomicU64,
}

impl Shared {
    fn rules(&self) -> Rules {
        *self.rules.lock().expect("no panic")
    }

    /// Waits for a change of the rules, no longer than `wait`.
    fn wait(&self, wait: Duration) {
        let rules = self.rules.lock().expect("no panic");
        drop(self.changed.wait_timeout(rules, wait).expect("no panic"));
    }
}

/// The proxy; it ends when dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens on a free port; the target may come later.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        Builder::new().name("proxy".into()).spawn(move || accept(&listener, &theirs)).expect("a thread");
        Self { address, shared }
    }

    /// Returns where clients connect, as `--advertise` takes it.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    fn set(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.shared.rules.lock().expect("no panic"));
        self.shared.changed.notify_all();
    }

    /// Says where bytes go.
    pub(crate) fn target(&self, target: SocketAddr) {
        self.set(|rules| rules.target = Some(target));
    }

    /// Says what happens to bytes.
    pub(crate) fn mode(&self, mode: Mode) {
        self.set(|rules| rules.mode = mode);
    }

    /// Delays every piece, each way.
    pub(crate) fn latency(&self, latency: Duration) {
        self.set(|rules| rules.latency = latency);
    }

    /// Limits bytes a second, each way of each connection.
    pub(crate) fn bandwidth(&self, bytes_per_second: Option<u32>) {
        self.set(|rules| rules.bytes_per_second = bytes_per_second);
    }

    /// Resets every connection that is open now.
    pub(crate) fn reset(&self) {
        let opened = self.shared.opened.load(Ordering::SeqCst);
        self.set(|rules| rules.reset_before = opened);
    }

    /// Lets the next `times` requests with this key through, and resets their connection when the answer comes:
    /// the broker has done it and the client does not know.
    pub(crate) fn cut_after(&self, api_key: i16, times: u32) {
        self.set(|rules| rules.cut = Some((api_key, times)));
    }

    /// Returns how many connections were cut that way.
    pub(crate) fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// Returns how many connections were opened so far.
    pub(crate) fn opened(&self) -> u64 {
        self.shared.opened.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(|rules| rules.is_closed = true);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        let rules = shared.rules();
        if rules.is_closed {
            return;
        }
        let Ok(client) = client else { continue };
        let target = rules.target.filter(|_| rules.mode != Mode::Refuse);
        let Some(server) = target.and_then(|target| TcpStream::connect(target).ok()) else {
            abort(&client);
            continue;
        };
        let number = shared.opened.fetch_add(1, Ordering::SeqCst);
        connect(&client, &server, number, shared);
    }
}

/// One connection, as its four threads see it.
#[derive(Clone)]
struct Line {
    number: u64,
    is_over: Arc<AtomicBool>,
    /// The request to cut after has been seen: its answer must not pass.
    is_doomed: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

impl Line {
    /// Tells whether the connection must go, now.
    fn must_end(&self, rules: &Rules) -> bool {
        self.is_over.load(Ordering::SeqCst)
            || rules.is_closed
            || rules.mode == Mode::Refuse
            || self.number < rules.reset_before
    }

    /// Ends both sides with a reset when the rules say so; the sockets close when all four threads are done.
    fn end(&self, from: &TcpStream, to: &TcpStream) {
        if self.must_end(&self.shared.rules()) {
            self.is_over.store(true, Ordering::SeqCst);
            abort(from);
            abort(to);
        }
    }
}

fn connect(client: &TcpStream, server: &TcpStream, number: u64, shared: &Arc<Shared>) {
    let (is_over, is_doomed) = (Arc::default(), Arc::default());
    let line = Line { number, is_over, is_doomed, shared: Arc::clone(shared) };
    for (from, to, is_up) in [(client, server, true), (server, client, false)] {
        let _ = from.set_nodelay(true);
        let (queue, queued) = sync_channel(QUEUE_LEN_MAX);
        let ends = || (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
        let ((from_a, to_a), (from_b, to_b)) = (ends(), ends());
        let (reading, writing) = (line.clone(), line.clone());
        let read = move || {
            read_all(&from_a, &reading, is_up, &queue);
            reading.end(&from_a, &to_a);
        };
        let write = move || {
            write_all(&to_b, &writing, &queued);
            writing.end(&from_b, &to_b);
            // The other side closed and all it said has been passed on.
            if !writing.is_over.load(Ordering::SeqCst) {
                let _ = to_b.shutdown(std::net::Shutdown::Write);
            }
        };
        Builder::new().name("proxy-read".into()).spawn(read).expect("a thread");
        Builder::new().name("proxy-write".into()).spawn(write).expect("a thread");
    }
}

type Piece = (Moment, Vec<u8>);

/// Reads until the connection ends; each piece is due after the latency of its moment.
fn read_all(mut from: &TcpStream, line: &Line, is_up: bool, queue: &SyncSender<Piece>) {
    from.set_read_timeout(Some(LOOK)).expect("a timeout");
    let mut buffer = vec![0; PIECE_LEN];
    let mut frames = Frames::default();
    loop {
        let rules = line.shared.rules();
        if line.must_end(&rules) {
            return;
        }
        if rules.mode == Mode::Silent {
            line.shared.wait(LOOK);
            continue;
        }
        let len = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => len,
            Err(error) if is_waiting(&error) => continue,
            Err(_) => return,
        };
        let piece = &buffer[..len];
        if is_up && frames.feed(piece).into_iter().any(|key| take_cut(&line.shared, key)) {
            line.is_doomed.store(true, Ordering::SeqCst);
        }
        if !is_up && line.is_doomed.load(Ordering::SeqCst) {
            line.shared.cuts.fetch_add(1, Ordering::SeqCst);
            return line.is_over.store(true, Ordering::SeqCst);
        }
        // As the rules are by now: reading may have waited.
        let latency = line.shared.rules().latency;
        if queue.send((Moment::now().after(latency), piece.to_vec())).is_err() {
            return;
        }
    }
}

/// Uses one of the cuts up, when this request is the one.
fn take_cut(shared: &Shared, key: i16) -> bool {
    let mut rules = shared.rules.lock().expect("no panic");
    match &mut rules.cut {
        Some((wanted, times)) if *wanted == key && *times > 0 => {
            *times -= 1;
            true
        }
        _ => false,
    }
}

fn is_waiting(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn write_all(mut to: &TcpStream, line: &Line, queued: &Receiver<Piece>) {
    to.set_write_timeout(Some(LOOK)).expect("a timeout");
    while let Ok((due, piece)) = queued.recv() {
        let mut due = due;
        let mut sent = 0;
        while sent < piece.len() {
            let rules = line.shared.rules();
            if line.must_end(&rules) {
                return;
            }
            if rules.mode == Mode::Silent || !due.has_passed() {
                line.shared.wait(due.remaining().clamp(Duration::from_micros(100), LOOK));
                continue;
            }
            // A hundredth of a second's worth at a time.
            let share = rules.bytes_per_second.map_or(piece.len(), |rate| (rate / 100).max(1) as usize);
            let end = piece.len().min(sent + share);
            match to.write(&piece[sent..end]) {
                Ok(len) => sent += len,
                // Nobody reads: that is no reason to end.
                Err(error) if is_waiting(&error) => continue,
                Err(_) => return,
            }
            if rules.bytes_per_second.is_some() {
                due = Moment::now().after(Duration::from_millis(10));
            }
        }
    }
}

/// Has the close that follows reset the connection: the other side loses what it has not read yet.
fn abort(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Finds the key of every Kafka request in a stream of bytes: a length of four bytes, then the key's two.
#[derive(Default)]
struct Frames {
    head: Vec<u8>,
    left: usize,
}

impl Frames {
    fn feed(&mut self, mut bytes: &[u8]) -> Vec<i16> {
        let mut keys = Vec::new();
        while !bytes.is_empty() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            if let [a, b, c, d, high, low] = self.head[..] {
                keys.push(i16::from_be_bytes([high, low]));
                self.left = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(2);
                self.head.clear();
            }
        }
        keys
    }
}
