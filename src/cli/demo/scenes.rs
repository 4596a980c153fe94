//! The scenes: what is put in, which alarm must be raised, what must be done about it.

use std::time::Duration;

use super::traffic::Twist;
use crate::tasks::faults::Fault;

/// What is put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inject {
    /// Nothing: everything must stay as it is.
    Nothing,
    /// A fault of the model that answers.
    Model(Fault),
    /// A release that passes its gates and is wrong, promoted by hand.
    BadRelease,
    /// Something wrong with the payments.
    Payments(Twist),
}

/// One scene.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    /// What `--scene` calls it.
    pub(super) name: &'static str,
    /// What happens, for people.
    pub(super) story: &'static str,
    pub(super) inject: Inject,
    /// The alarms of which one must be raised; the breaker of a model that opens is as good.
    pub(super) alarms: &'static [&'static str],
    /// The actions of which one must be done; with none the breaker alone protects.
    pub(super) actions: &'static [&'static str],
    /// How long what is put in lasts on after it was answered.
    pub(super) lasts: Duration,
}

impl Scene {
    /// Tells whether only a change of model is the answer, which is checked before it counts.
    pub(super) fn swaps(&self) -> bool {
        self.actions == ["swap"]
    }
}

const fn model(name: &'static str, story: &'static str, fault: Fault) -> Scene {
    let (alarms, actions): (&[&str], &[&str]) = (&["model_fault"], &["swap"]);
    Scene { name, story, inject: Inject::Model(fault), alarms, actions, lasts: Duration::from_secs(1) }
}

/// Every scene in its order.
pub(super) const SCENES: &[Scene] = &[
    Scene {
        name: "healthy",
        story: "everything is well",
        inject: Inject::Nothing,
        alarms: &[],
        actions: &[],
        lasts: Duration::from_secs(8),
    },
    model("fails", "every run of the model fails", Fault::Fail),
    Scene {
        alarms: &["slow_model"],
        ..model("slow", "every run takes 200 ms more", Fault::Slow(Duration::from_millis(200)))
    },
    model("nan", "every score is not a number", Fault::NotANumber),
    Scene {
        // Mended before so many threads hang that the process would have to be started anew.
        actions: &["restart_inference", "swap"],
        lasts: Duration::ZERO,
        ..model("hangs", "runs of the model do not end", Fault::Hang)
    },
    Scene {
        name: "bad-release",
        story: "a release passes its gates and computes its features wrongly",
        inject: Inject::BadRelease,
        alarms: &["input_drift", "score_drift", "alert_surge", "alert_collapse"],
        actions: &["swap"],
        lasts: Duration::ZERO,
    },
    Scene {
        name: "pipeline",
        story: "the pipeline loses the terminal of every payment",
        inject: Inject::Payments(Twist::NoTerminal),
        alarms: &["broken_feature"],
        actions: &["mask"],
        lasts: Duration::from_secs(3),
    },
    Scene {
        name: "attack",
        story: "stolen cards are tried at one merchant",
        inject: Inject::Payments(Twist::CardTesting),
        alarms: &["alert_surge"],
        actions: &["tighten"],
        lasts: Duration::from_secs(3),
    },
    Scene {
        name: "drift",
        story: "every amount is 80 % higher: prices moved",
        inject: Inject::Payments(Twist::Amounts(180)),
        alarms: &["input_drift", "score_drift"],
        actions: &["widen_review"],
        lasts: Duration::from_secs(3),
    },
];
