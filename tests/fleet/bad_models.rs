//! The bad-model set: whatever lies in the model directory, none of these becomes validated, and none answers.

use fraudd::healing::lifecycle::Order;
use fraudd::runtime::release::bundle::{self, Files};
use fraudd::runtime::release::gates::Limits;
use fraudd::runtime::release::signature;

use super::support::{SECRET, Setup, World, onnx, packed, person, repack, runtime_is_here, sign, with_model, world};
use crate::bundles::miscalibrate;

/// Puts a bundle into the directory, lets the fleet find it, and tries every door with it.
async fn never_answers(world: &World, what: &str, version: &str, files: &Files, reason: &str) {
    world.add(files, version);
    assert_eq!(world.fleet.look(), 1, "{what}");
    let index = world.fleet.index();
    let entry = index.iter().find(|entry| entry.version == version).expect("listed");
    assert!(entry.reason.contains(reason), "{what}: {}", entry.reason);
    assert!(world.fleet.load("small", Some(version)).is_err(), "{what}: loaded for raw calls");
    assert!(!["validated", "shadow", "canary", "active", "standby"].contains(&world.stage(version)), "{what}");
    if let Some(model) = world.fleet.meant_by("small", version) {
        for order in [
            Order::Promote { model: model.clone() },
            Order::Swap { to: model.clone() },
            Order::Shadow { model: model.clone() },
            Order::Canary { model: model.clone(), percent: 50 },
        ] {
            assert!(world.fleet.perform(&order, &person(), "try").is_err(), "{what}: {order:?}");
        }
    }
    assert_eq!(world.fleet.look(), 0, "{what}: asked again although nothing changed");
    let number = version.parse::<u64>().expect("a number") * 1_000;
    for number in number..number + 20 {
        let record = world.decide(number).await;
        assert_eq!(record.decision.release.model_version, "1", "{what}");
        assert!(record.decision.score.is_some() && record.decision.degraded.is_empty(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_wrong_or_lying_is_refused_by_its_gate() {
    if !runtime_is_here() {
        return;
    }
    let world = world(&Setup::default());
    let whole = onnx("forest_tensor");
    let truncated = with_model(whole.slice(..whole.len() / 2), ("probabilities", 1), "10");
    never_answers(&world, "truncated", "10", &truncated, "Operators").await;
    let other_signature = with_model(onnx("bad_signature"), ("p", 0), "11");
    never_answers(&world, "other signature", "11", &other_signature, "Loads").await;
    let swapped = with_model(onnx("bad_swapped"), ("probabilities", 1), "12");
    never_answers(&world, "swapped classes", "12", &swapped, "swapped").await;
    let wrong = with_model(onnx("forest_tensor"), ("probabilities", 1), "13");
    never_answers(&world, "wrong outputs, right signature", "13", &wrong, "Golden").await;
    let logit = with_model(onnx("bad_logit"), ("logit", 0), "14");
    never_answers(&world, "no probability", "14", &logit, "Finite").await;
    let nan = with_model(onnx("bad_nan"), ("probability", 0), "15");
    never_answers(&world, "NaN", "15", &nan, "Finite").await;
    let text_input = with_model(onnx("bad_text_input"), ("p", 0), "16");
    never_answers(&world, "text input", "16", &text_input, "Loads").await;
    let external = with_model(onnx("bad_external"), ("p", 0), "17");
    never_answers(&world, "tensors elsewhere", "17", &external, "External").await;
    let random = with_model(onnx("bad_operator"), ("probability", 0), "18");
    never_answers(&world, "forbidden operator", "18", &random, "Operators").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_wrong_calibration_or_a_foreign_hand_is_refused() {
    if !runtime_is_here() {
        return;
    }
    let world = world(&Setup::default());
    let mut files = packed("logistic_double", "logistic", "20");
    miscalibrate(&mut files);
    never_answers(&world, "wrong calibration", "20", &files, "Calibration").await;
    let mut forged = packed("logistic_double", "logistic", "21");
    let text = signature::sign(&forged[bundle::MANIFEST], &signature::hex(&[4; 32])).expect("signed");
    forged.insert(bundle::SIGNATURE.to_owned(), text.into());
    never_answers(&world, "signed by a stranger", "21", &forged, "Signature").await;
    let mut changed = packed("logistic_double", "logistic", "22");
    sign(&mut changed);
    repack(&mut changed, |manifest| manifest.thresholds.decline = 0.99);
    never_answers(&world, "changed after it was signed", "22", &changed, "Signature").await;
    assert_eq!(signature::public_key(&SECRET).len(), 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_slow_huge_or_crashes_its_runtime_takes_nobody_along() {
    if !runtime_is_here() {
        return;
    }
    let trusted_keys = vec![signature::public_key(&SECRET)];
    let limits = Limits { latency_us_max: 100.0, child_wall_seconds_max: 20, trusted_keys, ..Limits::default() };
    let slow_limits = Setup { limits: limits.clone(), ..Setup::default() };
    let world_of_slow = world(&slow_limits);
    let slow = with_model(onnx("bad_slow"), ("probability", 0), "30");
    never_answers(&world_of_slow, "slow", "30", &slow, "").await;
    // Its first tensor wants 14 gigabytes: the child dies or fails, and nobody else.
    let hungry = with_model(onnx("bad_hungry"), ("probability", 0), "31");
    never_answers(&world_of_slow, "a hundred times larger", "31", &hungry, "").await;
    // A child without memory aborts in the midst of loading: that is a verdict, too.
    let narrow = Limits { child_bytes_max: 96 << 20, ..limits };
    let world_of_crashes = world(&Setup { limits: narrow, ..Setup::default() });
    let crashing = packed("logistic_double", "logistic", "32");
    never_answers(&world_of_crashes, "crashing its runtime", "32", &crashing, "").await;
}
