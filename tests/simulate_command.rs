//! `fraudd simulate` at its door: files, formats, interrupts, refusals, and arguments that reach the simulator.

use std::fs;
use std::path::Path;

use clap::Parser;
use fraudd::cli::simulate::{self, Args, Ending, Error, Summary};
use fraudd::domain::{Currency, Span, Timestamp};
use fraudd::simulator::{Detail, Details, Disorder, Drift, Labels, Options, Rates};
use fraudd::tasks::Shutdown;

const SMALL: &str = "--customers 100 --terminals 800 --days 4 --seed 7";

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn parse(line: &str) -> Result<Args, clap::Error> {
    Cli::try_parse_from(std::iter::once("simulate").chain(line.split_whitespace())).map(|cli| cli.args)
}

fn simulate(line: &str) -> Result<Summary, Error> {
    simulate::run_until(&parse(line).expect("arguments"), &Shutdown::default())
}

fn line_count(path: &Path) -> u64 {
    let text = fs::read_to_string(path).expect("a file");
    assert!(text.ends_with("}\n"), "the last line is whole");
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "every line is JSON");
    text.lines().count() as u64
}

#[test]
fn transactions_and_labels_go_to_their_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let (out, labels) = (folder.path().join("t.jsonl"), folder.path().join("l.jsonl"));
    let line = format!("{SMALL} --duplicates 0.02 --out {} --labels {}", out.display(), labels.display());
    let summary = simulate(&line).expect("written");
    assert_eq!(line_count(&out), summary.transactions + summary.duplicates);
    assert_eq!(line_count(&labels), summary.labels);
    assert!(summary.transactions > 600 && summary.frauds > 0 && summary.duplicates > 0, "{summary:?}");
    assert_eq!((summary.labels, summary.ending), (summary.transactions, Ending::Complete));
}

#[test]
fn csv_can_tell_the_truth() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("t.csv");
    let line = format!("{SMALL} --format csv --truth --label-share 0.5 --out {}", out.display());
    let summary = simulate(&line).expect("written");
    let mut reader = csv::Reader::from_path(&out).expect("a file");
    let names = reader.headers().expect("a header").clone();
    let rows: Vec<_> = reader.records().map(|row| row.expect("a row")).collect();
    let count = |name: &str, holds: &dyn Fn(&str) -> bool| {
        let place = names.iter().position(|known| known == name).expect("a column");
        rows.iter().filter(|row| holds(&row[place])).count() as u64
    };
    assert_eq!(rows.len() as u64, summary.transactions);
    assert_eq!(count("label_at", &|cell| !cell.is_empty()), summary.labels);
    assert_eq!(count("scenario", &|cell| cell != "0"), summary.frauds);
    assert_eq!(count("card.token", &|cell| cell.starts_with("tok_")), summary.transactions);
}

#[test]
fn it_stops_when_asked_after_a_whole_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("t.jsonl");
    let shutdown = Shutdown::default();
    shutdown.ask();
    let args = parse(&format!("{SMALL} --out {}", out.display())).expect("arguments");
    let summary = simulate::run_until(&args, &shutdown).expect("written");
    assert_eq!(summary.ending, Ending::Interrupted);
    assert_eq!(line_count(&out), summary.transactions);
    assert!(summary.transactions < 300, "{summary:?}");
}

#[test]
fn what_cannot_be_is_refused() {
    let wrong = simulate("--customers 0 --label-share 2").expect_err("no world").to_string();
    assert!(wrong.contains("customers = 0") && wrong.contains("label share = 2"), "{wrong}");
    assert!(matches!(simulate("--truth"), Err(Error::TruthInJson)));
    assert!(matches!(simulate("--out x --labels x"), Err(Error::SamePlace { .. })));
    assert!(matches!(simulate("--labels -"), Err(Error::SamePlace { .. })));
    assert!(matches!(simulate("--days 1 --out /nowhere/at/all"), Err(Error::Create { .. })));
    if Path::new("/dev/full").exists() {
        assert!(matches!(simulate("--days 2 --customers 100 --out /dev/full"), Err(Error::Write { .. })));
    }
    let lines = [
        "--start soon",
        "--currency euro",
        "--label-delay 7",
        "--drift amount.scale=2",
        "--rate rain=2",
        "--without cards",
        "--high-amount none",
    ];
    for line in lines {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn arguments_reach_the_options() {
    let args = parse(
        "--handbook --customers 9 --terminals 8 --radius 7 --days 6 --start 2018-04-01 --currency CHF \
         --high-amount off --rate card_testing=5 --label-share 0.4 --label-delay 3d --label-jitter 2h \
         --out-of-order 0.1 --displacement 2m --late 0.2 --lateness 1d --duplicates 0.3 --drift fraud.scale=2@1d",
    );
    let expected = Options {
        customers: 9,
        terminals: 8,
        radius: 7.0,
        days: 6,
        start: Timestamp::parse("2018-04-01T00:00:00Z").expect("an instant"),
        currency: Currency::parse("CHF").expect("a currency"),
        high_amount: None,
        rates: Rates { card_testing: 5.0, ..Options::handbook().rates },
        details: Details::NONE,
        labels: Labels { share: 0.4, delay: Span::from_days(3), jitter_max: Span::from_seconds(7_200) },
        disorder: Disorder {
            out_of_order_share: 0.1,
            displacement_max: Span::from_seconds(120),
            late_share: 0.2,
            lateness_max: Span::from_days(1),
            duplicate_share: 0.3,
        },
        drifts: vec![Drift::parse("fraud.scale=2@1d").expect("a drift")],
    };
    assert_eq!(args.expect("arguments").options(), expected);
    let fewer = parse("--without card,device").expect("arguments").options();
    assert_eq!(fewer.details, Details::ALL.without(Detail::Card).without(Detail::Device));
    assert_eq!(parse("").expect("arguments").options(), Options::default());
}
