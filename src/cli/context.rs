//! The run of one command: its configuration, its connection to etcd, and its output.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::MultiProgress;
use serde::Serialize;
use tokio::runtime::Runtime;

use super::next_steps::NextSteps;
use super::options::{CommonOptions, OutputOptions};
use super::output::LogFormat;
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::output::style::Style;
use super::output::terminal::line;
use super::progress::Watch;
use super::{confirm, connecting, logging, output, progress, signals};
use crate::config::Config;
use meta_migrate::{CancelToken, EngineError, Environment, Limits, RunId, Signal};
use meta_store::etcd::EtcdStore;
use milvus_meta::keys::MetaRoot;

/// How long threads may take to clean up at the end, for example after an interrupted backup.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// One run of a command.
pub(in crate::cli) struct CommandContext {
    pub(in crate::cli) config: Config,
    pub(in crate::cli) output: OutputOptions,
    pub(in crate::cli) next_steps: NextSteps,
    /// The action and the instance, for prompts.
    action: String,
    /// The meta root that the command works on.
    root: MetaRoot,
    /// Whether the user saw the plan and its findings before confirming.
    plan_shown: Arc<AtomicBool>,
    bars: Option<MultiProgress>,
    run: RunId,
}

/// What happens to a command on a signal.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OnSignal {
    /// It is dropped at once, because it only reads.
    Drop,
    /// It stops itself, after the batch in flight.
    Wait,
}

impl CommandContext {
    /// Starts logging and resolves the configuration.
    pub(in crate::cli) fn begin(
        CommonOptions { etcd, output }: &CommonOptions,
    ) -> Result<Self, Failure> {
        let bars = progress::bars(output);
        logging::start(output, bars.as_ref());
        let config = etcd.resolve()?;
        Ok(Self {
            next_steps: NextSteps::new(etcd, &config),
            root: config.root.clone(),
            config,
            output: output.clone(),
            action: String::new(),
            plan_shown: Arc::default(),
            bars,
            run: RunId::of_now(),
        })
    }

    /// Connects and runs work that only reads etcd. A signal ends it at once.
    pub(in crate::cli) fn read<T>(
        &self,
        work: impl AsyncFnOnce(&EtcdStore, &Environment) -> Result<T, EngineError>,
    ) -> Result<T, Failure> {
        self.run(OnSignal::Drop, work)
    }

    /// Fails if there is no metadata, unless that is allowed.
    pub(in crate::cli) async fn require_metadata(
        &self,
        store: &EtcdStore,
        is_allowed: bool,
    ) -> Result<(), EngineError> {
        if is_allowed {
            return Ok(());
        }
        meta_migrate::require_metadata(store, &self.config.root, &limits()).await
    }

    /// Connects and runs work that writes to etcd. A signal ends it after the batch in flight. A JSON log has its start
    /// and end, with the id of the run.
    pub(in crate::cli) fn write<T>(
        &self,
        work: impl AsyncFnOnce(&EtcdStore, &Environment) -> Result<T, EngineError>,
    ) -> Result<T, Failure> {
        logging::start_run(&self.run.id);
        let started = Instant::now();
        let is_logged = self.output.log_format == LogFormat::Json;
        if is_logged {
            tracing::info!(event = "start", "{}", self.action);
        }
        let ended = self.run(OnSignal::Wait, work);
        let seconds = started.elapsed().as_secs_f64();
        let exit = ended
            .as_ref()
            .map_or_else(|failure| failure.exit, |_| Exit::Done);
        if is_logged {
            let exit_code = exit.code();
            tracing::info!(event = "end", exit_code, seconds, "{}", self.action);
        }
        ended
    }

    /// Fails without `--yes` if there is no terminal to ask at.
    pub(in crate::cli) fn require_confirmation(&self) -> Result<(), Failure> {
        if self.output.yes || confirm::is_wanted(&self.output) {
            return Ok(());
        }
        Err(confirm::impossible().hint(format!("{} --yes", self.next_steps.again())))
    }

    /// Whether the user saw the plan before confirming.
    pub(in crate::cli) fn has_shown_plan(&self) -> bool {
        self.plan_shown.load(Ordering::Relaxed)
    }

