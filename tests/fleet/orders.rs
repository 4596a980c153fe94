//! Orders: what answers afterwards, what is refused, and what a restart remembers.

use std::sync::Arc;

use fraudd::healing::lifecycle::{Illegal, Mandate, Order};
use fraudd::runtime::fleet::Error;

use super::support::{Setup, World, open, packed, person, root, runtime_is_here, sign, world, write};

fn answers(world: &World) -> (String, String, bool) {
    let release = world.scorer.release();
    (release.facts.model_version.clone(), release.facts.model_role.clone(), release.rolled_back)
}

fn stages(world: &World, versions: &[&str]) -> Vec<&'static str> {
    versions.iter().map(|version| world.stage(version)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_bundle_is_validated_by_itself_and_promoted_by_a_person() {
    if !runtime_is_here() {
        return;
    }
    let world = world(&Setup::default());
    assert_eq!(answers(&world), ("1".into(), "active".into(), false));
    world.add(&packed("logistic_double", "logistic", "3"), "3");
    assert_eq!((world.fleet.look(), world.fleet.look()), (1, 0), "judged once");
    assert_eq!(stages(&world, &["1", "2", "3"]), ["active", "standby", "validated"]);
    assert_eq!(answers(&world).0, "1", "validated answers nobody");
    let unsigned = world.fleet.promote(&world.model("3"));
    assert!(matches!(unsigned, Err(Error::Illegal(Illegal::NeedsPerson(_)))), "{unsigned:?}");
    world.fleet.perform(&Order::Promote { model: world.model("3") }, &person(), "better").expect("promoted");
    assert_eq!(answers(&world), ("3".into(), "active".into(), false));
    assert_eq!(stages(&world, &["1", "2", "3"]), ["standby", "retired", "active"]);
    assert!(world.fleet.find("small", Some("2")).is_none(), "retired is unloaded");
    let decision = world.decide(1).await.decision.clone();
    assert_eq!((decision.release.model_version.as_str(), decision.degraded.is_empty()), ("3", true));
    assert!(decision.score.is_some());
    world.fleet.check_golden(&world.model("3")).expect("golden rows");
    world.fleet.check_golden(&world.model("1")).expect("golden rows");
    assert!(world.fleet.facts().standby.is_some_and(|standby| standby.golden_checked_at.is_some() && standby.warm));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_told_in_every_decision_until_a_person_accepts_it() {
    if !runtime_is_here() {
        return;
    }
    let world = world(&Setup::default());
    world.fleet.swap(&world.model("2")).expect("swapped");
    assert_eq!(answers(&world), ("2".into(), "active".into(), true));
    let told = world.decide(1).await.decision.degraded.iter().map(|reason| reason.name()).collect::<Vec<_>>();
    assert_eq!(told, ["rolled_back"]);
    assert!(world.fleet.facts().rolled_back);
    let refused = world.fleet.perform(&Order::AcceptRollback, &Mandate::Healing, "");
    assert!(matches!(refused, Err(Error::Illegal(Illegal::NeedsPerson(_)))));
    world.fleet.accept_rollback("ann").expect("accepted");
    assert!(world.decide(2).await.decision.degraded.is_empty());
    // And a swap to what is active already, or was never seen, changes nothing.
    assert!(world.fleet.swap(&world.model("2")).is_err());
    assert_eq!(answers(&world), ("2".into(), "active".into(), false));
}

#[test]
fn places_and_bans_survive_a_restart() {
    if !runtime_is_here() {
        return;
    }
    let setup = Setup::default();
    let first = world(&setup);
    first.add(&packed("logistic_double", "logistic", "3"), "3");
    first.fleet.look();
    first.fleet.perform(&Order::Promote { model: first.model("3") }, &person(), "better").expect("promoted");
    first.wait(1);
    first.fleet.quarantine(&first.model("3"), "wrong after all").expect("banned");
    assert_eq!(stages(&first, &["1", "2", "3"]), ["active", "retired", "quarantined"]);
    // Nothing stands by: the one that answered last is loaded again.
    first.fleet.tend();
    assert_eq!(first.stage("2"), "standby");
    let directory = Arc::clone(&first.directory);
    drop(first);

    let second = open(directory, &setup);
    assert_eq!(answers(&second), ("1".into(), "active".into(), true), "the rollback is told on");
    assert_eq!(stages(&second, &["1", "2", "3"]), ["active", "standby", "quarantined"]);
    assert_eq!(second.fleet.look(), 0, "a banned bundle is not looked at again");
    for order in [
        Order::Promote { model: second.model("3") },
        Order::Shadow { model: second.model("3") },
        Order::Swap { to: second.model("3") },
    ] {
        let refused = second.fleet.perform(&order, &person(), "try");
        assert!(matches!(refused, Err(Error::Illegal(Illegal::Quarantined(_)))), "{order:?} {refused:?}");
    }
    assert!(second.fleet.load("small", Some("3")).is_err(), "nor is it loaded for raw calls");
    second.fleet.release(&second.model("3"), "ann").expect("released");
    assert_eq!(second.stage("3"), "candidate");
    assert_eq!(second.fleet.look(), 1, "and passes every gate again");
    assert_eq!(second.stage("3"), "validated");
}

#[test]
fn a_damaged_register_stops_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    for text in ["{", r#"{"version":9,"named":{"active":"","standby":""},"lives":{"by_hash":{}}}"#] {
        std::fs::write(directory.path().join("models.json"), text).expect("written");
        let error = fraudd::runtime::fleet::Register::open(Some(directory.path())).expect_err("refused").to_string();
        assert!(error.contains("models.json"), "{error}");
    }
}

#[test]
fn a_change_that_cannot_be_saved_is_refused_unless_it_protects() {
    if !runtime_is_here() {
        return;
    }
    let world = world(&Setup::default());
    world.add(&packed("logistic_double", "logistic", "3"), "3");
    world.fleet.look();
    // Nothing can be created in a directory that is gone.
    std::fs::remove_dir_all(world.directory.path().join("state")).expect("removed");
    let refused = world.fleet.perform(&Order::Promote { model: world.model("3") }, &person(), "better");
    assert!(matches!(refused, Err(Error::Unsaved(_))), "{refused:?}");
    assert_eq!((answers(&world).0.as_str(), world.stage("3")), ("1", "validated"));
    world.fleet.swap(&world.model("2")).expect("a bad model must not stay because a disk is full");
    assert_eq!(answers(&world).0, "2");
}

#[test]
fn todays_rules_are_checked_against_the_other_schema_before_anything_changes() {
    if !runtime_is_here() {
        return;
    }
    let rules = "[[rule]]\nid = \"night\"\nversion = 1\nwhen = \"features.is_night > 0.5\"\nweight = 100\ncode = \"NIGHT\"\ndescription = \"At night.\"\n";
    let world = world(&Setup { rules, ..Setup::default() });
    // The same model under a schema that calls the feature otherwise.
    let mut files = packed("logistic_double", "logistic", "3");
    for (name, from, to) in [
        ("features.toml", "name = \"is_night\"", "name = \"is_late\""),
        ("baseline.json", "\"is_night\"", "\"is_late\""),
    ] {
        let text = String::from_utf8(files[name].to_vec()).expect("text");
        assert!(text.contains(from), "{name}");
        files.insert(name.to_owned(), text.replace(from, to).into());
    }
    let schema = fraudd::scoring::feature::Schema::parse(std::str::from_utf8(&files["features.toml"]).expect("text"));
    let hash = schema.expect("a schema").hash().to_owned();
    super::support::repack(&mut files, |manifest| {
        manifest.schema_hash = hash;
        manifest.inputs[3] = "is_late".to_owned();
        let missing = manifest.missing.remove("is_night").expect("a policy");
        manifest.missing.insert("is_late".to_owned(), missing);
    });
    world.add(&files, "3");
    world.fleet.look();
    assert_eq!(world.stage("3"), "validated", "{:?}", world.fleet.models());
    for order in [
        Order::Promote { model: world.model("3") },
        Order::Shadow { model: world.model("3") },
        Order::Canary { model: world.model("3"), percent: 5 },
    ] {
        let refused = world.fleet.perform(&order, &person(), "try");
        assert!(matches!(&refused, Err(Error::Rules(text)) if text.contains("is_night")), "{refused:?}");
    }
    assert_eq!((answers(&world).0.as_str(), world.stage("3")), ("1", "validated"));
}

#[test]
fn files_that_were_changed_after_the_gates_do_not_come_into_force() {
    if !runtime_is_here() {
        return;
    }
    let world = world(&Setup::default());
    world.add(&packed("logistic_double", "logistic", "3"), "3");
    world.fleet.look();
    let model = world.model("3");
    world.add(&packed("logistic_zipmap", "logistic", "3"), "3");
    let refused = world.fleet.perform(&Order::Promote { model: model.clone() }, &person(), "better");
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    assert_eq!(answers(&world).0, "1");
    // What lies there now is another bundle, with gates of its own.
    world.wait(1);
    assert_eq!(world.fleet.look(), 1);
    assert_ne!(world.model("3"), model);
}

#[test]
fn a_half_uploaded_bundle_gets_its_verdict_when_it_is_whole() {
    if !runtime_is_here() {
        return;
    }
    let world = world(&Setup::default());
    let mut files = packed("logistic_double", "logistic", "3");
    sign(&mut files);
    let whole = files.clone();
    files.insert("model.onnx".to_owned(), whole["model.onnx"].slice(..100));
    world.add(&files, "3");
    assert_eq!((world.fleet.look(), world.fleet.look()), (1, 0));
    assert_eq!(world.stage("3"), "unknown", "no verdict on what is not whole");
    write(&whole, &world.models().join("small/3"));
    assert_eq!(world.fleet.look(), 1);
    assert_eq!(world.stage("3"), "validated");
    assert!(root().is_dir());
}
