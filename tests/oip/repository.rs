//! Loading passes the gates and makes a candidate, never more; what decisions rest on stays.

use std::path::Path;

use serde_json::{Value, json};

use super::support::{Service, copy_bundle, root, runtime_is_here};

/// Adds the shipped bundle once more under another version.
fn add(models: &Path, version: &str) {
    let place = models.join("card-fraud").join(version);
    copy_bundle(&root().join("models/card-fraud/1.0.0"), &place);
    let manifest = std::fs::read_to_string(place.join("manifest.toml")).expect("a manifest");
    let manifest = manifest.replacen("version = \"1.0.0\"", &format!("version = \"{version}\""), 1);
    std::fs::write(place.join("manifest.toml"), manifest).expect("written");
}

fn states(service: &Service) -> Vec<(String, String, String)> {
    let index = service.post("/v2/repository/index", &json!({})).json();
    let text = |entry: &Value, key: &str| entry[key].as_str().expect("text").to_owned();
    let entries = index.as_array().expect("entries");
    entries.iter().map(|entry| (text(entry, "version"), text(entry, "state"), text(entry, "reason"))).collect()
}

fn state(version: &str, state: &str, reason: &str) -> (String, String, String) {
    (version.to_owned(), state.to_owned(), reason.to_owned())
}

#[test]
fn a_candidate_comes_and_goes_and_never_decides() {
    if !runtime_is_here() {
        return;
    }
    let service = Service::start_with_copy(&[]);
    add(service.models(), "1.0.1");
    let load = "/v2/repository/models/card-fraud/load";
    let unload = "/v2/repository/models/card-fraud/unload";
    assert_eq!(states(&service)[2], state("1.0.1", "UNAVAILABLE", "not loaded"));
    let loaded = service.post(load, &json!({}));
    assert_eq!((loaded.status, loaded.json()["role"].as_str()), (200, Some("candidate")), "{}", loaded.json());
    assert_eq!(
        states(&service),
        [
            state("1.0.0", "READY", "active"),
            state("1.0.0-lr", "READY", "standby"),
            state("1.0.1", "READY", "candidate")
        ]
    );
    assert!((service.metric(r#"fraudd_candidates_total{result="loaded"}"#) - 1.0).abs() < 1e-9);
    let listed = service.get("/v1/models").json();
    assert_eq!((&listed["models"][2]["version"], &listed["models"][2]["role"]), (&json!("1.0.1"), &json!("candidate")));
    assert_eq!(service.get("/v1/health").json()["release"]["model"]["version"], "1.0.0");
    assert_eq!(service.get("/v2/models/card-fraud/versions/1.0.1/ready").status, 200);
    assert_eq!(service.get("/v2/models/card-fraud").json()["versions"], json!(["1.0.0", "1.0.0-lr", "1.0.1"]));
    // Again, by its version: the gates are asked once more and nothing changes.
    let again = service.post(load, &json!({"parameters": {"version": "1.0.1"}}));
    assert_eq!((again.status, again.json()["role"].as_str()), (200, Some("candidate")));

    for version in ["1.0.0", "1.0.0-lr"] {
        let kept = service.post(unload, &json!({"parameters": {"version": version}}));
        assert_eq!((kept.status, kept.json()["code"].as_str()), (409, Some("model_in_use")), "{version}");
        let told = kept.json()["error"].as_str().expect("a reason").to_owned();
        assert!(told.contains("stays"), "{told}");
    }
    let gone = service.post(unload, &json!({"parameters": {"unload_dependents": false}}));
    assert_eq!((gone.status, gone.json()["version"].as_str()), (200, Some("1.0.1")));
    assert_eq!(service.get("/v2/models/card-fraud/versions/1.0.1/ready").status, 404);
    let ready = service.post("/v2/repository/index", &json!({"ready": true})).json();
    assert_eq!(ready.as_array().map(Vec::len), Some(2));
}

#[test]
fn a_bundle_that_fails_a_gate_stays_outside_with_its_reason() {
    if !runtime_is_here() {
        return;
    }
    let service = Service::start_with_copy(&[]);
    let load =
        |version: &str| service.post(&format!("/v2/repository/models/card-fraud/versions/{version}/load"), &json!({}));
    add(service.models(), "2.0.0");
    let model = service.models().join("card-fraud/2.0.0/model.onnx");
    let mut bytes = std::fs::read(&model).expect("a model");
    *bytes.last_mut().expect("bytes") ^= 1;
    std::fs::write(&model, bytes).expect("written");
    let refused = load("2.0.0");
    assert_eq!((refused.status, refused.json()["code"].as_str()), (409, Some("model_refused")));
    let told = refused.json()["error"].as_str().expect("a reason").to_owned();
    assert!(told.contains("Hashes") && told.contains("model.onnx"), "{told}");
    let (_, state, reason) = states(&service).pop().expect("an entry");
    assert!(state == "UNAVAILABLE" && reason.contains("Hashes"), "{reason}");
    assert!((service.metric(r#"fraudd_candidates_total{result="refused"}"#) - 1.0).abs() < 1e-9);

    // A bundle under another name than its own.
    copy_bundle(&root().join("models/card-fraud/1.0.0"), &service.models().join("card-fraud/3.0.0"));
    let refused = load("3.0.0");
    assert_eq!((refused.status, refused.json()["code"].as_str()), (409, Some("model_refused")));
    // Two that could be meant.
    let unclear = service.post("/v2/repository/models/card-fraud/load", &json!({}));
    assert_eq!((unclear.status, unclear.json()["code"].as_str()), (400, Some("invalid_parameter")));
    assert!(unclear.json()["error"].as_str().is_some_and(|told| told.contains("2.0.0, 3.0.0")), "{}", unclear.json());
    assert_eq!(load("9.9.9").status, 404);
    assert_eq!(service.get("/v1/health").json()["release"]["model"]["version"], "1.0.0");
}

#[test]
fn candidates_are_bounded() {
    if !runtime_is_here() {
        return;
    }
    let service = Service::start_with_copy(&[]);
    let versions = ["2.0.1", "2.0.2", "2.0.3", "2.0.4", "2.0.5"];
    for version in versions {
        add(service.models(), version);
    }
    let load =
        |version: &str| service.post(&format!("/v2/repository/models/card-fraud/versions/{version}/load"), &json!({}));
    for version in &versions[..4] {
        assert_eq!(load(version).status, 200, "{version}");
    }
    let full = load("2.0.5");
    assert_eq!((full.status, full.json()["code"].as_str()), (409, Some("model_in_use")), "{}", full.json());
    let several = service.post("/v2/repository/models/card-fraud/unload", &json!({}));
    assert_eq!((several.status, several.json()["code"].as_str()), (400, Some("invalid_parameter")));
    assert_eq!(service.post("/v2/repository/models/card-fraud/versions/2.0.2/unload", &json!({})).status, 200);
    assert_eq!(load("2.0.5").status, 200);
}
