//! The threads of one engine: started, watched, written off and replaced.
//!
//! ```text
//! watch ──┬─ a run is over its due time by `hang_after` ──> written off; a new session on a new thread
//!         └─ a thread died of a panic ───────────────────> a new session on a new thread, within a budget
//! ```
//! A run cannot be interrupted safely, so a thread that hangs keeps its session until the process ends, and ends by
//! itself should its run ever return. How many of those a process may hold is not decided here.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

use super::beat::Beat;
use super::course::{Course, Reached};
use super::engine::Counters;
use super::queue::Queue;
use super::session::{self, Session};
use super::worker::Worker;
use crate::runtime::clock::Moment;
use crate::tasks;
use crate::tasks::faults::Seam;
use crate::telemetry::guard::{ThreadDied, ThreadHung, ThreadNotReplaced};

/// Threads that died of a panic and are replaced, in the life of an engine.
const DEATHS_MAX: u64 = 10;
/// How long dropping an engine waits for a run in progress before it lets its thread go.
const JOIN_WAIT_MAX: Duration = Duration::from_secs(5);

/// Opens one more session of the same model.
pub(super) type Opener = Box<dyn Fn() -> Result<Session, session::Error> + Send + Sync>;

/// What a look at the threads found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Threads that were written off just now.
    pub hung: u64,
    /// Threads that had died and were found just now.
    pub died: u64,
    /// Threads written off since the engine began.
    pub hung_total: u64,
}

/// The threads of one engine.
pub(super) struct Crew {
    pub(super) queue: Queue,
    pub(super) counters: Counters,
    pub(super) began: Moment,
    pub(super) batch_len_max: usize,
    hang_after: Duration,
    seam: Option<Seam>,
    opener: Option<Opener>,
    seats: Mutex<Seats>,
}

/// How threads are treated.
pub(super) struct Terms {
    pub(super) batch_len_max: usize,
    pub(super) hang_after: Duration,
    pub(super) seam: Option<Seam>,
    pub(super) opener: Option<Opener>,
}

#[derive(Default)]
struct Seats {
    taken: Vec<Seat>,
    /// How many there should be.
    wanted: usize,
    hung_total: u64,
    died_total: u64,
}

struct Seat {
    beat: Arc<Beat>,
    thread: JoinHandle<()>,
}

impl Crew {
    pub(super) fn new(queue: Queue, terms: Terms) -> Self {
        let Terms { batch_len_max, hang_after, seam, opener } = terms;
        let (counters, seats, began) = (Counters::default(), Mutex::default(), Moment::now());
        Self { queue, counters, began, batch_len_max, hang_after, seam, opener, seats }
    }

    /// Starts one more thread on a session, for good.
    pub(super) fn begin(self: &Arc<Self>, session: Session) -> io::Result<()> {
        self.seats.lock().wanted += 1;
        self.start(session)
    }

    fn start(self: &Arc<Self>, session: Session) -> io::Result<()> {
        let beat = Arc::new(Beat::default());
        let (crew, own) = (Arc::clone(self), Arc::clone(&beat));
        self.queue.join();
        let worker = Worker { session, crew, beat: own, seam: self.seam.clone() };
        match tasks::thread("inference", move || worker.work()) {
            Ok(thread) => {
                self.seats.lock().taken.push(Seat { beat, thread });
                Ok(())
            }
            Err(error) => {
                self.queue.leave();
                Err(error)
            }
        }
    }

    /// Returns microseconds since the engine began.
    pub(super) fn micros(&self, moment: Moment) -> u64 {
        moment.micros_after(self.began)
    }

    /// Tells how far a call came that was not answered in time, and how long the run took that it is in, or that
    /// it waited behind: while it stands in line, the least that any thread was with one run. With no thread at all
    /// that is as long as it waited.
    pub(super) fn course_of(&self, job: u64, asked_at: Moment) -> Course {
        let now = Moment::now();
        let (now_us, asked_us) = (self.micros(now), self.micros(asked_at));
        let narrow = |micros: u64| u32::try_from(micros).unwrap_or(u32::MAX);
        let queued_us = now.micros_since(asked_at);
        let mut behind_us = None;
        for seat in &self.seats.lock().taken {
            let before_us = seat.beat.ran_until(asked_us);
            let run = seat.beat.run(now_us);
            let ran_us = run.map_or(0, |run| run.age_us).max(before_us);
            if let Some(run) = run.filter(|run| run.has(job)) {
                let queued_us = queued_us.saturating_sub(narrow(run.age_us));
                return Course { reached: Reached::Run, queued_us, ran_us: narrow(ran_us) };
            }
            behind_us = Some(behind_us.map_or(ran_us, |least: u64| least.min(ran_us)));
        }
        Course { reached: Reached::Line, queued_us, ran_us: narrow(behind_us.unwrap_or(queued_us.into())) }
    }

