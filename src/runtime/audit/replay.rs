//! Plans again what was planned: the situation and the memory of each recorded plan, fed to the planner, must give
//! the same actions, holds and verdicts (`HE-5`).

use std::path::Path;

use serde::Deserialize;

use super::reading::{each_line, files_of};
use super::record::{Kind, Line};
use crate::healing::situation::{Held, Planned, Situation};
use crate::healing::supervisor::Verified;
use crate::healing::{Memory, Table, plan};

/// The most differences that are told.
pub const DIFFERENCES_MAX: usize = 20;

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Plans that were made again.
    pub plans: u64,
    /// Plans whose table the record does not have: its file was let go.
    pub without_table: u64,
    /// What was planned otherwise, and lines that cannot be read; at most [`DIFFERENCES_MAX`].
    pub differences: Vec<String>,
}

/// A plan as it was recorded.
#[derive(Debug, Deserialize)]
pub struct Recorded {
    /// What was so.
    pub situation: Situation,
    /// What was remembered.
    pub memory: Memory,
    /// What was to be done.
    pub actions: Vec<Planned>,
    /// What was held.
    pub holds: Vec<Held>,
    /// What was checked.
    pub verified: Vec<Verified>,
}

/// Plans everything of a record again.
///
/// # Errors
/// The file system's.
pub fn replay(path: &Path) -> std::io::Result<Replayed> {
    let mut replayed = Replayed::default();
    let mut table: Option<Table> = None;
    each_line(&files_of(path)?, |text| {
        if let Err(fault) = take(text, &mut table, &mut replayed) {
            replayed.differences.push(fault);
        }
        replayed.differences.len() < DIFFERENCES_MAX
    })?;
    Ok(replayed)
}

fn take(text: &str, table: &mut Option<Table>, replayed: &mut Replayed) -> Result<(), String> {
    let line = Line::read(text)?;
    let unreadable = |error: serde_json::Error| format!("record {}: cannot be understood: {error}", line.seq);
    match line.kind {
        Kind::Config => *table = serde_json::from_str(line.body.get()).ok().or_else(|| table.take()),
        Kind::Plan | Kind::Held => {
            let recorded: Recorded = serde_json::from_str(line.body.get()).map_err(unreadable)?;
            let Some(table) = table else {
                replayed.without_table += 1;
                return Ok(());
            };
            replayed.plans += 1;
            let again = plan(table, &recorded.memory, &recorded.situation);
            for (what, is_same) in [
                ("actions", again.actions == recorded.actions),
                ("holds", again.holds == recorded.holds),
                ("verdicts", again.verified == recorded.verified),
            ] {
                if !is_same {
                    let told = format!("{:?}", (&again.actions, &again.holds, &again.verified));
                    return Err(format!("record {}: other {what} than planned then: {told}", line.seq));
                }
            }
        }
        Kind::Chain
        | Kind::Alarm
        | Kind::Intent
        | Kind::Outcome
        | Kind::Override
        | Kind::List
        | Kind::Model
        | Kind::Breaker
        | Kind::Lost => {}
    }
    Ok(())
}
