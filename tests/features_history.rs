//! History in, training sets out: every format tells the same story, and bad rows are told of.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use fraudd::cli::features::{FeaturesArgs, Summary, run};
use fraudd::domain::{Currency, Draft, LabelKind, RateTable, Span, TextField, Timestamp, Transaction};
use fraudd::edge::history::{Error, Mapping, Reader, Record, backfill, read_labels};
use fraudd::runtime::entities::{Entities, Options, Warmth};
use fraudd::scoring::feature::Schema;

const HANDBOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/schemas/handbook.toml");

const CSV: &str =
    "transaction_id,occurred_at,amount,currency,customer_id,merchant.terminal_id,attributes.tier,label,label_at
a,2026-01-01T10:00:00Z,1000,EUR,c1,t1,3,fraud,2026-01-05T00:00:00Z
b,2026-01-02T10:00:00Z,500,EUR,c1,t1,,0,2026-01-06T00:00:00Z
c,2026-01-09T12:00:00Z,250,USD,c1,t1,x,,
";

const FOREIGN: &str = r#"{"ID":"a","T":1767261600000,"PRICE":10.0,"WHO":"c1","WHERE":"t1","BAD":1}
{"ID":"b","T":1767348000000,"PRICE":"5.00","WHO":"c1","WHERE":"t1","BAD":0}
"#;

fn parse(line: &[u8], rates: &RateTable) -> Result<Transaction, String> {
    let json: serde_json::Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let text = |key: &str| json[key].as_str().ok_or_else(|| format!("{key}: expected text"));
    let mut draft = Draft::new();
    draft.id(text("transaction_id")?);
    draft.occurred_at_text(text("occurred_at")?);
    draft.amount(json["amount"].as_i64().ok_or("amount: expected a whole number")?);
    draft.currency(text("currency")?);
    draft.text(TextField::CustomerId, text("customer_id")?);
    draft.finish(rates).map_err(|faults| format!("{faults:?}"))
}

fn reader(map: &[&str], set: &[&str], strict: bool) -> Reader<'static> {
    let owned = |entries: &[&str]| entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>();
    Reader {
        mapping: Mapping::parse(&owned(map), &owned(set)).expect("a mapping"),
        rates: RateTable::identity(Currency::parse("EUR").expect("a currency")),
        parse: &parse,
        label_delay: Some(Span::from_days(7)),
        strict,
    }
}

fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).expect("written");
    path
}

fn records(reader: &Reader<'_>, path: &Path) -> Vec<Record> {
    let mut records = Vec::new();
    let tally = reader.read(path, &mut |record| {
        records.push(record);
        Ok(())
    });
    assert_eq!(tally.expect("read").bad_rows, 0);
    records
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: FeaturesArgs,
}

fn features(arguments: &[&str]) -> anyhow::Result<Summary> {
    let arguments = ["features", "--schema", HANDBOOK].iter().chain(arguments);
    run(&Command::try_parse_from(arguments).expect("arguments").args, &parse)
}

#[test]
fn every_format_tells_the_same_story() {
    let dir = tempfile::tempdir().expect("a folder");
    let csv = records(&reader(&[], &[], true), &file(dir.path(), "h.csv", CSV));
    let map = ["transaction_id=ID", "occurred_at=T:epoch_ms", "amount=PRICE:major", "customer_id=WHO", "label=BAD"];
    let map = [map.as_slice(), &["merchant.terminal_id=WHERE"]].concat();
    let foreign = records(&reader(&map, &["currency=EUR"], true), &file(dir.path(), "h.jsonl", FOREIGN));
    let label = |kind, at| Some((kind, Timestamp::parse(at).expect("an instant")));
    assert_eq!(csv[0].label, label(LabelKind::Fraud, "2026-01-05T00:00:00Z"));
    assert_eq!(csv[2].label, None);
    assert_eq!(foreign[0].label, label(LabelKind::Fraud, "2026-01-08T10:00:00Z"), "by --label-delay");
    for (left, right) in csv.iter().zip(&foreign) {
        let (left, right) = (&left.transaction, &right.transaction);
        assert_eq!(left.occurred_at(), right.occurred_at());
        assert_eq!((left.id(), left.amount(), left.base_amount()), (right.id(), right.amount(), right.base_amount()));
        for field in [TextField::CustomerId, TextField::MerchantTerminalId] {
            assert_eq!(left.text(field), right.text(field));
        }
    }
    assert_eq!(csv[2].transaction.base_amount(), None, "no rate for USD");
}

