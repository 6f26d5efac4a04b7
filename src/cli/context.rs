//! What every command that talks to etcd has: its configuration, its connection, and its way of talking.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::MultiProgress;
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::next_steps::NextSteps;
use super::options::{EtcdOptions, OutputOptions};
use super::output::LogFormat;
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::output::style::Style;
use super::output::terminal::line;
use super::progress::Watch;
use super::reading::{self, ReadingOptions};
use super::{confirm, connecting, logging, output, progress, signals};
use crate::config::{Config, Connection};
use meta_backup::{Backup, BackupError, Tolerance};
use meta_migrate::{BackupSource, CancelToken, EngineError, Environment, Limits, RunId, Signal};
use meta_report::shell::quoted;
use meta_store::etcd::{EtcdStore, Options, Tls};
use meta_store::{ConnectProblem, RangeRequest, Store as _, StoreError, StoreErrorKind};
use milvus_meta::keys::MetaRoot;

/// How long a connection may take to come up, as the official tool has it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What is still under way on a thread (a backup being given up) has so long to clean up.
const GOODBYE: Duration = Duration::from_secs(2);

/// One run of a command.
pub(in crate::cli) struct CommandContext {
    pub(in crate::cli) config: Config,
    pub(in crate::cli) output: OutputOptions,
    pub(in crate::cli) next_steps: NextSteps,
    /// What the command is about to do, and to which instance.
    action: String,
    /// The meta root that the command works on.
    root: MetaRoot,
    /// Whether the user saw the plan and its findings before confirming.
    plan_shown: Arc<AtomicBool>,
    bars: Option<MultiProgress>,
    run: RunId,
}

/// Whether a command may be dropped where it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// It only reads.
    AtOnce,
    /// It ends by itself, after the batch in flight.
    Orderly,
}

impl CommandContext {
    /// Starts logging and resolves the configuration.
    pub(in crate::cli) fn begin(
        etcd: &EtcdOptions,
        output: &OutputOptions,
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

    /// Runs what only reads etcd; a signal ends it at once.
    pub(in crate::cli) fn read<T>(
        &self,
        work: impl AsyncFnOnce(&EtcdStore, &Environment) -> Result<T, EngineError>,
    ) -> Result<T, Failure> {
        self.run(Ending::AtOnce, work)
    }

    /// Fails where there is no metadata, unless that was allowed.
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

    /// Runs what writes to etcd; a signal ends it after the batch in flight. Its start and end are logged with
    /// the id of the run.
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
        let ended = self.run(Ending::Orderly, work);
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

    /// Fails where the user can neither be asked nor confirmed beforehand.
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

    /// Writes a report about the instance, which is named first.
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

    /// As [`Self::print`], of something that was done: it happened whether it can be printed or not.
    pub(in crate::cli) fn print_done<T: Serialize>(
        &self,
        report: &T,
        text: impl FnOnce(&T, Style) -> String,
    ) {
        output::warn_if_unprinted(self.print(report, text));
    }

    /// Runs what needs no etcd.
    pub(in crate::cli) fn offline<T>(
        &self,
        work: impl FnOnce(&Environment) -> Result<T, EngineError>,
    ) -> Result<T, Failure> {
        let runtime = runtime()?;
        let outcome = runtime.block_on(async {
            let stop = signals::listen()?;
            work(&self.environment(stop)).map_err(|error| self.next_steps.failure(error))
        });
        runtime.shutdown_timeout(GOODBYE);
        outcome
    }

    fn run<T>(
        &self,
        ending: Ending,
        work: impl AsyncFnOnce(&EtcdStore, &Environment) -> Result<T, EngineError>,
    ) -> Result<T, Failure> {
        let runtime = runtime()?;
        let outcome = runtime.block_on(async {
            let stop = signals::listen()?;
            let store = tokio::select! {
                connected = connect(&self.config.connection, &self.config.root) => connected?,
                signal = stop.wait() => return Err(self.interrupted(signal)),
            };
            let environment = self.environment(stop.clone());
            let working = work(&store, &environment);
            let outcome = if ending == Ending::Orderly {
                working.await
            } else {
                tokio::select! {
                    outcome = working => outcome,
                    signal = stop.wait() => return Err(self.interrupted(signal)),
                }
            };
            outcome.map_err(|error| self.next_steps.failure(error))
        });
        runtime.shutdown_timeout(GOODBYE);
        outcome
    }

    fn interrupted(&self, signal: Signal) -> Failure {
        let failure = meta_migrate::EngineErrorKind::Interrupted(signal);
        self.next_steps
            .failure(EngineError::before_writing(failure))
    }

    /// Sets what prompts start with, such as `Migrate by-dev/meta on localhost:2379`.
    pub(in crate::cli) fn announce(&mut self, verb: &str, root: &MetaRoot, detail: &str) {
        self.root = root.clone();
        self.action = format!("{verb} {}{detail}", self.instance(root));
    }

    /// Names the instance that was asked for, such as `by-dev/meta on localhost:2379`.
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
            holder: holder(),
            run: self.run.clone(),
        }
    }

    /// Opens a backup for work without etcd. Its own meta root counts; where the file does not name one,
    /// or several, the root path that was given does.
    pub(in crate::cli) fn open(
        &self,
        path: &Path,
        reading: ReadingOptions,
    ) -> Result<BackupSource, Failure> {
        self.open_by(path, |root| {
            Backup::open_with(path, root, reading.tolerance())
        })
    }

    /// As [`Self::open`], but all of a native file is checked on the first read of its entries, which shows progress.
    pub(in crate::cli) fn open_announced(
        &self,
        path: &Path,
        reading: ReadingOptions,
    ) -> Result<BackupSource, Failure> {
        self.open_by(path, |root| {
            Backup::announced(path, root, reading.tolerance())
        })
    }

    fn open_by(
        &self,
        path: &Path,
        open: impl Fn(Option<&str>) -> Result<Backup, BackupError>,
    ) -> Result<BackupSource, Failure> {
        let backup = Backup::open_instance(self.named_root(), open)
            .map_err(|error| unusable_file(&error))?;
        for note in &backup.summary().notes {
            tracing::warn!("{}: {note}", path.display());
        }
        let root = root_of(&backup).map_err(|error| unusable(&error))?;
        Ok(BackupSource::new(backup, root))
    }

    /// Refuses a backup of several instances unless a root path says which one is meant.
    pub(in crate::cli) fn require_one_instance(
        &self,
        path: &Path,
        tolerance: Tolerance,
    ) -> Result<(), Failure> {
        if self.config.root_is_given {
            return Ok(());
        }
        match Backup::announced(path, None, tolerance) {
            Err(error) if error.holds_several_instances() => Err(unusable_file(&error)),
            // Whatever else is wrong with the file is found where it is used.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn named_root(&self) -> Option<&str> {
        let root = self.config.root.meta_root();
        self.config.root_is_given.then_some(root)
    }
}

