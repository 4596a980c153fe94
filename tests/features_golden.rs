//! Golden features: the handbook's published values, from a replay of its transactions.
//!
//! The replay starts 37 days before the first golden row (the longest window and its delay). Labels are
//! events: each is delivered seven days after its transaction, before transactions of the same instant.
//! Counts, risks and flags must be equal, averages to 1e-9, but for the two rows whose tie the
//! publisher's unstable sort has swapped.

#![expect(clippy::cast_possible_truncation, reason = "ids and epochs are whole doubles")]

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use fraudd::domain::{Currency, Draft, Label, LabelKind, RateTable, Span, TextField, Timestamp, Transaction};
use fraudd::runtime::entities::{Entities, LabelOutcome, Options, Warmth};
use fraudd::scoring::feature::Schema;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::statistics::Statistics;
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};

const GOLDEN_FROM: &str = "2018-07-25T00:00:00Z";
const GOLDEN_UNTIL: &str = "2018-08-15T00:00:00Z";
const SWAPPED_TIE: [i64; 2] = [1_240_489, 1_240_490];

#[expect(clippy::print_stdout, reason = "tells why nothing was compared")]
fn reference(file: &str) -> Option<PathBuf> {
    let root = std::env::var_os("FRAUDD_REFERENCE_DATA")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let path = root.join("handbook").join(file);
    if !path.exists() {
        println!("skipped: no reference data at {}; set FRAUDD_REFERENCE_DATA", path.display());
        return None;
    }
    Some(path)
}

/// All rows but those of row groups that end before `begin`.
fn rows(path: &PathBuf, begin: Timestamp) -> impl Iterator<Item = Row> {
    let reader = SerializedFileReader::new(File::open(path).expect("readable")).expect("parquet");
    let reader: &'static SerializedFileReader<File> = Box::leak(Box::new(reader));
    let ends_before = move |group: &usize| {
        let group = reader.metadata().row_group(*group);
        let times = group.columns().iter().find(|column| column.column_path().string() == "TX_DATETIME");
        match times.and_then(|times| times.statistics()) {
            Some(Statistics::Int64(times)) => times.max_opt().is_some_and(|last| last * 1_000 < begin.micros()),
            _ => false,
        }
    };
    let groups = (0..reader.num_row_groups()).filter(move |group| !ends_before(group));
    groups.flat_map(|group| {
        let group = Box::leak(reader.get_row_group(group).expect("a group"));
        RowIter::from_row_group(None, group).expect("rows").map(|row| row.expect("a row"))
    })
}

fn number(field: &Field) -> f64 {
    match field {
        Field::Byte(number) => f64::from(*number),
        Field::Short(number) => f64::from(*number),
        Field::Int(number) => f64::from(*number),
        Field::Long(number) => *number as f64,
        Field::Double(number) => *number,
        other => panic!("not a number: {other:?}"),
    }
}

fn columns(row: &Row) -> HashMap<&str, f64> {
    row.get_column_iter().map(|(name, field)| (name.as_str(), number(field))).collect()
}

/// The columns of the history by name, without a map per row.
struct Sent([f64; HISTORY.len()]);

const HISTORY: [&str; 6] = ["TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD"];

impl Sent {
    fn new(row: &Row) -> Self {
        let mut cells = row.get_column_iter();
        Self(HISTORY.map(|name| {
            let (found, field) = cells.next().expect("a column");
            assert_eq!(found, name);
            number(field)
        }))
    }
}

impl std::ops::Index<&str> for Sent {
    type Output = f64;

    fn index(&self, name: &str) -> &f64 {
        &self.0[HISTORY.iter().position(|known| *known == name).expect("a column of the history")]
    }
}

fn transaction(row: &Sent, rates: &RateTable) -> Transaction {
    let mut draft = Draft::new();
    draft.id(&row["TRANSACTION_ID"].to_string());
    draft.occurred_at(Timestamp::from_micros(row["TX_DATETIME"] as i64 * 1_000));
    draft.amount((row["TX_AMOUNT"] * 100.0).round() as i64);
    draft.currency("EUR");
    draft.text(TextField::CustomerId, &row["CUSTOMER_ID"].to_string());
    draft.text(TextField::MerchantTerminalId, &row["TERMINAL_ID"].to_string());
    draft.finish(rates).expect("valid")
}

