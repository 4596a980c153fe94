//! A service of its own process on a free port, stopped when it is dropped, and a plain client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

pub(crate) use crate::onnx::runtime_is_here;

pub(super) const MODEL: &str = "/v2/models/card-fraud/versions/1.0.0";

pub(super) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(super) struct Service {
    child: Child,
    address: SocketAddr,
    directory: Option<tempfile::TempDir>,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// One answer.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answered {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body.escape_ascii()))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl Service {
    /// Starts with the shipped models.
    pub(super) fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_over(&root().join("models"), settings, None)
    }

    /// Starts with a copy of the shipped bundles that the test may add to.
    pub(super) fn start_with_copy(settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for version in ["1.0.0", "1.0.0-lr"] {
            copy_bundle(
                &root().join("models/card-fraud").join(version),
                &directory.path().join("card-fraud").join(version),
            );
        }
        let models = directory.path().to_owned();
        Self::start_over(&models, settings, Some(directory))
    }

    fn start_over(models: &Path, settings: &[(&str, &str)], directory: Option<tempfile::TempDir>) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fraudd"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .current_dir(root())
            .env("FRAUDD__TELEMETRY__LOG__FORMAT", "json")
            .env("FRAUDD__INFERENCE__PROTOCOL_ENABLED", "true")
            .env("FRAUDD__MODELS__DIRECTORY", models)
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let (sender, addresses) = std::sync::mpsc::sync_channel(1);
        let outputs: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().expect("piped")), Box::new(child.stderr.take().expect("piped"))];
        for output in outputs {
            let sender = sender.clone();
            let reader = fraudd::tasks::thread("log", move || {
                // Read to the end, so that the service never waits for its log.
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if let Some(address) = address_in(&line) {
                        let _told_already = sender.try_send(address);
                    }
                }
            });
            assert!(reader.is_ok(), "no thread to read the log");
        }
        drop(sender);
        let address = addresses.recv().expect("the service ended before it listened");
        let service = Self { child, address, directory };
        // The socket answers before the service is ready.
        while service.get("/readyz").status != 200 {
            std::thread::yield_now();
        }
        service
    }

    /// Where the test may add bundles.
    pub(super) fn models(&self) -> &Path {
        self.directory.as_ref().expect("a copy").path()
    }

    pub(super) fn get(&self, path: &str) -> Answered {
        self.send("GET", path, &[], b"")
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Answered {
        self.send("POST", path, &[], body.to_string().as_bytes())
    }

    pub(super) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answered {
        let mut stream = self.connect();
        write_request(&mut stream, (method, path), headers, body);
        read_answer(&mut stream)
    }

    pub(super) fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).expect("a connection")
    }

    /// Reads one value of the metrics.
    pub(super) fn metric(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.get("/metrics").body).expect("UTF-8");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
    }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    line.get("address").or_else(|| line.get("fields")?.get("address"))?.as_str()?.parse().ok()
}

pub(super) fn write_request(
    stream: &mut TcpStream,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &[u8],
) {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    stream.write_all(body).expect("sent");
}

pub(super) fn read_answer(stream: &mut TcpStream) -> Answered {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read(&mut byte).expect("bytes"), 0, "closed before an answer");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).expect("UTF-8");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let len = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let mut body = vec![0; len];
    stream.read_exact(&mut body).expect("a body");
    Answered { status, head, body }
}

pub(super) fn copy_bundle(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a bundle") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// The golden rows of a shipped bundle: values and the trainer's own probability.
pub(super) fn golden(version: &str, count: usize) -> (Vec<Vec<f64>>, Vec<f64>) {
    let path = root().join("models/card-fraud").join(version).join("golden.jsonl");
    let text = std::fs::read_to_string(path).expect("golden rows");
    let rows = fraudd::runtime::release::golden::parse(&text, WIDTH).expect("golden rows");
    let rows = rows.into_iter().take(count);
    rows.map(|golden| (golden.row, golden.probability)).unzip()
}

/// Inputs of the shipped models.
pub(super) const WIDTH: usize = 55;
