//! The doors of models over a real service: orders by HTTP, and what a restart of the process remembers.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::support::{root, runtime_is_here};

struct Served {
    child: Child,
    address: String,
    client: reqwest::blocking::Client,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Served {
    fn start(directory: &Path) -> Self {
        Self::start_with(directory, &[])
    }

    fn start_with(directory: &Path, settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fraudd"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .current_dir(root())
            .env("FRAUDD__TELEMETRY__LOG__FORMAT", "json")
            .env("FRAUDD__MODELS__DIRECTORY", directory.join("models"))
            .env("FRAUDD__STATE__DIRECTORY", directory.join("state"))
            .env("FRAUDD__FLEET__WATCH_EVERY", "100ms")
            // Who answers is shown here, not how fast a busy machine is.
            .env("FRAUDD__LIMITS__MODEL_DEADLINE", "5s")
            .env("FRAUDD__LIMITS__DEADLINE", "20s")
            .env("FRAUDD__BREAKER__SLOW_AFTER", "4s")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
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
        fraudd::tasks::thread("log", move || lines.for_each(drop)).expect("a thread");
        let client = reqwest::blocking::Client::builder().no_proxy().build().expect("a client");
        let served = Self { child, address, client };
        while served.get("/readyz").0 != 200 {
            std::thread::yield_now();
        }
        served
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.client.get(format!("http://{}{path}", self.address)).send().expect("an answer");
        (
            answer.status().as_u16(),
            answer.bytes().ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default(),
        )
    }

    fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request =
            self.client.post(format!("http://{}{path}", self.address)).header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().expect("an answer");
        (
            answer.status().as_u16(),
            answer.bytes().ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default(),
        )
    }

    fn decide(&self, id: &str) -> Value {
        let body = json!({"transaction_id": id, "occurred_at": "2026-03-01T10:00:00Z", "amount": 1250, "currency": "EUR", "customer_id": "c-1"});
        let (status, decision) = self.post("/v1/decisions", &body);
        assert_eq!(status, 200, "{decision}");
        decision
    }

    /// Asks until a version has a stage. The gates decide when.
    fn wait_for(&self, version: &str, stage: &str) {
        loop {
            let (_, listed) = self.get("/v1/models");
            let models = listed["models"].as_array().expect("models");
            let found = models.iter().find(|model| model["version"] == version);
            if found.is_some_and(|model| model["stage"] == stage) {
                return;
            }
            assert!(found.is_none_or(|model| model["refusal"].is_null()), "{found:?}");
            std::thread::yield_now();
        }
    }
}

fn copy(version: &str, as_version: &str, models: &Path) {
    let (from, to) = (root().join("models/card-fraud").join(version), models.join("card-fraud").join(as_version));
    std::fs::create_dir_all(&to).expect("a directory");
    let mut names: Vec<_> =
        std::fs::read_dir(from).expect("a bundle").map(|entry| entry.expect("an entry").path()).collect();
    // The manifest last: with it a bundle is one.
    names.sort_by_key(|path| path.ends_with("manifest.toml"));
    for path in names {
        let mut bytes = std::fs::read(&path).expect("a file");
        if path.ends_with("manifest.toml") {
            let text = String::from_utf8(bytes).expect("text");
            bytes = text
                .replacen(&format!("version = \"{version}\""), &format!("version = \"{as_version}\""), 1)
                .into_bytes();
        }
        std::fs::write(to.join(path.file_name().expect("a name")), bytes).expect("written");
    }
}

