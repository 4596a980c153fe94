//! How much explaining we can afford: a CPU budget per second for contributions.
//!
//! A token bucket in microseconds: it fills with time up to one second's worth; an explanation is
//! refused when its estimated cost is not in it, and the estimate follows what explanations really cost.

use parking_lot::Mutex;

use super::clock::Moment;

/// How contributions are paid for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// CPU time for contributions in milliseconds per second, 0 (never) ..=1000.
    pub cpu_ms_per_second: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { cpu_ms_per_second: 20 }
    }
}

/// The budget. Shared by reference.
pub struct Budget {
    micros_per_second: f64,
    state: Mutex<State>,
}

struct State {
    micros: f64,
    filled_at: Moment,
    /// Exponentially weighted mean cost of one row.
    row_micros: f64,
}

impl Budget {
    /// Starts with a full second's worth.
    #[must_use]
    pub fn new(options: &Options, now: Moment) -> Self {
        let micros_per_second = f64::from(options.cpu_ms_per_second.min(1_000)) * 1_000.0;
        let state = State { micros: micros_per_second, filled_at: now, row_micros: 10.0 };
        Self { micros_per_second, state: Mutex::new(state) }
    }

    /// Takes the estimated cost of scoring `rows` rows out of the budget, if it is there.
    #[must_use]
    pub fn take(&self, rows: usize, now: Moment) -> Option<Spending> {
        let mut state = self.state.lock();
        let elapsed = f64::from(now.micros_since(state.filled_at)) / 1e6;
        state.micros = (state.micros + elapsed * self.micros_per_second).min(self.micros_per_second);
        state.filled_at = now;
        let estimate = state.row_micros * rows as f64;
        if state.micros < estimate {
            return None;
        }
        state.micros -= estimate;
        Some(Spending { rows, estimate })
    }

    /// Settles what the explanation really cost, in microseconds.
    pub fn settle(&self, spending: &Spending, cost_micros: u32) {
        let mut state = self.state.lock();
        let cost = f64::from(cost_micros);
        // Never below minus one second's worth, so that one slow run cannot silence explanations for long.
        state.micros = (state.micros + spending.estimate - cost).max(-self.micros_per_second);
        let per_row = cost / spending.rows.max(1) as f64;
        state.row_micros += 0.1 * (per_row - state.row_micros);
    }
}

/// What was taken out for one explanation.
#[derive(Debug)]
pub struct Spending {
    rows: usize,
    estimate: f64,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_budget_holds_over_a_second() {
        let start = Moment::now();
        let budget = Budget::new(&Options { cpu_ms_per_second: 10 }, start);
        let spent = (0..1_000).filter_map(|_| budget.take(50, start)).count();
        assert_eq!(spent, 20, "10 ms at an estimated 10 µs a row");
        assert!(budget.take(50, start).is_none());
        assert!(budget.take(50, start.after(Duration::from_millis(500))).is_some());
        let never = Budget::new(&Options { cpu_ms_per_second: 0 }, start);
        assert!(never.take(1, start.after(Duration::from_secs(9))).is_none());
    }

    #[test]
    fn the_estimate_follows_the_cost() {
        let start = Moment::now();
        let budget = Budget::new(&Options { cpu_ms_per_second: 1_000 }, start);
        for step in 1..100 {
            let now = start.after(Duration::from_millis(100 * step));
            let spending = budget.take(10, now).expect("affordable");
            budget.settle(&spending, 1_000);
        }
        let row_micros = budget.state.lock().row_micros;
        assert!((99.0..=100.0).contains(&row_micros), "{row_micros}");
    }
}