fn same(name: &str, ours: f64, published: f64) -> bool {
    if name.contains("avg_amount") || name == "tx_amount" {
        (ours - published).abs() <= 1e-9
    } else {
        ours.to_bits() == (published + 0.0).to_bits()
    }
}

#[test]
fn the_handbook_features_are_equal_to_the_published_ones() {
    let Some(history) = reference("transactions_2018-04-01_2018-09-04.parquet") else { return };
    let Some(golden) = reference("golden_features_2018-07-25_2018-08-14.parquet") else { return };
    let golden: HashMap<i64, Row> =
        rows(&golden, Timestamp::MIN).map(|row| (columns(&row)["TRANSACTION_ID"] as i64, row)).collect();
    let schema = Arc::new(Schema::parse(include_str!("../models/schemas/handbook.toml")).expect("a schema"));
    let store = Entities::new(Options::default(), std::slice::from_ref(&schema)).expect("a store");
    let plan = store.admit(&schema).expect("the same plan");
    let rates = RateTable::identity(Currency::parse("EUR").expect("a currency"));
    let from = Timestamp::parse(GOLDEN_FROM).expect("an instant");
    let until = Timestamp::parse(GOLDEN_UNTIL).expect("an instant");
    let begin = from.minus(Span::from_days(37));
    let mut labels: VecDeque<Label> = VecDeque::new();
    let (mut compared, mut differ) = (0, Vec::new());
    for row in rows(&history, begin) {
        let row = Sent::new(&row);
        let occurred_at = Timestamp::from_micros(row["TX_DATETIME"] as i64 * 1_000);
        if occurred_at < begin {
            continue;
        }
        if occurred_at >= until {
            break;
        }
        while let Some(label) = labels.pop_front_if(|label| label.occurred_at <= occurred_at) {
            assert_eq!(store.label(&label), LabelOutcome::Applied);
        }
        let transaction = transaction(&row, &rates);
        let vector = store.observe(&transaction, &plan);
        labels.push_back(Label {
            transaction_id: transaction.id().into(),
            kind: if row["TX_FRAUD"] > 0.0 { LabelKind::Fraud } else { LabelKind::Legitimate },
            occurred_at: occurred_at.plus(Span::from_days(7)),
            source: "test".into(),
        });
        let id = row["TRANSACTION_ID"] as i64;
        let Some(expected) = golden.get(&id) else { continue };
        assert!(!vector.capped);
        compared += 1;
        let expected = columns(expected);
        for (place, feature) in schema.features().iter().enumerate() {
            let published = match feature.name.as_str() {
                "tx_amount" => row["TX_AMOUNT"],
                name => expected[published_name(name).as_str()],
            };
            let tie = SWAPPED_TIE.contains(&id) && feature.name.starts_with("customer");
            if !tie && !same(&feature.name, vector.values()[place], published) {
                differ.push(format!("{id} {}: {} is not {published}", feature.name, vector.values()[place]));
            }
        }
    }
    assert_eq!(compared, golden.len(), "every golden row was replayed");
    assert!(differ.is_empty(), "{} differ, first: {:#?}", differ.len(), &differ[..differ.len().min(10)]);
    assert_eq!(store.warmth(&schema), Warmth::Warm);
    let stats = store.stats();
    assert_eq!((stats.capped_total, stats.labels_pending), (0, 0));
}

fn published_name(ours: &str) -> String {
    ours.to_ascii_uppercase()
        .replace("CUSTOMER_", "CUSTOMER_ID_")
        .replace("TERMINAL_", "TERMINAL_ID_")
        .replace("_1D", "_1DAY_WINDOW")
        .replace("_7D", "_7DAY_WINDOW")
        .replace("_30D", "_30DAY_WINDOW")
}
