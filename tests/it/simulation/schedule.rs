//! A schedule: the starting state, the command, and the faults at numbered requests.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meta_migrate::{CancelToken, EngineError, Environment, Silent, migrate, restore};
use meta_report::{MigrateReport, RestoreReport};
use meta_testing::memory::{MemoryStore, RequestKind};
use tokio::runtime::{Builder, Runtime};

use super::instance::Case;
use super::request_fault::{Events, RequestFault};

/// The command of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    Migrate,
    Rollback,
}

/// The result of a run.
#[derive(Debug)]
pub(crate) enum Outcome {
    Migrated(Box<MigrateReport>),
    RolledBack(RestoreReport),
    Failed(EngineError),
    /// The process was killed.
    Killed,
}

/// A fault and the number of the request at which it happens, counted from 1.
pub(crate) type Planned = (u64, RequestFault);

/// A schedule, printed in messages and for replaying.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Schedule {
    pub(crate) case: usize,
    pub(crate) start: usize,
    pub(crate) command: Command,
    pub(crate) planned: Vec<Planned>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            case,
            start,
            command,
            planned,
        } = self;
        write!(formatter, "form {case}, start {start}, {command:?}:")?;
        planned
            .iter()
            .try_for_each(|(ordinal, fault)| write!(formatter, " {fault:?} at request {ordinal};"))
    }
}

/// Runs a command with faults.
pub(crate) async fn run(
    case: &Case,
    store: &MemoryStore,
    command: Command,
    (planned, events): (&[Planned], &Events),
) -> Outcome {
    let (stopper, stop) = CancelToken::new();
    let events = events.clone();
    let script = planned.to_vec();
    store.fault_when(move |request| {
        let now = script
            .iter()
            .filter(|(ordinal, _)| *ordinal == request.ordinal)
            .filter_map(|(_, fault)| fault.fault(&stopper, &events));
        let later = script
            .iter()
            .filter(|(ordinal, _)| *ordinal < request.ordinal)
            .filter_map(|(_, fault)| fault.fault_from_then_on());
        now.chain(later).collect()
    });
    let environment = Environment {
        stop,
        observer: Arc::new(Silent),
        ..Environment::silent()
    };
    let work = perform(case, store, command, &environment);
    if planned
        .iter()
        .all(|(_, fault)| *fault != RequestFault::Hang)
    {
        return work.await;
    }
    // A run that has not ended by then is dropped.
    let deadline = Duration::from_secs(60);
    let outcome = tokio::time::timeout(deadline, work).await;
    outcome.unwrap_or(Outcome::Killed)
}

/// Runs a command until it ends or its process is killed.
pub(crate) async fn perform(
    case: &Case,
    store: &MemoryStore,
    command: Command,
    environment: &Environment,
) -> Outcome {
    let work = async {
        match command {
            Command::Migrate => match migrate(store, &case.migrate_options(), environment).await {
                Ok(report) => Outcome::Migrated(Box::new(report)),
                Err(error) => Outcome::Failed(error),
            },
            Command::Rollback => {
                match restore(store, &case.rollback_options(), environment).await {
                    Ok(report) => Outcome::RolledBack(report),
                    Err(error) => Outcome::Failed(error),
                }
            }
        }
    };
    // The future is dropped, as if its process were killed.
    tokio::select! {
        biased;
        () = store.crashed() => Outcome::Killed,
        outcome = work => outcome,
    }
}

/// The kinds of the requests of a run without faults, in order, and its result.
pub(crate) async fn requests(
    case: &Case,
    store: &MemoryStore,
    command: Command,
    clock: &Clock,
) -> (Vec<RequestKind>, Outcome) {
    let store = store.fork();
    let kinds = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&kinds);
    store.fault_when(move |request| {
        recorded.lock().unwrap().push(request.kind);
        Vec::new()
    });
    let environment = Environment::silent();
    let work = perform(case, &store, command, &environment);
    let outcome = clock.keep(|| store.requests(), work).await;
    let kinds = kinds.lock().unwrap();
    (kinds.clone(), outcome)
}

/// Returns a runtime, and the clock of what it runs.
pub(crate) fn simulated() -> (Runtime, Clock) {
    let threads = Threads::default();
    let (start, stop) = (threads.clone(), threads.clone());
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_start(move || start.add_current())
        .on_thread_stop(move || stop.remove_current())
        .build();
    (runtime.unwrap(), Clock::start(threads))
}

/// The threads that a runtime has started, as files below `/proc`.
#[derive(Clone, Default)]
struct Threads(Arc<Mutex<HashSet<PathBuf>>>);

impl Threads {
    fn current() -> PathBuf {
        let thread = std::fs::read_link("/proc/thread-self").unwrap();
        Path::new("/proc").join(thread).join("stat")
    }

    fn add_current(&self) {
        self.0.lock().unwrap().insert(Self::current());
    }

    fn remove_current(&self) {
        self.0.lock().unwrap().remove(&Self::current());
    }

    /// Whether a thread is running, runnable, or waiting for the disk.
    fn are_busy(&self) -> bool {
        self.0.lock().unwrap().iter().any(|stat| {
            let stat = std::fs::read_to_string(stat).unwrap_or_default();
            let state = stat.rsplit(") ").next();
            state.is_some_and(|state| state.starts_with(['R', 'D']))
        })
    }
}

/// A clock that advances only while no work is done.
///
/// Tokio advances a paused clock when a runtime is idle, but not while a blocking thread is alive,
/// and the engine's threads are alive while they wait for pages. So a real thread ticks, and the
/// clock advances if no request was made since the last tick and no thread is busy: on a loaded
/// machine a backup may wait long for the processor or the disk, and leases would expire.
pub(crate) struct Clock {
    threads: Threads,
    ticks: Arc<tokio::sync::Notify>,
    ended: Arc<AtomicU64>,
}

impl Clock {
    fn start(threads: Threads) -> Self {
        let ticks = Arc::new(tokio::sync::Notify::new());
        let ended = Arc::new(AtomicU64::new(0));
        let (tick, end) = (Arc::clone(&ticks), Arc::clone(&ended));
        std::thread::spawn(move || {
            while end.load(Ordering::Relaxed) == 0 {
                std::thread::sleep(Duration::from_micros(500));
                tick.notify_one();
            }
        });
        Self {
            threads,
            ticks,
            ended,
        }
    }

    /// Runs `work` while time advances; `progress` returns whether anything happened.
    pub(crate) async fn keep<T>(
        &self,
        progress: impl Fn() -> u64,
        work: impl Future<Output = T>,
    ) -> T {
        let clock = async {
            let mut seen = progress();
            loop {
                self.ticks.notified().await;
                let now = progress();
                if std::mem::replace(&mut seen, now) == now && !self.threads.are_busy() {
                    tokio::time::advance(Duration::from_millis(250)).await;
                }
            }
        };
        tokio::select! {
            biased;
            result = work => result,
            () = clock => unreachable!("the clock never stops"),
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.ended.store(1, Ordering::Relaxed);
    }
}
