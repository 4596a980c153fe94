//! The payments of the demonstration: the simulated world's, in its order, at a steady rate, over HTTP like anybody's;
//! every answer is looked at. What is wrong with them is put in here, where a real pipeline would break.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use crate::runtime::clock::Moment;
use crate::simulator::text::json as text;
use crate::simulator::{Event, Simulation};
use crate::tasks::{self, OnExit, Shutdown};

/// Requests in flight at most.
const CLIENTS: usize = 24;
/// The longest a client waits: past it a request counts as failed.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often payments are sent.
const BEAT: Duration = Duration::from_millis(20);
/// Labels of one call.
const LABELS_MAX: usize = 500;

/// What is wrong with the payments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Twist {
    /// Nothing.
    #[default]
    None,
    /// A field is lost on the way.
    NoTerminal,
    /// Every amount is so many percent of what it was.
    Amounts(i64),
    /// Beside them stolen cards are tried, many on a device, all at one merchant.
    CardTesting,
}

/// What came of the requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) failed: u64,
    /// Decisions by their source.
    pub(super) sources: BTreeMap<String, u64>,
    /// Decisions by their outcome.
    pub(super) outcomes: BTreeMap<String, u64>,
    /// What was wrong with the first that failed.
    pub(super) failure: Option<String>,
    /// The longest wait for an answer, in milliseconds.
    pub(super) longest_ms: u64,
}

impl Tally {
    /// Returns what came since an earlier one.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let less = |now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>| {
            let rest = now.iter().map(|(name, count)| (name.clone(), count - then.get(name).copied().unwrap_or(0)));
            rest.filter(|(_, count)| *count > 0).collect()
        };
        Self {
            sent: self.sent - earlier.sent,
            failed: self.failed - earlier.failed,
            sources: less(&self.sources, &earlier.sources),
            outcomes: less(&self.outcomes, &earlier.outcomes),
            failure: self.failure.clone(),
            longest_ms: self.longest_ms,
        }
    }

    /// Returns how many decisions came from the model, and how many from anything else.
    pub(super) fn by(&self) -> (u64, u64) {
        let model = self.sources.get("model").copied().unwrap_or(0);
        (model, self.sources.values().sum::<u64>() - model)
    }
}

/// The stream while it runs. Cheap to clone.
#[derive(Clone)]
pub(super) struct Traffic {
    tally: Arc<Mutex<Tally>>,
    twist: Arc<Mutex<Twist>>,
    stop: Shutdown,
}

/// One call.
struct Call {
    path: &'static str,
    body: String,
    /// Payments in it; labels have none.
    payments: u64,
}

impl Traffic {
    /// Begins to send to a base address, so many payments a second.
    pub(super) fn start(base: &str, life: Simulation, rate: u32) -> anyhow::Result<(Self, Vec<JoinHandle<()>>)> {
        let client = reqwest::Client::builder().timeout(PATIENCE).pool_max_idle_per_host(CLIENTS).build()?;
        let traffic = Self { tally: Arc::default(), twist: Arc::default(), stop: Shutdown::default() };
        let (calls, queue) = channel(CLIENTS);
        let queue = Arc::new(tokio::sync::Mutex::new(queue));
        let mut tasks = Vec::with_capacity(CLIENTS + 1);
        for _ in 0..CLIENTS {
            let (client, base, queue) = (client.clone(), base.to_owned(), Arc::clone(&queue));
            let tally = Arc::clone(&traffic.tally);
            tasks.push(tasks::spawn("demo-client", OnExit::Finish, traffic.stop.clone(), move || {
                send_all(client.clone(), base.clone(), Arc::clone(&queue), Arc::clone(&tally))
            }));
        }
        let stream = Mutex::new(Some(Stream::new(life, rate, traffic.clone(), calls)));
        tasks.push(tasks::spawn("demo-stream", OnExit::Finish, traffic.stop.clone(), move || {
            let stream = stream.lock().take();
            async move {
                if let Some(stream) = stream {
                    stream.run().await;
                }
            }
        }));
        Ok((traffic, tasks))
    }

    /// Breaks the payments, or mends them.
    pub(super) fn twist(&self, twist: Twist) {
        *self.twist.lock() = twist;
    }

    /// Returns what came of them so far.
    pub(super) fn tally(&self) -> Tally {
        self.tally.lock().clone()
    }

    /// The same, and the longest wait counts from now on.
    pub(super) fn mark(&self) -> Tally {
        let mut tally = self.tally.lock();
        tally.longest_ms = 0;
        tally.clone()
    }

    /// Ends the stream; what is in flight is answered.
    pub(super) fn stop(&self) {
        self.stop.ask();
    }
}

/// The world's events on their way to the clients.
struct Stream {
    life: Simulation,
    rate: u32,
    traffic: Traffic,
    calls: Sender<Call>,
    labels: Vec<Value>,
    strangers: u64,
}

