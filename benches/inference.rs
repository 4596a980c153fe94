//! What a score costs: the session's run alone, the same through queue, thread, answer and deadline, and its guard.

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use fraudd::healing::breaker::Options;
use fraudd::healing::model::ModelRef;
use fraudd::runtime::clock::{Clock, Moment};
use fraudd::runtime::guard::{Admitted, Guard};
use fraudd::runtime::inference::{Course, Inference, InferenceOptions, OutputChoice, Reached, Session};
use fraudd::runtime::release::golden;
use fraudd::runtime::release::manifest::Tolerance;

const NAMES: [&str; 4] = ["amount", "hour", "is_weekend", "is_night"];

fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/models").join(name);
    std::fs::read(path).expect("a small model")
}

fn open(name: &str) -> Session {
    let output = OutputChoice { name: "probabilities".to_owned(), column: 1 };
    Session::open(&read(name), &NAMES, &output).expect("served; run scripts/fetch-onnxruntime first")
}

fn rows() -> Vec<Vec<f64>> {
    let text = String::from_utf8(read("golden_xgboost.jsonl")).expect("text");
    golden::parse(&text, NAMES.len()).expect("rows").into_iter().map(|golden| golden.row).collect()
}

fn run_alone(criterion: &mut Criterion) {
    let rows = rows();
    for (label, name) in [("xgboost", "xgboost_tensor.onnx"), ("logistic", "logistic_tensor.onnx")] {
        let mut session = open(name);
        let (mut scores, mut turn) = (Vec::with_capacity(1), rows.iter().cycle());
        criterion.bench_function(&format!("inference/{label}/run, one row"), |bencher| {
            bencher.iter(|| {
                scores.clear();
                session.run(turn.next().expect("a cycle"), &mut scores).expect("a run");
                black_box(scores[0])
            });
        });
        let cells: Vec<f64> = rows.iter().take(64).flatten().copied().collect();
        criterion.bench_function(&format!("inference/{label}/run, 64 rows"), |bencher| {
            bencher.iter(|| {
                scores.clear();
                session.run(&cells, &mut scores).expect("a run");
                black_box(scores[63])
            });
        });
    }
}

fn whole_call(criterion: &mut Criterion) {
    let rows = rows();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().expect("a runtime");
    let inference =
        Inference::with_sessions(vec![open("xgboost_tensor.onnx")], InferenceOptions::default()).expect("started");
    let mut turn = rows.iter().cycle();
    criterion.bench_function("inference/xgboost/call, one row", |bencher| {
        bencher.iter(|| {
            let deadline = Moment::now().after(Duration::from_secs(1));
            let asked = inference.score(turn.next().expect("a cycle"), deadline);
            black_box(runtime.block_on(asked).expect("a score"))
        });
    });
    criterion.bench_function("inference/xgboost/64 calls at once, divide by 64", |bencher| {
        bencher.iter(|| {
            let deadline = Moment::now().after(Duration::from_secs(1));
            let asked: Vec<_> = turn.by_ref().take(64).map(|row| inference.score(row, deadline)).collect();
            runtime.block_on(async {
                for asked in asked {
                    black_box(asked.await.expect("a score"));
                }
            });
        });
    });
}

fn guarded(criterion: &mut Criterion) {
    let model = ModelRef { name: "bench".to_owned(), version: "1".to_owned(), sha256: String::new() };
    let guard = Guard::new(model, Options::default(), Clock::system(), (&[], Tolerance::DEFAULT));
    let course = Course { reached: Reached::Answer, queued_us: 5, ran_us: 20 };
    criterion.bench_function("guard/closed, one call", |bencher| {
        bencher.iter(|| {
            let Admitted::Call(permit) = guard.admit() else { panic!("it is closed") };
            permit.settle_scored(None, black_box(course), guard.slow_after_us());
        });
    });
}

criterion_group!(benches, run_alone, whole_call, guarded);
criterion_main!(benches);
