//! The settings of healing: the table, the record, alarms of others.

use std::collections::BTreeMap;

use super::reader::Reader;
use super::size::Size;
use super::{count, positive};
use crate::healing::Table;
use crate::healing::finding::Alarm;
use crate::healing::table::OnDrift;
use crate::runtime::{audit, healer};

/// How the service heals itself and where it writes that down.
#[derive(Clone, Debug)]
pub struct Healing {
    /// How the loop turns.
    pub healer: healer::Options,
    /// Where the record is kept.
    pub audit: audit::Options,
}

pub(super) fn read(reader: &mut Reader) -> Option<Healing> {
    let is_enabled: bool = reader.get("healing.enabled");
    let directory = reader.path("state.directory");
    let file_len_max = u64::try_from(reader.get::<Size>("healing.audit_file_size").bytes()).unwrap_or(u64::MAX);
    reader.expect(file_len_max >= 64 << 10, "healing.audit_file_size", "expected at least 64KiB");
    let audit = audit::Options {
        directory: directory.as_ref().map(|directory| directory.join("audit")),
        file_len_max,
        files_max: count(reader, "healing.audit_files_max", 100_000).get(),
        ..audit::Options::default()
    };
    let external = healer::ExternalOptions {
        alarms: alarms(reader),
        is_acting: reader.get("healing.alertmanager_acting"),
        age_max: positive(reader, "healing.alertmanager_age_max"),
    };
    let healer = healer::Options {
        table: table(reader),
        rate_max: u32::try_from(count(reader, "healing.rate_max", 1_000_000).get()).unwrap_or(u32::MAX),
        memory_path: directory.map(|directory| directory.join("healing.json")),
        external,
        ..healer::Options::default()
    };
    is_enabled.then_some(Healing { healer, audit })
}

fn table(reader: &mut Reader) -> Table {
    let mut table = match reader.path("healing.table") {
        None => Table::default(),
        Some(path) => match std::fs::read_to_string(&path) {
            Err(error) => {
                reader.fault("healing.table", format!("{} cannot be read: {error}", path.display()));
                Table::default()
            }
            Ok(text) => Table::parse(&text).unwrap_or_else(|faults| {
                for fault in faults {
                    reader.fault("healing.table", format!("{}: {fault}", path.display()));
                }
                Table::default()
            }),
        },
    };
    if let Some(name) = reader.optional("healing.on_drift") {
        match OnDrift::parse(&name) {
            Some(on_drift) => table.on_drift = on_drift,
            None => reader.fault("healing.on_drift", "expected \"guarded\", \"evidence\" or \"always\""),
        }
    }
    table
}

fn alarms(reader: &mut Reader) -> BTreeMap<String, Alarm> {
    let mut alarms = BTreeMap::new();
    for (name, ours) in reader.table("healing.alertmanager") {
        if let Some(alarm) = Alarm::ALL.into_iter().find(|alarm| alarm.name() == ours) {
            alarms.insert(name, alarm);
        } else {
            let known = Alarm::ALL.map(Alarm::name).join(", ");
            reader.fault(&format!("healing.alertmanager.{name}"), format!("expected one of {known}"));
        }
    }
    alarms
}
