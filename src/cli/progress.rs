//! Shows the progress of long work: bars to the user, log lines otherwise.

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

/// A phase that took less time is logged at debug level only.
const WORTH_LOGGING: Duration = Duration::from_secs(1);

/// The progress bars, or nothing where nobody watches.
pub(in crate::cli) fn bars(output: &OutputOptions) -> Option<MultiProgress> {
    let watched = std::io::stderr().is_terminal() && output.log_format == LogFormat::Text;
    (watched && !output.no_progress && !output.quiet).then(MultiProgress::new)
}

/// Shows the progress of one command and asks its questions.
pub(in crate::cli) struct Watch {
    bars: Option<MultiProgress>,
    asks: bool,
    /// Whether a log collector receives every phase.
    logs_phases: bool,
    /// What the command is about to do, for prompts.
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
    /// Logs how far it has come.
    fn log(&mut self) {
        self.logged = Instant::now();
        let seconds = self.started.elapsed().as_secs_f64();
        let pace = Pace::new(self.done, self.total, seconds);
        tracing::info!(
            phase = self.name.as_str(),
            done = self.done,
            total = self.total,
            per_second = pace.per_second,
            seconds_left = pace.seconds_left,
            "in progress"
        );
    }
}

/// How fast a phase is, and how long it still takes at that rate.
#[derive(Debug, PartialEq, Eq)]
struct Pace {
    per_second: u64,
    /// Unknown without a total, and before the first key.
    seconds_left: Option<u64>,
}

impl Pace {
    fn new(done: u64, total: Option<u64>, seconds: f64) -> Self {
        let rate = done as f64 / seconds.max(0.001);
        let left = total.map(|total| total.saturating_sub(done) as f64 / rate);
        let left = left.filter(|left| left.is_finite());
        Self {
            per_second: whole(rate),
            seconds_left: left.map(|left| whole(left.ceil())),
        }
    }
}

/// A number that is never negative, without its fraction.
#[expect(clippy::cast_possible_truncation, reason = "the conversion saturates")]
#[expect(clippy::cast_sign_loss, reason = "the conversion saturates")]
fn whole(number: f64) -> u64 {
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

    /// Asks where a user is present; `question` is not called otherwise.
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
        // After a panic elsewhere the number is stale at worst.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watch {
    /// A phase that begins ends the one before.
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
    let template = "{msg:12} {wide_bar} {human_pos}/{human_len}  {pace}";
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("pace", pace)
}

fn spinner_style() -> ProgressStyle {
    ProgressStyle::with_template("{msg:12} {spinner} {human_pos}  {pace}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .with_key("pace", pace)
}

/// The rate and the time left.
fn pace(state: &ProgressState, to: &mut dyn std::fmt::Write) {
    let pace = Pace::new(state.pos(), state.len(), state.elapsed().as_secs_f64());
    let left = pace.seconds_left.map(|left| format!(", {left} s left"));
    if state.pos() == 0 {
        return;
    }
    // A bar that cannot be written is only not shown.
    let _ = write!(
        to,
        "{}/s{}",
        count(pace.per_second),
        left.unwrap_or_default()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_tells_the_rate_and_the_time_left() {
        for (done, total, seconds, per_second, left) in [
            (500, Some(2_000), 1.0, 500, Some(3)),
            (500, None, 2.0, 250, None),
            (0, Some(10), 1.0, 0, None),
            (10, Some(10), 1.0, 10, Some(0)),
            (12, Some(10), 1.0, 12, Some(0)),
            (0, Some(0), 0.0, 0, None),
        ] {
            let wanted = Pace {
                per_second,
                seconds_left: left,
            };
            assert_eq!(
                Pace::new(done, total, seconds),
                wanted,
                "{done} of {total:?}"
            );
        }
    }
}