#[test]
fn people_promote_roll_back_accept_and_ban_and_a_restart_remembers() {
    if !runtime_is_here() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let models = directory.path().join("models");
    copy("1.0.0", "1.0.0", &models);
    copy("1.0.0-lr", "1.0.0-lr", &models);
    let service = Served::start(directory.path());
    copy("1.0.0", "2.0.0", &models);
    service.wait_for("2.0.0", "validated");
    let at = |version: &str, what: &str| format!("/v1/models/card-fraud/versions/{version}/{what}");

    let why = json!({"reason": "better by a year"});
    for (path, body, status, code) in [
        (at("9.9.9", "promote"), why.clone(), 404, "not_found"),
        (at("1.0.0", "promote"), why.clone(), 409, "order_refused"),
        (at("2.0.0", "withdraw"), why.clone(), 409, "order_refused"),
        (at("2.0.0", "release"), why.clone(), 409, "order_refused"),
        (at("2.0.0", "promote"), json!({}), 400, "wrong_shape"),
        (at("2.0.0", "promote"), json!({"reason": " "}), 400, "invalid_parameter"),
        (at("2.0.0", "canary"), why.clone(), 400, "invalid_parameter"),
        (at("2.0.0", "canary"), json!({"reason": "try", "percent": 100}), 400, "invalid_parameter"),
        ("/v1/models/other/rollback".to_owned(), why.clone(), 409, "order_refused"),
        ("/v1/models/card-fraud/accept".to_owned(), why.clone(), 409, "order_refused"),
    ] {
        let (found, problem) = service.post(&path, &body);
        assert_eq!((found, problem["code"].as_str()), (status, Some(code)), "{path}: {problem}");
    }
    let (status, shadow) = service.post(&at("2.0.0", "shadow"), &why);
    assert_eq!((status, &shadow["fleet"]["trial"]["stage"]), (200, &json!("shadow")), "{shadow}");
    let (status, canary) = service.post(&at("2.0.0", "canary"), &json!({"reason": "go on", "percent": 5}));
    assert_eq!((status, &canary["fleet"]["trial"]["percent"]), (200, &json!(5)), "{canary}");
    let (status, promoted) = service.post(&at("2.0.0", "promote"), &why);
    assert_eq!((status, &promoted["fleet"]["active"]["model"]["version"]), (200, &json!("2.0.0")), "{promoted}");
    assert_eq!(service.decide("t-1")["model"]["version"], "2.0.0");

    let (status, _) = service.post("/v1/models/card-fraud/rollback", &json!({"reason": "worse after all"}));
    assert_eq!(status, 200);
    let told = service.decide("t-2");
    assert_eq!((&told["model"]["version"], &told["degraded_reasons"]), (&json!("1.0.0"), &json!(["rolled_back"])));
    assert_eq!(service.post(&at("2.0.0", "quarantine"), &json!({"reason": "never again"})).0, 200);
    drop(service);

    let service = Served::start(directory.path());
    let told = service.decide("t-3");
    assert_eq!((&told["model"]["version"], &told["degraded_reasons"]), (&json!("1.0.0"), &json!(["rolled_back"])));
    service.wait_for("2.0.0", "quarantined");
    assert_eq!(service.post("/v1/models/card-fraud/accept", &json!({"reason": "we stay here"})).0, 200);
    assert_eq!(service.decide("t-4")["degraded_reasons"], json!([]));
    assert_eq!(service.post(&at("2.0.0", "promote"), &why).1["code"], "order_refused");
    assert_eq!(service.post(&at("2.0.0", "release"), &json!({"reason": "looked at"})).0, 200);
    service.wait_for("2.0.0", "validated");
}

#[test]
fn a_bundle_in_an_object_store_becomes_validated_and_half_of_one_does_not() {
    if !runtime_is_here() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let (models, store) = (directory.path().join("models"), directory.path().join("store"));
    copy("1.0.0", "1.0.0", &models);
    copy("1.0.0-lr", "1.0.0-lr", &models);
    copy("1.0.0", "2.0.0", &store);
    copy("1.0.0", "3.0.0", &store);
    let cut = store.join("card-fraud/3.0.0/model.onnx");
    let model = std::fs::read(&cut).expect("a file");
    std::fs::write(&cut, &model[..model.len() / 2]).expect("written");
    let url = format!("file://{}", store.display());
    let settings = [("FRAUDD__MODELS__SOURCE", url.as_str()), ("FRAUDD__MODELS__SOURCE_EVERY", "50ms")];
    let service = Served::start_with(directory.path(), &settings);
    service.wait_for("2.0.0", "validated");
    let landed = directory.path().join("state/models/card-fraud");
    assert!(landed.join("2.0.0/manifest.toml").is_file() && !landed.join("3.0.0").exists());
    assert_eq!(service.decide("t-1")["model"]["version"], "1.0.0");
    // Its upload ends: what was refused as half is looked at again.
    std::fs::write(&cut, &model).expect("written");
    service.wait_for("3.0.0", "validated");
}