impl Stream {
    fn new(life: Simulation, rate: u32, traffic: Traffic, calls: Sender<Call>) -> Self {
        Self { life, rate, traffic, calls, labels: Vec::new(), strangers: 0 }
    }

    /// Sends what is due every beat. A service that is slower than the rate slows the stream, never drops of it.
    async fn run(mut self) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut due = 0.0;
        while !self.traffic.stop.is_asked() {
            beat.tick().await;
            due += f64::from(self.rate) * BEAT.as_secs_f64();
            while due >= 1.0 {
                due -= 1.0;
                if !self.send_next().await {
                    return;
                }
            }
        }
    }

    /// Sends the next payment and the labels before it; false at the end.
    async fn send_next(&mut self) -> bool {
        while let Some(event) = self.life.next() {
            let mut body = String::new();
            match event {
                Event::Label(label) => {
                    text::label(&label, &mut body);
                    self.labels.extend(serde_json::from_str::<Value>(&body).ok());
                    if self.labels.len() >= LABELS_MAX {
                        let labels = json!({"labels": std::mem::take(&mut self.labels)}).to_string();
                        let call = Call { path: "/v1/labels", body: labels, payments: 0 };
                        return self.calls.send(call).await.is_ok();
                    }
                }
                Event::Transaction(transaction, _) => {
                    text::transaction(&transaction, &mut body);
                    return self.send_payment(body).await;
                }
            }
        }
        false
    }

    async fn send_payment(&mut self, body: String) -> bool {
        let twist = *self.traffic.twist.lock();
        let Ok(mut payment) = serde_json::from_str::<Value>(&body) else { return false };
        match twist {
            Twist::None => {}
            Twist::NoTerminal => {
                payment["merchant"].as_object_mut().map(|members| members.remove("terminal_id"));
            }
            Twist::Amounts(percent) => {
                let amount = payment["amount"].as_i64().unwrap_or_default();
                payment["amount"] = json!(amount * percent / 100);
            }
            Twist::CardTesting => {
                let stranger = self.stranger(&payment);
                if !self.call(stranger.to_string()).await {
                    return false;
                }
            }
        }
        self.call(payment.to_string()).await
    }

    async fn call(&self, body: String) -> bool {
        self.calls.send(Call { path: "/v1/decisions", body, payments: 1 }).await.is_ok()
    }

    /// A payment with a stolen card at the same time: one merchant, another card each, a new device
    /// now and then.
    fn stranger(&mut self, like: &Value) -> Value {
        self.strangers += 1;
        let number = self.strangers;
        let mut payment = like.clone();
        payment["transaction_id"] = json!(format!("stranger-{number}"));
        payment["amount"] = json!(50 + number % 250);
        payment["customer_id"] = json!(format!("stranger-{}", number % 50_000));
        payment["card"]["token"] = json!(format!("tok_stolen_{number}"));
        payment["device"] = json!({"id": format!("dev-stranger-{}", number / 30)});
        payment["merchant"]["id"] = json!("m-tested");
        payment["merchant"]["terminal_id"] = json!("t-tested");
        payment["channel"] = json!("ecommerce");
        payment
    }
}

async fn send_all(
    client: reqwest::Client,
    base: String,
    queue: Arc<tokio::sync::Mutex<Receiver<Call>>>,
    tally: Arc<Mutex<Tally>>,
) {
    loop {
        let Some(call) = queue.lock().await.recv().await else { return };
        let began = Moment::now();
        let answered = answer(&client, &base, &call).await;
        let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut tally = tally.lock();
        tally.sent += call.payments;
        match answered {
            Ok(Some((source, outcome))) => {
                *tally.sources.entry(source).or_default() += 1;
                *tally.outcomes.entry(outcome).or_default() += 1;
                tally.longest_ms = tally.longest_ms.max(took);
            }
            Ok(None) => {}
            Err(failure) => {
                tally.failed += 1;
                tally.failure.get_or_insert(failure);
            }
        }
    }
}

/// Sends a call; gives source and outcome of a decision, nothing for labels.
async fn answer(client: &reqwest::Client, base: &str, call: &Call) -> Result<Option<(String, String)>, String> {
    let request = client.post(format!("{base}{}", call.path)).header("content-type", "application/json");
    let answer = request.body(call.body.clone()).send().await.map_err(|error| format!("{}: {error}", call.path))?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(|error| error.to_string())?;
    if !status.is_success() {
        return Err(format!("{} answered {status}: {}", call.path, String::from_utf8_lossy(&body)));
    }
    if call.payments == 0 {
        return Ok(None);
    }
    let decision: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    match (decision["decision_source"].as_str(), decision["outcome"].as_str()) {
        (Some(source), Some(outcome)) => Ok(Some((source.to_owned(), outcome.to_owned()))),
        _ => Err(format!("an answer without a decision: {decision}")),
    }
}
