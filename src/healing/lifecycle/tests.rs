//! Lives under random orders: nothing unvalidated answers (`RL-1`), a rollback goes to what answered before or stood by (`RL-2`).

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn model(number: u8) -> ModelRef {
    ModelRef { name: "m".to_owned(), version: number.to_string(), sha256: format!("{number:064x}") }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000 + second)
}

fn person() -> Mandate {
    Mandate::Person { name: "ann".to_owned() }
}

/// Two bundles in their places, and a validated third.
fn shipped(trust: Trust) -> Lives {
    let mut lives = Lives::default();
    lives.install(Some((&model(1), Trust::Unsigned)), Some((&model(2), Trust::Unsigned)), at(0)).expect("installed");
    lives.find(&model(3), Trust::Unsigned, at(1));
    lives.judge(&model(3), Ok(trust), at(2)).expect("judged");
    lives
}

fn stage(lives: &Lives, number: u8) -> Stage {
    lives.get(&model(number).sha256).expect("known").stage
}

#[test]
fn a_bundle_goes_through_its_life() {
    let mut lives = shipped(Trust::Signed);
    let orders = [
        (Order::Shadow { model: model(3) }, Stage::Shadow),
        (Order::Canary { model: model(3), percent: 1 }, Stage::Canary),
        (Order::Canary { model: model(3), percent: 25 }, Stage::Canary),
        (Order::Promote { model: model(3) }, Stage::Active),
    ];
    for (second, (order, expected)) in orders.into_iter().enumerate() {
        lives = lives
            .after(&order, &Mandate::Healing, at(10 + i64::try_from(second).expect("small")), "test")
            .expect("legal");
        assert_eq!(stage(&lives, 3), expected);
    }
    assert_eq!((stage(&lives, 1), stage(&lives, 2)), (Stage::Standby, Stage::Retired));
    let change = lives.last_change().expect("a change");
    assert_eq!((&change.model, change.to), (&model(3), Stage::Active));
}

#[test]
fn a_rollback_is_told_until_it_is_accepted_or_followed() {
    let lives = shipped(Trust::Signed);
    let back = lives.after(&Order::Swap { to: model(2) }, &Mandate::Healing, at(5), "drift").expect("legal");
    assert_eq!((stage(&back, 2), stage(&back, 1)), (Stage::Active, Stage::Standby));
    assert_eq!(back.rollback().map(|rollback| &rollback.from), Some(&model(1)));
    assert!(matches!(back.after(&Order::AcceptRollback, &Mandate::Healing, at(6), ""), Err(Illegal::NeedsPerson(_))));
    assert!(back.after(&Order::AcceptRollback, &person(), at(6), "").expect("legal").rollback().is_none());
    let next = back.after(&Order::Promote { model: model(3) }, &Mandate::Healing, at(7), "won").expect("legal");
    assert!(next.rollback().is_none());
    assert!(matches!(next.after(&Order::AcceptRollback, &person(), at(8), ""), Err(Illegal::NoRollback)));
}

#[test]
fn the_active_bundle_can_be_banned_and_the_standby_takes_over() {
    let lives = shipped(Trust::Signed);
    let banned = lives.after(&Order::Quarantine { model: model(1) }, &person(), at(5), "wrong").expect("legal");
    assert_eq!((stage(&banned, 1), stage(&banned, 2)), (Stage::Quarantined, Stage::Active));
    assert!(banned.at(Stage::Standby).is_none() && banned.to_recall().is_none());
    let none = banned.after(&Order::Quarantine { model: model(2) }, &person(), at(6), "wrong, too").expect("legal");
    assert!(none.at(Stage::Active).is_none() && none.rollback().is_some());
    for order in [Order::Swap { to: model(1) }, Order::Promote { model: model(1) }, Order::Shadow { model: model(1) }] {
        assert!(matches!(none.after(&order, &person(), at(7), ""), Err(Illegal::Quarantined(_))), "{order:?}");
    }
    assert!(none.clone().install(Some((&model(1), Trust::Signed)), None, at(8)).is_err());
    let free = none.after(&Order::Release { model: model(1) }, &person(), at(9), "looked at").expect("legal");
    assert_eq!(stage(&free, 1), Stage::Candidate);
    // Released is not validated: it has its gates to pass again.
    assert!(matches!(free.after(&Order::Swap { to: model(1) }, &person(), at(10), ""), Err(Illegal::NotValidated(..))));
    assert!(matches!(
        none.after(&Order::Release { model: model(1) }, &Mandate::Healing, at(9), ""),
        Err(Illegal::NeedsPerson(_))
    ));
}

