//! A webhook against a small receiver on loopback: what is sent, tried again, given up.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpListener;

use super::*;

/// What a receiver got: the signature and the body.
type Got = (Option<String>, Value);

/// Answers each request with the next of the statuses, then closes; hands on what it got.
fn receiver(statuses: &'static [u16]) -> (String, Receiver<Got>, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hooks?token=secret", listener.local_addr().expect("an address"));
    let (sender, got) = sync_channel(64);
    let thread = tasks::thread("receiver", move || {
        for status in statuses {
            let (stream, _) = listener.accept().expect("a caller");
            let mut reader = BufReader::new(stream);
            let (mut signed, mut length, mut line) = (None, 0, String::new());
            while reader.read_line(&mut line).expect("a line") > 2 {
                let (name, value) = line.trim().split_once(": ").unwrap_or_default();
                match name.to_ascii_lowercase().as_str() {
                    "x-fraudd-signature" => signed = Some(value.to_owned()),
                    "content-length" => length = value.parse().expect("a length"),
                    "content-type" => assert!(value.starts_with("application/cloudevents+json"), "{value}"),
                    _ => {}
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a body");
            if let Some(signed) = &signed {
                assert_eq!(*signed, signature("hush", &body), "the body is signed as it is");
            }
            sender.send((signed, serde_json::from_slice(&body).expect("JSON"))).expect("heard");
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            reader.get_mut().write_all(answer.as_bytes()).expect("answered");
        }
    });
    (url, got, thread.expect("a thread"))
}

fn options(url: String) -> Options {
    let timeout = Duration::from_secs(20);
    Options { url, secret: Some("hush".into()), timeout, source: "fraudd/test".into() }
}

fn event(id: &str) -> Event {
    Event {
        id: id.into(),
        kind: "fraudd.retraining.requested.v1",
        subject: "card-fraud/1".into(),
        time: Timestamp::from_seconds(1_772_359_200),
        data: json!({"reason": "drift"}),
    }
}

#[test]
fn an_event_is_sent_signed_and_tried_again() {
    let (url, got, thread) = receiver(&[503, 429, 200, 404, 204]);
    let webhook = Webhook::start_with(options(url), Duration::from_millis(1)).expect("a thread");
    for id in ["a", "b", "c"] {
        webhook.send(&event(id)).expect("queued");
    }
    webhook.inner.queue.lock().take();
    let all: Vec<Got> = got.iter().collect();
    thread.join().expect("ended");
    let ids: Vec<_> = all.iter().map(|(_, body)| body["id"].as_str().expect("an id")).collect();
    assert_eq!(ids, ["a", "a", "a", "b", "c"], "a until it is taken, b never, c after it");
    let (signed, body) = &all[0];
    assert!(signed.as_ref().is_some_and(|signed| signed.len() == 7 + 64), "{signed:?}");
    let expected = json!({
        "specversion": "1.0", "id": "a", "source": "fraudd/test", "type": "fraudd.retraining.requested.v1",
        "subject": "card-fraud/1", "time": "2026-03-01T10:00:00Z", "datacontenttype": "application/json",
        "data": {"reason": "drift"},
    });
    assert_eq!(*body, expected);
    webhook.close();
}

#[test]
fn a_dead_receiver_costs_a_bounded_number_of_tries() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let (_stop, stopped) = sync_channel(1);
    let client = Client::builder().no_proxy().build().ok();
    let mut caller = Caller {
        client,
        options: options(format!("http://{closed}/")),
        stopped,
        pause: Duration::from_nanos(1),
        budget: BUDGET_MAX,
    };
    caller.deliver("a", b"{}");
    assert!((caller.budget - (BUDGET_MAX - f64::from(TRIES_MAX - 1))).abs() < 1e-9, "{}", caller.budget);
    for _ in 0..50 {
        caller.deliver("b", b"{}");
    }
    assert!((0.0..1.0).contains(&caller.budget), "the budget is used, and then each event has one try");
}

#[test]
fn the_queue_is_bounded_and_closing_waits_for_no_pause() {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    // The first pause would be an hour.
    let webhook = Webhook::start_with(options(format!("http://{closed}/")), Duration::from_hours(1)).expect("a thread");
    let sent = (0..QUEUE_LEN_MAX * 3).map(|number| webhook.send(&event(&number.to_string())));
    let refused = sent.filter(|sent| *sent == Err(Refused::Full)).count();
    assert!((QUEUE_LEN_MAX..QUEUE_LEN_MAX * 2 + 1).contains(&refused), "{refused}");
    let long = Event { data: json!("x".repeat(BODY_LEN_MAX)), ..event("long") };
    assert_eq!(webhook.send(&long), Err(Refused::TooLong));
    webhook.close();
    webhook.close();
    assert_eq!(webhook.send(&event("late")), Err(Refused::Closed));
}

#[test]
fn a_signature_is_hmac_sha256() {
    // RFC 4231, test case 2.
    let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(signature("Jefe", b"what do ya want for nothing?"), expected);
}

#[test]
fn secrets_are_not_shown_and_wrong_urls_are_said() {
    let shown = format!("{:?}", options("http://h:9095/T0/token?key=k".into()));
    assert!(!shown.contains("hush") && shown.contains("***"), "{shown}");
    assert!(shown.contains("http://h:9095/") && !shown.contains("T0"), "{shown}");
    assert_eq!(url_fault("http://127.0.0.1:9095/x"), None);
    assert!(url_fault("https://hooks.example/").is_some_and(|fault| fault.contains("forwarder")));
    for wrong in ["", "ftp://x/", "127.0.0.1:9095", "http://"] {
        assert!(url_fault(wrong).is_some(), "{wrong}");
    }
}