#[test]
fn bad_rows_are_counted_and_the_first_are_told_with_their_line() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut text = CSV.lines().next().expect("a header").to_owned() + "\n";
    for _ in 0..30 {
        text += "a,yesterday,12.5,EUR,c1,t1,,perhaps,\n";
    }
    text += "a,2026-01-01T10:00:00Z,1000,EUR,4111 1111,t1\n";
    let path = file(dir.path(), "h.csv", &text);
    let tally = reader(&[], &[], false).read(&path, &mut |_| Ok(())).expect("read");
    assert_eq!((tally.rows, tally.bad_rows, tally.told.len()), (0, 31, 10));
    let first = &tally.told[0];
    assert_eq!(first.line, 2);
    for path in ["occurred_at", "amount", "label"] {
        assert!(first.message.contains(path), "{}", first.message);
    }
    assert!(!first.message.contains("yesterday"), "the value is repeated");
    let strict = reader(&[], &[], true).read(&path, &mut |_| Ok(()));
    assert!(matches!(strict, Err(Error::Strict(bad)) if bad.line == 2));
}

#[test]
fn what_is_no_history_is_refused_with_the_cure() {
    let dir = tempfile::tempdir().expect("a folder");
    let check = |name: &str, text: &str, expected: &str| {
        let path = file(dir.path(), name, text);
        let error = reader(&[], &[], false).read(&path, &mut |_| Ok(())).expect_err("an error").to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("h.txt", "", "neither .jsonl, .csv nor .parquet");
    check("h.csv", "transaction_id,colour\n", "--map FIELD=colour");
    check("h.parquet", "PAR1 is not enough", "cannot read");
    let missing = reader(&[], &[], false).read(&dir.path().join("none.csv"), &mut |_| Ok(()));
    assert!(matches!(missing, Err(Error::Read { .. })));
    let long = format!("{}\n{{}}\n", "x".repeat(2 << 20));
    let tally = reader(&[], &[], false).read(&file(dir.path(), "l.jsonl", &long), &mut |_| Ok(())).expect("read");
    assert_eq!((tally.bad_rows, tally.told[0].line, tally.told[1].line), (2, 1, 2));
}

#[test]
fn labels_come_as_lines_or_columns() {
    let dir = tempfile::tempdir().expect("a folder");
    let lines = r#"{"transaction_id":"a","label":"chargeback","occurred_at":"2026-01-05T00:00:00Z","source":"bank"}
not a label
"#;
    let columns = "label,transaction_id,occurred_at\nchargeback,a,2026-01-05T00:00:00Z\nmaybe,b,2026-01-05T00:00:00Z\n";
    let mut read = Vec::new();
    for (name, text) in [("l.jsonl", lines), ("l.csv", columns)] {
        let path = file(dir.path(), name, text);
        let tally = read_labels(&path, false, &mut |label| read.push(label)).expect("read");
        assert_eq!((tally.rows, tally.bad_rows), (1, 1));
        assert!(matches!(read_labels(&path, true, &mut |_| {}), Err(Error::Strict(_))));
    }
    assert_eq!((&read[0].transaction_id, read[0].kind), (&read[1].transaction_id, read[1].kind));
}

#[test]
fn the_training_set_is_what_serving_would_have_seen() {
    let dir = tempfile::tempdir().expect("a folder");
    let history = file(dir.path(), "h.csv", CSV);
    let out = dir.path().join("set.csv");
    let (history, out_text) = (history.to_str().expect("text"), out.to_str().expect("text"));
    let summary = features(&["--history", history, "--history", history, "--out", out_text]).expect("written");
    assert_eq!((summary.rows, summary.duplicates), (3, 3));
    let text = fs::read_to_string(&out).expect("written");
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    let cell = |row: usize, name: &str| rows[row][rows[0].iter().position(|known| *known == name).expect("a column")];
    assert_eq!((cell(1, "tx_amount"), cell(1, "label"), cell(1, "label_at")), ("10", "1", "2026-01-05T00:00:00Z"));
    assert_eq!((cell(2, "customer_nb_tx_7d"), cell(2, "customer_avg_amount_7d")), ("2", "7.5"));
    // a's label came on the 5th: the delayed window of the 9th holds a and b, and one of them is known fraud.
    assert_eq!((cell(2, "terminal_risk_7d"), cell(3, "terminal_risk_7d")), ("0", "0.5"));
    assert_eq!((cell(3, "label"), cell(3, "tx_amount")), ("", "0"), "no label, and no rate for USD");
}

#[test]
fn a_parquet_set_can_be_read_as_it_was_written() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let dir = tempfile::tempdir().expect("a folder");
    let history = file(dir.path(), "h.csv", CSV);
    let out = dir.path().join("set.parquet");
    let (history, out_text) = (history.to_str().expect("text"), out.to_str().expect("text"));
    let from = ["--from", "2026-01-02T00:00:00Z"];
    let arguments = ["--history", history, "--out", out_text, from[0], from[1]];
    assert_eq!(features(&arguments).expect("written").rows, 2);
    let reader = SerializedFileReader::new(fs::File::open(&out).expect("there")).expect("parquet");
    let rows: Vec<_> = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row").to_string()).collect();
    assert_eq!(rows.len(), 2);
    assert!(rows[0].contains("customer_avg_amount_7d: 7.5") && rows[0].contains("label: 0"), "{}", rows[0]);
    assert!(rows[1].contains("label: null"), "{}", rows[1]);
    let jsonl = dir.path().join("set.jsonl");
    features(&["--history", history, "--out", jsonl.to_str().expect("text")]).expect("written");
    assert_eq!(fs::read_to_string(&jsonl).expect("written").lines().count(), 3);
}

