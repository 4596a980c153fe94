//! What looks like one thing and is another: an attack that breaks a range, a silent label feed that moves inputs.

use super::scene::{Scene, finding, held};
use crate::healing::finding::{Alarm, Finding};

fn of_new(alarm: Alarm, values: &[(&str, f64)]) -> Finding {
    let mut found = finding(alarm, Some("new"));
    found.evidence.values.extend(values.iter().map(|(name, value)| ((*name).to_owned(), *value)));
    found
}

fn broken(values: &[(&str, f64)]) -> Finding {
    Finding { subject: Some("count_1h".into()), ..of_new(Alarm::BrokenFeature, values) }
}

#[test]
fn a_range_that_one_device_or_merchant_breaks_is_no_broken_feature() {
    for place in ["device", "merchant"] {
        let (own, usual) = (format!("top_{place}_share"), format!("traffic_top_{place}_share"));
        let one = broken(&[(&own, 0.9), (&usual, 0.02)]);
        // Even for a new release whose standby is in control: neither mask nor swap.
        let mut scene = Scene::fresh().standby_in_control().finds(one.clone()).finds(of_new(Alarm::ScoreDrift, &[]));
        assert_eq!(scene.run(600), ["page"]);
        // The alerts that come with it are an attack.
        let surge = of_new(Alarm::AlertSurge, &[(&own, 0.9), (&usual, 0.02)]);
        let mut scene = Scene::proven().finds(one).finds(surge);
        assert_eq!(scene.run(60), ["tighten", "page"]);
        // The twins: it broke everywhere; and a merchant who has most of the traffic anyway.
        assert_eq!(Scene::proven().finds(broken(&[(&own, 0.1), (&usual, 0.02)])).run(60), ["mask"]);
        assert_eq!(Scene::proven().finds(broken(&[(&own, 0.9), (&usual, 0.8)])).run(60), ["mask"]);
    }
}

#[test]
fn what_follows_from_labels_that_stopped_leads_to_nothing() {
    let moved =
        |of_labels: f64| of_new(Alarm::InputDrift, &[("features_moved", 2.0), ("features_of_labels", of_labels)]);
    let silent = || Scene::proven().standby_in_control().finds(finding(Alarm::LabelFeed, None));
    let mut scene =
        silent().finds(moved(2.0)).finds(of_new(Alarm::ScoreDrift, &[])).finds(of_new(Alarm::AlertCollapse, &[]));
    assert_eq!(scene.run(600), [] as [&str; 0]);
    assert_eq!(held(&scene.after(1))[""], "explained");
    assert_eq!(scene.run(3_600), ["page"], "people are told that labels stopped");
    // The twins: another input moved as well, or none did; then the feed explains nothing of it.
    let mut scene = silent().finds(moved(1.0)).finds(of_new(Alarm::AlertCollapse, &[]));
    assert!(scene.run(60).contains(&"union"));
    let mut scene = silent().finds(of_new(Alarm::AlertCollapse, &[]));
    assert!(scene.run(60).contains(&"union"));
    // And without a silent feed a feature made of labels moves like any other.
    let mut scene = Scene::proven().finds(moved(2.0));
    assert_eq!(scene.run(60), ["widen_review"]);
}
