//! What is done ends: a pause of the stream by itself, a map from score to probability when labels speak against it.

use super::scene::{Scene, finding, held, model, names};
use crate::domain::Calibration;
use crate::healing::finding::Alarm;
use crate::healing::situation::CalibrationFacts;
use crate::healing::table::{Act, Step};
use crate::healing::{Action, Plan};

/// A table whose row for overload pauses the stream.
fn pausing() -> Scene {
    let mut scene = Scene::proven();
    let row = scene.table.row.iter_mut().find(|row| row.id == "overload").expect("the row");
    row.then = vec![Step { act: Act::PauseIntake, after: crate::domain::Span::ZERO }];
    scene
}

fn turn(scene: &mut Scene, seconds: i64) -> Vec<&'static str> {
    let planned: Plan = scene.after(seconds);
    scene.perform(&planned);
    names(&planned)
}

#[test]
fn a_pause_ends_with_its_alarm() {
    let mut scene = pausing().finds(finding(Alarm::Overload, None));
    assert_eq!(turn(&mut scene, 10), ["pause_intake"]);
    assert_eq!(turn(&mut scene, 300), Vec::<&str>::new());
    scene.situation.findings.clear();
    assert_eq!(turn(&mut scene, 10), Vec::<&str>::new());
    assert_eq!(turn(&mut scene, 61), ["resume_intake"]);
    assert_eq!(turn(&mut scene, 10), Vec::<&str>::new());
    assert!(scene.memory.protections.is_empty());
}

#[test]
fn a_pause_ends_in_time_while_its_alarm_stands_and_is_not_begun_again() {
    let mut scene = pausing().finds(finding(Alarm::Overload, None));
    assert_eq!(turn(&mut scene, 10), ["pause_intake"]);
    assert_eq!(turn(&mut scene, 899), Vec::<&str>::new());
    assert_eq!(turn(&mut scene, 2), ["resume_intake"]);
    for _ in 0..50 {
        assert_eq!(turn(&mut scene, 60), Vec::<&str>::new());
    }
    assert!(scene.memory.protections.is_empty());
}

#[test]
fn a_pause_that_is_refused_is_tried_a_few_times_and_protects_nothing() {
    let mut scene = pausing().finds(finding(Alarm::Overload, None));
    let mut all = Vec::new();
    for _ in 0..20 {
        let planned = scene.after(60);
        all.extend(names(&planned));
        scene.perform_failing(&planned, "pause_intake");
    }
    assert_eq!(all, ["pause_intake"; 3]);
    assert!(scene.memory.protections.is_empty());
}

fn mapped(version: &str, log_e_better: f64) -> Scene {
    let mut scene = Scene::proven();
    let (model, map) = (model(version), Calibration { shift: -1.0, ..Calibration::IDENTITY });
    scene.situation.calibration = Some(CalibrationFacts { model, map, log_e_better, labels: 500 });
    scene
}

#[test]
fn a_map_that_labels_speak_against_is_taken_away_and_people_are_told() {
    let mut scene = mapped("new", -3.1);
    let planned = scene.after(10);
    assert_eq!(names(&planned), ["uncalibrate", "page"]);
    assert!(matches!(&planned.actions[0].action, Action::Uncalibrate { model: of } if *of == model("new")));
    // While it is on its way it is not ordered again; when it fails it is, a while later.
    assert_eq!(names(&scene.after(5)), Vec::<&str>::new());
    scene.perform_failing(&planned, "uncalibrate");
    assert_eq!(names(&scene.after(5)), Vec::<&str>::new());
    assert_eq!(names(&scene.after(60)), ["uncalibrate", "page"]);
}

#[test]
fn a_map_in_doubt_and_one_of_another_model_stay() {
    assert_eq!(turn(&mut mapped("new", -2.9), 10), Vec::<&str>::new());
    assert_eq!(turn(&mut mapped("new", 40.0), 10), Vec::<&str>::new());
    assert_eq!(turn(&mut mapped("old", -40.0), 10), Vec::<&str>::new());
    // Nothing but protection while a person has to look.
    let mut locked = mapped("new", -40.0);
    locked.orders(crate::healing::situation::OrderKind::Lock);
    let planned = locked.after(10);
    assert_eq!((names(&planned), held(&planned)["uncalibrate"]), (vec![], "locked"));
}