#[test]
fn healing_lets_nothing_unsigned_answer_and_people_may() {
    let lives = shipped(Trust::Unsigned);
    let shadow = lives.after(&Order::Shadow { model: model(3) }, &Mandate::Healing, at(5), "").expect("answers nobody");
    for order in [Order::Canary { model: model(3), percent: 1 }, Order::Promote { model: model(3) }] {
        assert!(
            matches!(shadow.after(&order, &Mandate::Healing, at(6), ""), Err(Illegal::NeedsPerson(_))),
            "{order:?}"
        );
        assert!(shadow.after(&order, &person(), at(6), "").is_ok(), "{order:?}");
    }
}

#[test]
fn what_the_gates_refused_is_remembered_and_stays_outside() {
    let mut lives = shipped(Trust::Signed);
    assert!(lives.find(&model(4), Trust::Unsigned, at(3)));
    lives.judge(&model(4), Err("gate Golden: wrong export".to_owned()), at(4)).expect("judged");
    assert!(!lives.find(&model(4), Trust::Unsigned, at(5)), "known by its hash");
    for order in [
        Order::Swap { to: model(4) },
        Order::Shadow { model: model(4) },
        Order::Canary { model: model(4), percent: 1 },
        Order::Promote { model: model(4) },
    ] {
        let error = lives.after(&order, &person(), at(6), "").expect_err("refused");
        assert!(error.to_string().contains("wrong export"), "{error}");
    }
    assert_eq!(
        lives.after(&Order::Promote { model: model(9) }, &person(), at(6), ""),
        Err(Illegal::Unknown("m/9".to_owned()))
    );
}

#[test]
fn what_stood_by_last_is_recalled_when_nothing_does() {
    let lives = shipped(Trust::Signed);
    let promoted = lives.after(&Order::Promote { model: model(3) }, &Mandate::Healing, at(5), "").expect("legal");
    let mut banned =
        promoted.after(&Order::Quarantine { model: model(1) }, &Mandate::Healing, at(6), "").expect("legal");
    assert_eq!(banned.to_recall().map(|life| &life.model), Some(&model(2)));
    banned.recall(&model(2), at(7)).expect("recalled");
    assert_eq!(stage(&banned, 2), Stage::Standby);
    assert!(banned.recall(&model(3), at(8)).is_err());
}

#[test]
fn settings_that_name_others_win_at_a_start() {
    let mut lives = shipped(Trust::Signed);
    lives.install(Some((&model(2), Trust::Unsigned)), Some((&model(3), Trust::Signed)), at(9)).expect("installed");
    assert_eq!([1, 2, 3].map(|number| stage(&lives, number)), [Stage::Retired, Stage::Active, Stage::Standby]);
    let text = serde_json::to_string(&lives).expect("written");
    assert_eq!(serde_json::from_str::<Lives>(&text).expect("read"), lives);
}

#[test]
fn a_register_is_bounded_and_forgets_no_ban_and_no_place() {
    let mut lives = shipped(Trust::Signed);
    lives = lives.after(&Order::Quarantine { model: model(3) }, &person(), at(3), "").expect("legal");
    for number in 0..2 * i64::try_from(LIVES_MAX).expect("small") {
        let sha256 = format!("{:064x}", 1_000 + number);
        lives.find(
            &ModelRef { name: "m".to_owned(), version: number.to_string(), sha256 },
            Trust::Unsigned,
            at(100 + number),
        );
    }
    assert!(lives.all().count() <= LIVES_MAX);
    assert_eq!([1, 2, 3].map(|number| stage(&lives, number)), [Stage::Active, Stage::Standby, Stage::Quarantined]);
}

#[derive(Clone, Debug)]
enum Step {
    Find(u8),
    Judge(u8, bool, bool),
    Order(Order, bool),
    Recall(u8),
    Install(u8, u8),
}

