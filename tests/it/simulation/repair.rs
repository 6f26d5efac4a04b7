//! Repairs, killed at every request or left without a reply: afterwards the metadata is complete 2.2 metadata, a further
//! `repair` ends at what the transform gives, and a `rollback` gives back every byte.

use std::convert::Infallible;

use meta_migrate::{EngineError, Environment, MigrateOptions, migrate, restore, verify};
use meta_report::{MigrateOutcome, RestoreOutcome};
use meta_testing::memory::{Fault, MemoryStore};
use milvus_meta::entry::Entry;
use milvus_meta::keys::Family;
use milvus_meta::transform::{CollectionForm, Options, Source, Task};
use milvus_meta::verify::Checker;

use super::disturbance::subside;
use super::instance::{Case, Image};
use super::judge::{metadata_of, phase};
use super::schedule::Clock;
use crate::support::metadata::{self, target_of};

/// How a command is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    KilledBefore,
    KilledAfter,
    LostReply,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Repair,
    Rollback,
}

#[derive(Debug)]
enum Ended {
    Well,
    Killed,
    Failed(Box<EngineError>),
}

/// An instance as the official tool leaves it, and what its repair gives.
struct Bench {
    case: Case,
    before: Image,
    after: Image,
}

impl Bench {
    fn new(form: CollectionForm, folder: &std::path::Path) -> Self {
        let case = Case {
            form,
            folder: folder.to_owned(),
            after_2_2: false,
        };
        let source = case.before();
        let official = Case {
            form: CollectionForm::Embedded,
            ..case.clone()
        };
        let source: Image = source.into_iter().map(|it| (it.key, it.value)).collect();
        let mut before = official.expected(&source);
        for (key, value) in source {
            let relative = metadata::root().strip(&key).map(Family::of);
            let stays = [
                Family::QueryCollection,
                Family::QueryReplica,
                Family::DdMessageSend,
            ];
            if relative.is_some_and(|family| stays.contains(&family)) {
                before.insert(key, value);
            }
        }
        let mut source = Source::new(metadata::root(), options(form));
        let entries = |image: &Image| -> Vec<Entry> {
            let entries = image.iter();
            entries
                .map(|(key, value)| Entry::new(key.clone(), value.clone()))
                .collect()
        };
        entries(&before).iter().for_each(|entry| source.push(entry));
        let plan = source.finish();
        assert!(
            !plan.has_errors() && !plan.is_empty(),
            "{:?}",
            plan.findings()
        );
        let after = plan.apply(entries(&before).into_iter().map(Ok::<_, Infallible>));
        let after = after.map(|entry| {
            let Ok(entry) = entry;
            (entry.key, entry.value)
        });
        Self {
            after: after.collect(),
            before,
            case,
        }
    }

    fn store(&self) -> MemoryStore {
        let entries = self.before.iter();
        let entries: Vec<_> = entries
            .map(|(key, value)| Entry::new(key.clone(), value.clone()))
            .collect();
        MemoryStore::with_entries(&entries)
    }

    fn options(&self) -> MigrateOptions {
        MigrateOptions {
            task: Task::Repair,
            ..self.case.migrate_options()
        }
    }

    async fn run(&self, store: &MemoryStore, command: Command, clock: &Clock) -> Ended {
        let environment = Environment::silent();
        let work = async {
            let ended = match command {
                Command::Repair => {
                    migrate(store, &self.options(), &environment)
                        .await
                        .map(|report| {
                            let is_done =
                                [MigrateOutcome::Repaired, MigrateOutcome::NothingToRepair];
                            assert!(is_done.contains(&report.outcome), "{report:?}");
                        })
                }
                Command::Rollback => restore(store, &self.case.rollback_options(), &environment)
                    .await
                    .map(|report| {
                        let is_done = [RestoreOutcome::Restored, RestoreOutcome::Unchanged];
                        assert!(is_done.contains(&report.outcome), "{report:?}");
                    }),
            };
            match ended {
                Ok(()) => Ended::Well,
                Err(error) => Ended::Failed(Box::new(error)),
            }
        };
        let ends = async {
            tokio::select! {
                biased;
                () = store.crashed() => Ended::Killed,
                ended = work => ended,
            }
        };
        let ended = clock.keep(|| store.requests(), ends).await;
        if store.is_crashed() {
            Ended::Killed
        } else {
            ended
        }
    }