#[test]
fn the_command_tells_all_faults_of_schema_and_mapping() {
    let dir = tempfile::tempdir().expect("a folder");
    let schema = file(
        dir.path(),
        "s.toml",
        "name = \"s\"\n[[feature]]\nname = \"a\"\ncalendar = \"moon\"\n[[feature]]\nname = \"B\"\nexpr = \"1\"\n",
    );
    let arguments = ["features", "--schema", schema.to_str().expect("text"), "--history", "x.csv", "--out", "y.csv"];
    let error =
        run(&Command::try_parse_from(arguments).expect("arguments").args, &parse).expect_err("faults").to_string();
    for part in ["calendar = \"moon\"", "line 5, feature B", "missing = 0.0", "description"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let error =
        features(&["--history", "x.csv", "--out", "y.csv", "--map", "when=T"]).expect_err("a fault").to_string();
    assert!(error.contains("when=T"), "{error}");
}

#[test]
fn a_backfill_says_which_schemas_are_warm() {
    let dir = tempfile::tempdir().expect("a folder");
    let history = file(dir.path(), "h.csv", CSV);
    let schema = Arc::new(Schema::parse(&fs::read_to_string(HANDBOOK).expect("there")).expect("a schema"));
    let store = Entities::new(Options::default(), std::slice::from_ref(&schema)).expect("a store");
    assert_eq!(store.warmth(&schema), Warmth::Warming { since: None, until: None });
    let schemas = [Arc::clone(&schema)];
    let report = backfill((&store, &schemas), &reader(&[], &[], false), (&[history], &[]), &|_| {}).expect("read");
    assert_eq!((report.transactions.rows, report.labels_applied), (3, 2));
    let since = Timestamp::parse("2026-01-01T10:00:00Z").expect("an instant");
    let until = since.plus(Span::from_days(37));
    assert_eq!(report.warmth[0].warmth, Warmth::Warming { since: Some(since), until: Some(until) });
}