fn steps() -> impl Strategy<Value = Step> {
    let number = 0_u8..6;
    let order = (number.clone(), 0_u8..8, 0_u8..=110).prop_map(|(number, kind, percent)| {
        let model = model(number);
        match kind {
            0 => Order::Swap { to: model },
            1 => Order::Quarantine { model },
            2 => Order::Release { model },
            3 => Order::Shadow { model },
            4 => Order::Canary { model, percent },
            5 => Order::Promote { model },
            6 => Order::Withdraw { model },
            _ => Order::AcceptRollback,
        }
    });
    prop_oneof![
        1 => number.clone().prop_map(Step::Find),
        2 => (number.clone(), any::<bool>(), any::<bool>()).prop_map(|(number, passed, signed)| Step::Judge(number, passed, signed)),
        8 => (order, any::<bool>()).prop_map(|(order, by_person)| Step::Order(order, by_person)),
        1 => number.clone().prop_map(Step::Recall),
        1 => (number.clone(), number).prop_map(|(active, standby)| Step::Install(active, standby)),
    ]
}

/// Which bundles the gates let in last, kept apart from the register.
fn check_order(
    before: &Lives,
    after: &Lives,
    order: &Order,
    by_person: bool,
    passed: &BTreeSet<String>,
) -> Result<(), TestCaseError> {
    let active = |lives: &Lives| lives.at(Stage::Active).map(|life| life.model.sha256.clone());
    if let Some(now) = active(after).filter(|now| active(before).as_ref() != Some(now)) {
        prop_assert!(passed.contains(&now), "RL-1: {order:?} put {now} in force");
        let was = before.get(&now).expect("known").stage;
        if matches!(order, Order::Swap { .. } | Order::Quarantine { .. }) {
            prop_assert!(matches!(was, Stage::Standby | Stage::Retired), "RL-2: from {was:?}");
        }
        if !by_person && matches!(order, Order::Promote { .. }) {
            let life = before.get(&now).expect("known");
            prop_assert!(life.trust == Trust::Signed || life.proven_at.is_some());
        }
    }
    for life in before.all().filter(|life| life.stage == Stage::Quarantined) {
        let now = after.get(&life.model.sha256).expect("known").stage;
        let is_released = by_person && matches!(order, Order::Release { model } if *model == life.model);
        prop_assert!(now == Stage::Quarantined || is_released, "{order:?} lifted a ban");
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_sequence_of_orders_breaks_the_rules(steps in proptest::collection::vec(steps(), 1..80)) {
        let mut lives = Lives::default();
        let mut passed = BTreeSet::new();
        for (second, step) in steps.into_iter().enumerate() {
            let now = at(i64::try_from(second).expect("small"));
            match step {
                Step::Find(number) => {
                    let _is_new = lives.find(&model(number), Trust::Unsigned, now);
                }
                Step::Judge(number, is_good, is_signed) => {
                    let trust = if is_signed { Trust::Signed } else { Trust::Unsigned };
                    let verdict = if is_good { Ok(trust) } else { Err("bad".to_owned()) };
                    if lives.judge(&model(number), verdict, now).is_ok() && is_good {
                        passed.insert(model(number).sha256);
                    }
                }
                Step::Order(order, by_person) => {
                    let mandate = if by_person { person() } else { Mandate::Healing };
                    if let Ok(after) = lives.after(&order, &mandate, now, "test") {
                        check_order(&lives, &after, &order, by_person, &passed)?;
                        if let Order::Release { model } = &order {
                            passed.remove(&model.sha256);
                        }
                        lives = after;
                    }
                }
                Step::Recall(number) => drop(lives.recall(&model(number), now)),
                Step::Install(active, standby) if active != standby => {
                    let (active, standby) = (model(active), model(standby));
                    if lives.install(Some((&active, Trust::Unsigned)), Some((&standby, Trust::Unsigned)), now).is_ok() {
                        passed.extend([active.sha256, standby.sha256]);
                    }
                }
                Step::Install(..) => {}
            }
            prop_assert_eq!(lives.fault(), None);
        }
    }
}