    /// Complete 2.2 metadata, as it was before.
    fn check(&self, store: &MemoryStore, what: &str) {
        let mut checker = Checker::new(metadata::root());
        for (key, value) in metadata_of(store) {
            checker.push(&Entry::new(key, value));
        }
        let errors = checker
            .finish()
            .into_iter()
            .filter(milvus_meta::finding::Finding::is_error);
        // While records move, both places hold them: Milvus lists the new one last, and where a key is missing it
        // reads the other place. The official form carries the history of 2.1 as it is.
        let is_moving = phase(store) >= Some(meta_migrate::journal::Phase::Committed);
        let moving = ["duplicate-collection", "snapshot-contradicts"];
        let errors: Vec<_> = errors
            .filter(|it| it.code != "snapshot-missing")
            .filter(|it| !(is_moving && moving.contains(&it.code.as_str())))
            .collect();
        assert!(errors.is_empty(), "{what}: {errors:?}");
    }

    /// Both ways on from any state.
    async fn finish(&self, store: &MemoryStore, what: &str, clock: &Clock) {
        subside(store).await;
        if phase(store) != Some(meta_migrate::journal::Phase::Restoring) {
            self.check(store, what);
        }
        let copy = store.fork();
        let forward = store.reopen();
        let ended = self.run(&forward, Command::Repair, clock).await;
        assert!(
            matches!(ended, Ended::Well),
            "{what}, then repair: {ended:?}"
        );
        assert_eq!(metadata_of(&forward), self.after, "{what}, then repair");
        let nobody = Environment::silent();
        let options = meta_migrate::VerifyOptions {
            target: Some(target_of(self.case.form).parse().unwrap()),
            ..self.case.verify_options()
        };
        let reader = forward.reopen();
        let report = clock
            .keep(|| reader.requests(), verify(&reader, &options, &nobody))
            .await;
        assert!(report.unwrap().ok, "{what}, then repair and verify");
        if phase(&copy).is_none() {
            assert_eq!(
                metadata_of(&copy),
                self.before,
                "{what}: nothing is recorded"
            );
            return;
        }
        let ended = self.run(&copy, Command::Rollback, clock).await;
        assert!(
            matches!(ended, Ended::Well),
            "{what}, then rollback: {ended:?}"
        );
        assert_eq!(metadata_of(&copy), self.before, "{what}, then rollback");
        assert_eq!(phase(&copy), None, "{what}, then rollback");
    }
}

fn options(form: CollectionForm) -> Options {
    Options {
        task: Task::Repair,
        form,
        segment_form: milvus_meta::transform::SegmentForm::Inline,
        on_broken_record: milvus_meta::transform::OnBrokenRecord::Fail,
        schemas: None,
        target: target_of(form).parse().unwrap(),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

/// Disturbs a command at each of its requests.
async fn walk(bench: &Bench, start: &MemoryStore, command: Command, clock: &Clock) -> u64 {
    let mut ordinal = 1;
    loop {
        for blow in [Blow::KilledBefore, Blow::KilledAfter, Blow::LostReply] {
            let store = start.fork();
            let fault = match blow {
                Blow::KilledBefore => Fault::CrashBefore,
                Blow::KilledAfter => Fault::CrashAfter,
                Blow::LostReply => Fault::LoseReply,
            };
            store.fault_at(ordinal, fault);
            let what = format!("{:?}, {command:?}, {blow:?} at {ordinal}", bench.case.form);
            let ended = bench.run(&store, command, clock).await;
            match (&ended, blow) {
                (Ended::Killed, Blow::KilledBefore | Blow::KilledAfter)
                | (Ended::Well, Blow::LostReply) => {}
                // The last requests were made without a fault.
                (Ended::Well, _) if store.requests() < ordinal => return ordinal,
                (Ended::Failed(error), _) => panic!("{what}: {error:?}"),
                (Ended::Well | Ended::Killed, _) => panic!("{what}: {ended:?}"),
            }
            bench.finish(&store, &what, clock).await;
        }
        ordinal += 1;
    }
}

#[test]
fn a_repair_disturbed_at_any_request_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let clock = Clock::start();
    for form in [CollectionForm::Database, CollectionForm::Split] {
        let place = folder.path().join(form.to_string());
        std::fs::create_dir(&place).unwrap();
        let bench = Bench::new(form, &place);
        runtime.block_on(async {
            let fresh = bench.store();
            let requests = walk(&bench, &fresh, Command::Repair, &clock).await;
            assert!(requests > 20, "{requests}");
            let done = fresh.fork();
            assert!(matches!(
                bench.run(&done, Command::Repair, &clock).await,
                Ended::Well
            ));
            assert_eq!(metadata_of(&done), bench.after);
            walk(&bench, &done.fork(), Command::Rollback, &clock).await;
        });
    }
}
