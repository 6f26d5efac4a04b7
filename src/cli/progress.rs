//! Shows the progress of a command: bars on a terminal, log lines otherwise.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::confirm;
use super::options::OutputOptions;
use super::output::style::Style;
use super::output::units::count;
use super::output::{self, LogFormat};
use meta_migrate::{CancelToken, Observer};
use meta_report::RestoreReport;
use milvus_meta::transform::PlanReport;

/// Time between two log lines about the progress of a phase.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The end of a shorter phase is logged at debug level.
const WORTH_LOGGING: Duration = Duration::from_secs(1);

/// Returns the progress bars, if standard error is a terminal and the options allow them.
pub(in crate::cli) fn bars(output: &OutputOptions) -> Option<MultiProgress> {
    let is_visible = std::io::stderr().is_terminal() && output.log_format == LogFormat::Text;
    (is_visible && !output.no_progress && !output.quiet).then(MultiProgress::new)
}

/// Shows the progress of one command and asks its questions.
pub(in crate::cli) struct Watch {
    bars: Option<MultiProgress>,
    asks: bool,
    /// Whether every phase is logged at info level, for a log collector.
    logs_phases: bool,
    /// The action and the instance, for prompts.
    action: String,
    stop: CancelToken,
    /// Set when the user saw the plan.
    plan_shown: Arc<AtomicBool>,
    phase: Mutex<Option<Phase>>,
}

struct Phase {
    name: String,
    total: Option<u64>,
    done: u64,
    started: Instant,
    logged: Instant,
    bar: Option<ProgressBar>,
}

impl Phase {
    /// Logs the progress.
    fn log(&mut self) {
        self.logged = Instant::now();
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = Rate::new(self.done, self.total, seconds);
        tracing::info!(
            phase = self.name.as_str(),
            done = self.done,
            total = self.total,
            per_second = rate.per_second,
            seconds_left = rate.seconds_left,
            "in progress"
        );
    }
}

/// The rate of a phase, and the time left at that rate.
#[derive(Debug, PartialEq, Eq)]
struct Rate {
    per_second: u64,
    /// Unknown without a total, and before the first key.
    seconds_left: Option<u64>,
}

impl Rate {
    fn new(done: u64, total: Option<u64>, seconds: f64) -> Self {
        let per_second = done as f64 / seconds.max(0.001);
        let left = total.map(|total| total.saturating_sub(done) as f64 / per_second);
        let left = left.filter(|left| left.is_finite());
        Self {
            per_second: integer(per_second),
            seconds_left: left.map(|left| integer(left.ceil())),
        }
    }
}

/// Drops the fraction of a number that is not negative.
#[expect(clippy::cast_possible_truncation, reason = "the conversion saturates")]
#[expect(clippy::cast_sign_loss, reason = "the conversion saturates")]
fn integer(number: f64) -> u64 {
    number as u64
}

impl Watch {
    pub(in crate::cli) fn new(
        bars: Option<MultiProgress>,
        output: &OutputOptions,
        action: String,
        stop: CancelToken,
        plan_shown: Arc<AtomicBool>,
    ) -> Self {
        Self {
            bars,
            asks: confirm::is_wanted(output),
            logs_phases: output.log_format == LogFormat::Json,
            action,
            stop,
            plan_shown,
            phase: Mutex::new(None),
        }
    }

    /// Returns whether the user confirms, or true if none can be asked; then `question` is not called.
    fn confirm(&self, question: impl FnOnce() -> String) -> bool {
        if !self.asks {
            return true;
        }
        let ask = || confirm::ask(&question(), &self.stop);
        match &self.bars {
            Some(bars) => bars.suspend(ask),
            None => ask(),
        }
    }

    fn phase(&self) -> MutexGuard<'_, Option<Phase>> {
        // A panic in another thread can at worst make the number stale.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watch {
    /// Ends the previous phase.
    fn phase_started(&self, name: &str, total: Option<u64>) {
        self.phase_finished();
        let bars = self.bars.as_ref().filter(|_| total != Some(0));
        let bar = bars.map(|bars| {
            let bar = bars.add(match total {
                Some(total) => ProgressBar::new(total).with_style(bar_style()),
                None => ProgressBar::new_spinner().with_style(spinner_style()),
            });
            bar.set_message(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            tracing::debug!(phase = name, total, "started");
        }
        let now = Instant::now();
        *self.phase() = Some(Phase {
            name: name.to_owned(),
            total,
            done: 0,
            started: now,
            logged: now,
            bar,
        });
    }

    fn advanced(&self, keys: u64) {
        let mut guard = self.phase();
        let Some(phase) = guard.as_mut() else { return };
        phase.done += keys;
        match &phase.bar {
            Some(bar) => bar.inc(keys),
            None if phase.logged.elapsed() >= LINE_EVERY => phase.log(),
            None => {}
        }
    }

    fn phase_finished(&self) {
        let Some(phase) = self.phase().take() else {
            return;
        };
        match phase.bar {
            Some(bar) => bar.finish_and_clear(),
            None => {
                let (name, done) = (phase.name.as_str(), phase.done);
                let seconds = phase.started.elapsed().as_secs_f64();
                if phase.started.elapsed() < WORTH_LOGGING && !self.logs_phases {
                    tracing::debug!(phase = name, done, seconds, "finished");
                } else {
                    tracing::info!(phase = name, done, seconds, "finished");
                }
            }
        }
    }

    fn note(&self, message: &str) {
        tracing::info!("{message}");
    }

    fn confirm_migration(&self, plan: &PlanReport) -> bool {
        self.confirm(|| {
            self.plan_shown.store(true, Ordering::Relaxed);
            let planned = output::plan::Planned::new(plan.clone());
            let plan = output::plan::text(&planned, Style::for_stream(&std::io::stderr()));
            format!("{plan}\n{}?", self.action)
        })
    }

    fn confirm_restore(&self, difference: &RestoreReport) -> bool {
        self.confirm(|| output::outcome::question(difference, &self.action))
    }
}

fn bar_style() -> ProgressStyle {
    let template = "{msg:12} {wide_bar} {human_pos}/{human_len}  {rate}";
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("rate", rate)
}

fn spinner_style() -> ProgressStyle {
    ProgressStyle::with_template("{msg:12} {spinner} {human_pos}  {rate}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .with_key("rate", rate)
}

/// Writes the rate and the time left.
fn rate(state: &ProgressState, to: &mut dyn std::fmt::Write) {
    let rate = Rate::new(state.pos(), state.len(), state.elapsed().as_secs_f64());
    let left = rate.seconds_left.map(|left| format!(", {left} s left"));
    if state.pos() == 0 {
        return;
    }
    // Without a bar the run continues.
    let _ = write!(
        to,
        "{}/s{}",
        count(rate.per_second),
        left.unwrap_or_default()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_determines_the_time_left() {
        for (done, total, seconds, per_second, left) in [
            (500, Some(2_000), 1.0, 500, Some(3)),
            (500, None, 2.0, 250, None),
            (0, Some(10), 1.0, 0, None),
            (10, Some(10), 1.0, 10, Some(0)),
            (12, Some(10), 1.0, 12, Some(0)),
            (0, Some(0), 0.0, 0, None),
        ] {
            let expected = Rate {
                per_second,
                seconds_left: left,
            };
            assert_eq!(
                Rate::new(done, total, seconds),
                expected,
                "{done} of {total:?}"
            );
        }
    }
}
