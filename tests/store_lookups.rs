//! Many decisions on disk asked for again, over several connections: each found, by a fixed number of threads.

use std::fmt::Write;
use std::fs;

use service::{Service, transaction};

#[expect(dead_code, reason = "other suites use the rest")]
mod service;

const BATCHES: u64 = 6;
const BATCH_LEN: u64 = 500;
/// Threads that may come for other reasons, such as a look at changed files.
const OTHERS_MAX: usize = 4;

fn batch(number: u64) -> String {
    let mut body = String::from("{\"transactions\":[");
    for place in 0..BATCH_LEN {
        let comma = if place == 0 { "" } else { "," };
        let _ = write!(body, "{comma}{}", transaction(number * BATCH_LEN + place));
    }
    body + "]}"
}

/// Asks for every batch at the same time and returns how often `status` was told.
fn ask(service: &Service, status: &str) -> usize {
    let told = |number| {
        let (_, answer) = service.post("/v1/decisions:batch", &batch(number)).expect("an answer");
        let results = answer["results"].as_array().expect("results");
        results.iter().filter(|result| result["decision"]["evaluation_status"] == status).count()
    };
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..BATCHES).map(|number| scope.spawn(move || told(number))).collect();
        asking.into_iter().map(|asked| asked.join().expect("answered")).sum()
    })
}

/// Names the threads of the only service that this process has started.
fn threads() -> Vec<String> {
    let is_ours = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let (name, fields) = stat.rsplit_once(") ").unwrap_or_default();
        name.ends_with("(fraudd") && fields.split(' ').nth(1) == Some(&std::process::id().to_string())
    };
    let processes = fs::read_dir("/proc").expect("a directory").flatten();
    let mut ours = processes.filter_map(|entry| entry.file_name().into_string().ok()).filter(|pid| is_ours(pid));
    let pid = ours.next().expect("a service");
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("threads").flatten();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default().trim().to_owned();
    tasks.map(name).collect()
}

#[test]
fn cold_look_ups_are_read_by_four_threads_however_many_wait() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [("FRAUDD__LEDGER__MEMORY_MAX", "1MiB"), ("FRAUDD__LIMITS__DEADLINE", "60s")];
    let service = Service::start(directory.path(), &settings);
    service.wait_until_ready();
    let all = usize::try_from(BATCHES * BATCH_LEN).expect("few");
    assert_eq!(ask(&service, "new"), all);
    let before = threads();
    assert_eq!(before.iter().filter(|name| *name == "fraudd-reader").count(), 4, "{before:?}");
    for _ in 0..3 {
        assert_eq!(ask(&service, "duplicate"), all);
        let after = threads();
        assert!(after.len() <= before.len() + OTHERS_MAX, "{before:?} became {after:?}");
    }
    assert!(service.stop());
}