    /// Writes off threads that hang and replaces them and those that died. Opens sessions: takes its time.
    pub(super) fn watch(self: &Arc<Self>) -> Watched {
        let (mut watched, missing) = self.look();
        for _ in 0..missing {
            let Some(opener) = &self.opener else { break };
            let started = opener().map_err(|error| error.to_string());
            let started = started.and_then(|session| self.start(session).map_err(|error| error.to_string()));
            if let Err(reason) = started {
                ThreadNotReplaced { reason: &reason }.emit();
            }
        }
        watched.hung_total = self.seats.lock().hung_total;
        watched
    }

    /// Puts a new thread with a new session in the place of each; the old ones end with their run. When a session
    /// cannot be opened nothing is changed.
    pub(super) fn replace_all(self: &Arc<Self>) -> Result<usize, String> {
        let Some(opener) = &self.opener else { return Err("its sessions were handed in".to_owned()) };
        let wanted = self.seats.lock().wanted;
        let sessions: Result<Vec<Session>, session::Error> = (0..wanted).map(|_| opener()).collect();
        let sessions = sessions.map_err(|error| error.to_string())?;
        let old = std::mem::take(&mut self.seats.lock().taken);
        for session in sessions {
            self.start(session).map_err(|error| error.to_string())?;
        }
        for seat in old {
            if seat.beat.write_off() {
                self.queue.leave();
            }
        }
        self.queue.rouse_all();
        Ok(wanted)
    }

    /// Finds threads that hang or died and takes them off their seats; tells how many must be replaced.
    fn look(&self) -> (Watched, usize) {
        let now_us = self.micros(Moment::now());
        let patience_us = u64::try_from(self.hang_after.as_micros()).unwrap_or(u64::MAX);
        let mut watched = Watched::default();
        if self.queue.is_closed() {
            return (watched, 0);
        }
        let mut seats = self.seats.lock();
        for seat in std::mem::take(&mut seats.taken) {
            let run = seat.beat.run(now_us);
            let hangs = run.is_some_and(|run| now_us > run.due_us.saturating_add(patience_us));
            if hangs && seat.beat.write_off() {
                self.queue.leave();
                watched.hung += 1;
                ThreadHung { ran: Duration::from_micros(run.map_or(0, |run| run.age_us)) }.emit();
            } else if seat.thread.is_finished() {
                watched.died += 1;
                seats.died_total += 1;
                let replaced = seats.died_total <= DEATHS_MAX;
                seats.wanted = seats.wanted.saturating_sub(usize::from(!replaced));
                ThreadDied { replaced }.emit();
            } else {
                seats.taken.push(seat);
            }
        }
        seats.hung_total += watched.hung;
        // Those that could not be replaced before are tried again.
        (watched, seats.wanted.saturating_sub(seats.taken.len()))
    }

    /// Counts rows that nobody waits for any more.
    pub(super) fn count_late(&self, rows: usize) {
        self.counters.late.fetch_add(rows as u64, Relaxed);
    }

    /// Returns how many threads there are.
    pub(super) fn len(&self) -> usize {
        self.seats.lock().taken.len()
    }

    /// Lets the threads finish what waits and joins them; one whose run does not end is left alone.
    pub(super) fn close(&self) {
        self.queue.close();
        if !self.queue.wait_until_left(JOIN_WAIT_MAX) {
            // A run cannot be interrupted safely: its thread ends by itself when the run does.
            tracing::warn!(wait_s = JOIN_WAIT_MAX.as_secs(), "an inference run does not end: its thread is left alone");
            return;
        }
        let seats = std::mem::take(&mut self.seats.lock().taken);
        for seat in seats {
            let _panicked = seat.thread.join();
        }
    }
}
