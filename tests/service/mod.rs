//! A real `fraudd serve` for tests: started on a free port, spoken to over HTTP, killed or stopped.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::blocking::{Client, Response};
use serde_json::Value;

/// A running service.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: String,
    pub(crate) client: Client,
}

impl Service {
    /// Starts a service without a model over a state directory, and waits until it listens.
    pub(crate) fn start(directory: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fraudd"));
        command.args(["serve", "--listen", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::null());
        command.env("FRAUDD__MODELS__ENABLED", "false").env("FRAUDD__TELEMETRY__LOG__FORMAT", "json");
        command.env("FRAUDD__STATE__DIRECTORY", directory).envs(settings.iter().copied()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary");
        let stderr = child.stderr.take().expect("piped");
        let mut lines = BufReader::new(stderr).lines();
        let mut seen = Vec::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else { panic!("the service ended: {seen:#?}") };
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if event["message"] == "listening" {
                break event["address"].as_str().expect("an address").to_owned();
            }
            seen.push(line);
        };
        // Read on, so that the service never waits for its log to be read.
        std::thread::Builder::new().spawn(move || lines.for_each(drop)).expect("a thread");
        let client = Client::builder().no_proxy().build().expect("a client");
        Self { child, address, client }
    }

    /// Returns the URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Posts JSON; `None` when the connection broke.
    pub(crate) fn post(&self, path: &str, body: &str) -> Option<(u16, Value)> {
        let request = self.client.post(self.url(path)).header("content-type", "application/json");
        read(request.body(body.to_owned()).send().ok()?)
    }

    /// Gets JSON.
    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        read(self.client.get(self.url(path)).send().expect("an answer")).expect("a body")
    }

    /// Gets text.
    pub(crate) fn text(&self, path: &str) -> String {
        self.client.get(self.url(path)).send().and_then(Response::text).expect("an answer")
    }

    /// Asks until the service says that it is ready.
    pub(crate) fn wait_until_ready(&self) {
        while self.get("/readyz").0 != 200 {
            std::thread::yield_now();
        }
    }

    /// Kills it like a crash.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// Stops it as an orchestrator does, and returns whether it ended well.
    pub(crate) fn stop(mut self) -> bool {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        self.child.wait().expect("ended").success()
    }

    /// Lists the whole feed: ids in order.
    pub(crate) fn feed(&self) -> Vec<String> {
        let (mut ids, mut cursor) = (Vec::new(), 0);
        loop {
            let (status, page) = self.get(&format!("/v1/decisions?after={cursor}&limit=1000"));
            assert_eq!(status, 200, "{page}");
            let decisions = page["decisions"].as_array().expect("a list");
            if decisions.is_empty() {
                return ids;
            }
            ids.extend(decisions.iter().map(|decision| decision["transaction_id"].as_str().expect("an id").to_owned()));
            cursor = page["next"].as_u64().expect("a cursor");
        }
    }
}

fn read(response: Response) -> Option<(u16, Value)> {
    let status = response.status().as_u16();
    let bytes = response.bytes().ok()?;
    Some((status, serde_json::from_slice(&bytes).unwrap_or_default()))
}

impl Drop for Service {
    fn drop(&mut self) {
        // Stopped already, most times.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the transaction of a number: every number has its own id and instant.
pub(crate) fn transaction(number: u64) -> String {
    let second = number % 60;
    let minute = number / 60 % 60;
    let hour = number / 3_600;
    let (customer, terminal) = (number % 20, number % 7);
    let country = if number.is_multiple_of(5) { "US" } else { "FR" };
    format!(
        r#"{{"transaction_id":"t-{number}","occurred_at":"2026-03-01T{hour:02}:{minute:02}:{second:02}Z","amount":{},
        "currency":"EUR","customer_id":"c-{customer}","card":{{"token":"tok_{customer}","country":"FR"}},
        "merchant":{{"id":"m-{terminal}","country":"{country}","terminal_id":"term-{terminal}"}},"channel":"ecommerce",
        "attributes":{{"visits":{terminal},"tier":"gold"}}}}"#,
        100 + number * 37 % 90_000
    )
}