    /// Prints a report, headed by the name of the instance.
    pub(in crate::cli) fn print<T: Serialize>(
        &self,
        report: &T,
        text: impl FnOnce(&T, Style) -> String,
    ) -> Result<(), Failure> {
        let named = Named {
            instance: InstanceName {
                meta_root: self.root.meta_root(),
                endpoints: &self.config.connection.endpoints,
            },
            report,
        };
        output::print(self.output.format, &named, |_, style| {
            let heading = style.strong("Instance:");
            let instance = self.instance(&self.root);
            format!("{heading} {}\n{}", line(&instance), text(report, style))
        })
    }

    /// Prints the report of finished work as [`Self::print`] does. A failure to print is only logged.
    pub(in crate::cli) fn print_done<T: Serialize>(
        &self,
        report: &T,
        text: impl FnOnce(&T, Style) -> String,
    ) {
        output::warn_if_unprinted(self.print(report, text));
    }

    /// Runs work without etcd.
    pub(in crate::cli) fn offline<T>(
        &self,
        work: impl FnOnce(&Environment) -> Result<T, EngineError>,
    ) -> Result<T, Failure> {
        let runtime = runtime()?;
        let outcome = runtime.block_on(async {
            let stop = signals::listen()?;
            work(&self.environment(stop)).map_err(|error| self.next_steps.failure(error))
        });
        runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
        outcome
    }

    fn run<T>(
        &self,
        on_signal: OnSignal,
        work: impl AsyncFnOnce(&EtcdStore, &Environment) -> Result<T, EngineError>,
    ) -> Result<T, Failure> {
        let runtime = runtime()?;
        let outcome = runtime.block_on(async {
            let stop = signals::listen()?;
            let store = tokio::select! {
                connected = connecting::connect(&self.config.connection, &self.config.root) => connected?,
                signal = stop.wait() => return Err(self.interrupted(signal)),
            };
            let environment = self.environment(stop.clone());
            let working = work(&store, &environment);
            let outcome = if on_signal == OnSignal::Wait {
                working.await
            } else {
                tokio::select! {
                    outcome = working => outcome,
                    signal = stop.wait() => return Err(self.interrupted(signal)),
                }
            };
            outcome.map_err(|error| self.next_steps.failure(error))
        });
        runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
        outcome
    }

    fn interrupted(&self, signal: Signal) -> Failure {
        let failure = meta_migrate::EngineErrorKind::Interrupted(signal);
        self.next_steps
            .failure(EngineError::before_writing(failure))
    }

    /// Sets the beginning of prompts, such as `Migrate by-dev/meta on localhost:2379`.
    pub(in crate::cli) fn announce(&mut self, verb: &str, root: &MetaRoot, detail: &str) {
        self.root = root.clone();
        self.action = format!("{verb} {}{detail}", self.instance(root));
    }

    /// Returns the name of the configured instance, such as `by-dev/meta on localhost:2379`.
    pub(in crate::cli) fn target(&self) -> String {
        self.instance(&self.config.root)
    }

    fn instance(&self, root: &MetaRoot) -> String {
        let endpoints = self.config.connection.endpoints.join(",");
        format!("{} on {endpoints}", root.meta_root())
    }

    fn environment(&self, stop: CancelToken) -> Environment {
        let watch = Watch::new(
            self.bars.clone(),
            &self.output,
            self.action.clone(),
            stop.clone(),
            Arc::clone(&self.plan_shown),
        );
        Environment {
            stop,
            observer: Arc::new(watch),
            holder: host_name(),
            run: self.run.clone(),
        }
    }
}

/// A report with its instance.
#[derive(Serialize)]
struct Named<'a, T> {
    instance: InstanceName<'a>,
    #[serde(flatten)]
    report: &'a T,
}

#[derive(Serialize)]
struct InstanceName<'a> {
    meta_root: &'a str,
    endpoints: &'a [String],
}

/// The default limits.
pub(in crate::cli) fn limits() -> Limits {
    Limits::default()
}

pub(in crate::cli) fn runtime() -> Result<Runtime, Failure> {
    Runtime::new()
        .map_err(|error| Failure::caused("cannot start the worker threads", &error).unchanged())
}

/// Returns the name of the pod or machine, which the lock and the Lease show to others.
pub(in crate::cli) fn host_name() -> String {
    let name = std::env::var("HOSTNAME").ok();
    let name = name.or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok());
    let name = name.map(|name| name.trim().to_owned());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown-host".to_owned())
}
