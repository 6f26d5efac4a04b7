//! The adaptive limit on concurrent transactions.
//!
//! The number in flight is doubled, up to a limit, while that increases the rate. Then it stays at
//! the best value, and is tested again from time to time, because the load of the server may have
//! changed.

use std::time::{Duration, Instant};

/// Number of transactions between two measurements of the rate.
const WINDOW_TXNS: u32 = 48;
/// Number of windows after which a settled limit is tested again.
const SETTLED_WINDOWS: u32 = 40;
/// Factor by which the rate must grow for a higher number in flight to be kept.
const WORTH_IT: f64 = 1.05;

/// Hill climbing over the number in flight.
#[derive(Debug)]
pub(crate) struct ConcurrencyLimit {
    limit: usize,
    in_flight: usize,
    state: State,
    completed: u32,
    since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// The previous number in flight and its transactions per second.
    Climbing(usize, f64),
    Settled(u32),
}

impl ConcurrencyLimit {
    /// Starts with `first` in flight and never allows more than `limit`.
    pub(crate) fn new(first: usize, limit: usize, now: Instant) -> Self {
        let limit = limit.max(1);
        Self {
            limit,
            in_flight: first.clamp(1, limit),
            state: State::Climbing(1, 0.0),
            completed: 0,
            since: now,
        }
    }

    /// Returns how many transactions may be in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Counts a completed transaction.
    pub(crate) fn completed(&mut self, now: Instant) {
        self.completed += 1;
        if self.completed == WINDOW_TXNS {
            let taken = now
                .saturating_duration_since(self.since)
                .max(Duration::from_micros(1));
            self.window(f64::from(self.completed) / taken.as_secs_f64());
            self.completed = 0;
            self.since = now;
        }
    }

    fn window(&mut self, rate: f64) {
        match self.state {
            State::Climbing(_, before) if rate > before * WORTH_IT => {
                self.state = if self.in_flight == self.limit {
                    State::Settled(0)
                } else {
                    State::Climbing(self.in_flight, rate)
                };
                self.in_flight = (self.in_flight * 2).min(self.limit);
            }
            State::Climbing(before, _) => {
                self.in_flight = before;
                self.state = State::Settled(0);
            }
            State::Settled(SETTLED_WINDOWS..) => {
                // Restart below the current number: the best one may be smaller now.
                self.in_flight = (self.in_flight / 2).max(1);
                self.state = State::Climbing(self.in_flight, 0.0);
            }
            State::Settled(windows) => self.state = State::Settled(windows + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulates a server whose `rate` maps the number in flight to transactions per second.
    fn settle(limit: usize, rate: impl Fn(usize) -> f64, windows: usize) -> ConcurrencyLimit {
        let mut now = Instant::now();
        let mut concurrency = ConcurrencyLimit::new(4, limit, now);
        for _ in 0..windows * WINDOW_TXNS as usize {
            now += Duration::from_secs_f64(1.0 / rate(concurrency.in_flight()));
            concurrency.completed(now);
        }
        concurrency
    }

    #[test]
    fn limit_settles_at_the_best_rate() {
        let rate = |in_flight: usize| 100.0 * in_flight.min(4) as f64;
        assert_eq!(settle(16, rate, 10).in_flight(), 4);
    }

    #[test]
    fn limit_never_exceeds_the_maximum() {
        for limit in 1..7 {
            assert_eq!(
                settle(limit, |in_flight| in_flight as f64, 10).in_flight(),
                limit
            );
        }
    }

    #[test]
    fn limit_falls_when_the_server_gets_busier() {
        let mut concurrency = settle(16, |in_flight| in_flight as f64, 10);
        assert_eq!(concurrency.in_flight(), 16);
        for _ in 0..1_000 {
            let rate = if concurrency.in_flight() > 2 {
                5.0
            } else {
                10.0
            };
            concurrency.window(rate);
        }
        assert!(concurrency.in_flight() <= 4, "{}", concurrency.in_flight());
    }
}