/// A report with the instance that it is about.
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

/// Returns the root of a backup's keys.
pub(in crate::cli) fn root_of(backup: &Backup) -> Result<MetaRoot, milvus_meta::keys::RootError> {
    MetaRoot::new("", &backup.summary().meta_root, "")
}

/// The failure of a command that works on backup files alone.
pub(in crate::cli) fn unusable(error: &dyn std::error::Error) -> Failure {
    Failure::from_error(Exit::Failed, error).unchanged()
}

/// The failure to open a backup, with the options that choose among several instances in it.
fn unusable_file(error: &BackupError) -> Failure {
    let mut failure = unusable(error);
    for root in error.instances() {
        let (path, sub_path) = root.rsplit_once('/').unwrap_or(("", root));
        let mut options = format!("--root-path {}", quoted(path));
        if sub_path != "meta" {
            options.push_str(&format!(" --meta-sub-path {}", quoted(sub_path)));
        }
        failure.hints.push(options);
    }
    if !failure.hints.is_empty() {
        failure.exit = Exit::Usage;
    }
    failure.hints.extend(reading::hint(error));
    failure
}

/// The usual limits.
pub(in crate::cli) fn limits() -> Limits {
    Limits::default()
}

fn runtime() -> Result<Runtime, Failure> {
    Runtime::new()
        .map_err(|error| Failure::caused("cannot start the worker threads", &error).unchanged())
}

/// Connects, and reads once: a member that answers may have lost the majority of its cluster.
async fn connect(connection: &Connection, root: &MetaRoot) -> Result<EtcdStore, Failure> {
    let tls = connection.tls.as_ref().map(|tls| {
        let (cert, key) = tls.identity.clone().unzip();
        Tls {
            ca_cert: tls.ca_cert.clone(),
            cert,
            key,
            server_name: tls.server_name.clone(),
        }
    });
    let login = connection.login.clone();
    let options = Options {
        endpoints: connection.endpoints.clone(),
        user: login.as_ref().map(|login| login.user.clone()),
        password: login.map(|login| login.password),
        tls,
        connect_timeout: CONNECT_TIMEOUT.min(connection.timeout),
        request_timeout: connection.timeout,
    };
    let failed = |error: StoreError| connecting::failure(&error, connection);
    let store = EtcdStore::connect(&options).await.map_err(failed)?;
    let request = RangeRequest::key(root.session_id_key()).count_only();
    match timeout(connection.timeout, store.range(request)).await {
        // The member did answer when its status was asked for.
        Ok(Err(mut error)) if error.is_transient() => {
            error.problems = vec![ConnectProblem::NoLeader];
            Err(failed(error))
        }
        // What else is wrong is reported by what needs the answer.
        Ok(_) => Ok(store),
        Err(_) => {
            let (endpoints, limit) = (connection.endpoints.join(", "), connection.timeout);
            let message = format!("etcd at {endpoints}: no answer to a read within {limit:?}");
            let error = StoreError::not_applied(StoreErrorKind::Timeout, message);
            Err(failed(error.because(ConnectProblem::NoLeader)))
        }
    }
}

/// Who we are to others who find the lock held: the pod's or the machine's name.
fn holder() -> String {
    let name = std::env::var("HOSTNAME").ok();
    let name = name.or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok());
    let name = name.map(|name| name.trim().to_owned());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown host".to_owned())
}
