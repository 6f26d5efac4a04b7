//! Metadata altered by another program: the official tool was killed after each of its writes, or
//! 2.1 ran after a finished migration.
//!
//! If a migration cannot start from it, no run may change it, with any fault at its requests. If it
//! can, the result and a rollback are checked; the simulation of migrations covers faults from such
//! a state. Whenever `migrate` or `verify` reports success, the oracle finds everything that 2.1
//! had and wrote.

use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;

use bytes::Bytes;
use meta_migrate::{Environment, ErrorClass};
use meta_report::MigrateOutcome;
use meta_testing::memory::MemoryStore;
use milvus_meta::proto::v2_1::{etcd, query};
use milvus_meta::transform::{CollectionForm, Task};

use super::instance::{Case, relative, varied_metadata, with_neighbours};
use super::invariants::{
    Verdict, check_guarded, check_truthful, equal, journal_of, labelled, metadata_of, state_of,
};
use super::request_fault::{Events, RequestFault, end_faults};
use super::schedule::{Clock, Command, Outcome, Planned, perform, requests, run, simulated};
use super::{FORMS, Random, announce, seed, verified, walk};
use crate::support::metadata::{
    CREATED, Metadata, alias, build, collection, definition, load_state, reference, root,
    segment_index, segment_with_logs,
};
use crate::support::official::{self, Order};
use crate::support::oracle::{self, Keys};

/// The number of sampled schedules with two faults.
const PAIRS: usize = 500;
/// One of this many requests gets a fault; the first one differs between starting states.
const STEP: u64 = 4;

/// The expected answer of a run without faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Success.
    Migrated,
    /// A migration can neither start from nor produce this metadata.
    Refused,
    /// The writes of 2.1 are carried over.
    Carried,
}

struct AlteredStart {
    name: String,
    case: Case,
    store: MemoryStore,
    /// The keys that 2.1 had and wrote, in 2.1 form.
    original: Keys,
    answer: Answer,
}

/// A run from one of the starting states.
struct Schedule<'a> {
    start: &'a AlteredStart,
    command: Command,
    planned: Vec<Planned>,
}

impl fmt::Display for Schedule<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, {:?}:", self.start.name, self.command)?;
        self.planned
            .iter()
            .try_for_each(|(ordinal, fault)| write!(formatter, " {fault:?} at request {ordinal};"))
    }
}

fn keys(entries: &official::Image) -> Keys {
    let entries = entries.iter();
    entries
        .map(|(key, value)| (key.clone(), Bytes::from(value.clone())))
        .collect()
}

/// The official tool killed after each of its deletions and writes, and its final state.
fn official_starts(folder: &std::path::Path) -> Vec<AlteredStart> {
    let mut before = varied_metadata();
    // If 2.2 had run, missing objects may have been dropped since.
    before.remove("datacoord-meta/channel-cp/v0");
    // The official tool adds no missing snapshot, and 2.2.3 does not find a collection without one.
    let mut second = collection(2);
    second.field_indexes.clear();
    before.put(
        &format!("snapshots/root-coord/collection/2_ts{CREATED}"),
        &second,
    );
    let embedded = before.after(&before.migrate(CollectionForm::Embedded));
    let after = official::result(&before.entries, embedded);
    let mut seen = HashSet::new();
    let mut starts = Vec::new();
    for order in [Order::Ascending, Order::Descending] {
        let states = official::states(&before.entries, &after, order);
        for (number, state) in (1..).zip(states) {
            if !seen.insert(state.clone()) {
                continue;
            }
            let answer = if state == after {
                Answer::Migrated
            } else {
                Answer::Refused
            };
            let form = FORMS[starts.len() % FORMS.len()];
            let metadata = Metadata { entries: state };
            starts.push(AlteredStart {
                name: format!("official tool, {order:?}, request {number}"),
                case: Case {
                    form,
                    folder: folder.to_owned(),
                    after_2_2: false,
                    task: Task::Migration,
                },
                store: MemoryStore::with_entries(&with_neighbours(&metadata)),
                original: keys(&before.entries),
                answer,
            });
        }
    }
    starts
}

/// Possible writes of 2.1 on migrated metadata.
fn writes_of_2_1() -> Vec<(&'static str, Metadata)> {
    let mut plain = collection(5);
    plain.field_indexes.clear();
    let mut created = Metadata::default();
    created.put("root-coord/collection/5", &plain);
    let mut indexed = Metadata::default();
    indexed.put("root-coord/collection/5", &collection(5));
    indexed.put("root-coord/index/5/7", &definition(7));
    let mut filled = Metadata::default();
    filled.put("datacoord-meta/s/1/10/60", &segment_with_logs(60, 5000));
    let mut index = Metadata::default();
    let mut first = collection(1);
    first.field_indexes.push(reference(100, 8));
    index.put("root-coord/collection/1", &first);
    index.put("root-coord/index/1/8", &definition(8));
    let mut built = filled.clone();
    built.put("indexes/99", &build(99, 10, 60));
    built.put("root-coord/segment-index/1/7/10/60", &segment_index(60, 99));
    let mut renamed = Metadata::default();
    let named: etcd::CollectionInfo = alias("fresh", 1);
    renamed.put("root-coord/collection-alias/fresh", &named);
    let mut loaded = Metadata::default();
    let state = query::CollectionInfo {
        collection_id: 2,
        ..load_state()
    };
    loaded.put("queryCoord-collectionMeta/2", &state);
    vec![
        ("loaded a collection", loaded),
        ("created a collection", created),
        ("created an indexed collection", indexed),
        ("flushed a segment", filled),
        ("created an index", index),
        ("built an index", built),
        ("created an alias", renamed),
    ]
}

/// 2.1 ran after a finished migration, in each form.
async fn after_2_1(folder: &std::path::Path, clock: &Clock) -> Vec<AlteredStart> {
    let mut starts = Vec::new();
    for form in FORMS {
        let folder = folder.join(form.to_string());
        std::fs::create_dir(&folder).unwrap();
        let case = Case {
            form,
            folder,
            after_2_2: false,
            task: Task::Migration,
        };
        let done = MemoryStore::with_entries(&case.before());
        let environment = Environment::silent();
        let work = perform(&case, &done, Command::Migrate, &environment);
        let outcome = clock.keep(|| done.requests(), work).await;
        assert!(matches!(outcome, Outcome::Migrated(_)), "{outcome:?}");
        for (action, written) in writes_of_2_1() {
            let store = done.fork();
            for (key, value) in &written.entries {
                let key = root().join(key.as_bytes());
                store.change(|state| state.put(&key, value));
            }
            let mut original = keys(&varied_metadata().entries);
            original.extend(keys(&written.entries));
            let answer = match action {
                // 2.2 reads these keys unchanged.
                "flushed a segment" => Answer::Migrated,
                "created a collection" if form == CollectionForm::Embedded => Answer::Migrated,
                // The collection is in the other layout with a different record.
                "created an index" if form != CollectionForm::Embedded => Answer::Refused,
                _ => Answer::Carried,
            };
            starts.push(AlteredStart {
                name: format!("2.1 {action} after a migration to the {form} form"),
                case: case.clone(),
                store,
                original,
                answer,
            });
        }
    }
    starts
}

impl AlteredStart {
    /// A report that 2.2 can start is correct.
    fn check_answer(&self, who: &str, store: &MemoryStore) -> Verdict {
        let verdict = oracle::found(&self.original, &relative(&metadata_of(store)));
        labelled(&format!("{who} said that 2.2 can start"), verdict)
    }

    /// Nothing was changed, and the reported state is correct.
    fn check(&self, outcome: &Outcome, store: &MemoryStore) -> Verdict {
        let [found, wanted] = [store, &self.store].map(metadata_of);
        equal("touched metadata", &found, &wanted)?;
        let mut before = metadata_of(&self.store);
        before.extend(journal_of(&self.store));
        match outcome {
            Outcome::Migrated(_) => self.check_answer("migrate", store),
            Outcome::Failed(_) | Outcome::Killed | Outcome::RolledBack(_) => {
                check_truthful(outcome, &before, store)
            }
        }
    }

    /// Checks the answer of a run without faults.
    async fn answer(&self, store: &MemoryStore, clock: &Clock) -> Verdict {
        let store = store.reopen();
        let environment = Environment::silent();
        let work = perform(&self.case, &store, Command::Migrate, &environment);
        let outcome = clock.keep(|| store.requests(), work).await;
        self.check(&outcome, &store)?;
        let found = match &outcome {
            Outcome::Migrated(report) if report.outcome == MigrateOutcome::AlreadyMigrated => {
                Answer::Migrated
            }
            Outcome::Failed(error) if error.kind() == ErrorClass::Unmigratable => Answer::Refused,
            Outcome::Migrated(_)
            | Outcome::RolledBack(_)
            | Outcome::Failed(_)
            | Outcome::Killed => return Err(format!("migrate ended with {outcome:?}")),
        };
        if found != self.answer {
            return Err(format!("migrate ended with {outcome:?}"));
        }
        let is_verified = verified(&self.case, &store, clock).await;
        if is_verified != (self.answer == Answer::Migrated) {
            return Err(format!("verify said {is_verified}"));
        }
        Ok(())
    }

    /// The writes of 2.1 are carried over, `verify` passes, and a rollback restores everything.
    async fn check_carried(&self, clock: &Clock) -> Verdict {
        let store = self.store.fork();
        let before = metadata_of(&store);
        let environment = Environment::silent();
        let work = perform(&self.case, &store, Command::Migrate, &environment);
        let outcome = clock.keep(|| store.requests(), work).await;
        let is_migrated = matches!(&outcome, Outcome::Migrated(report) if report.outcome == MigrateOutcome::Migrated);
        if !is_migrated {
            return Err(format!("migrate ended with {outcome:?}"));
        }
        self.check_answer("migrate", &store)?;
        if !verified(&self.case, &store, clock).await {
            return Err("verify finds something wrong".to_owned());
        }
        let work = perform(&self.case, &store, Command::Rollback, &environment);
        let outcome = clock.keep(|| store.requests(), work).await;
        if !matches!(outcome, Outcome::RolledBack(_)) {
            return Err(format!("rollback ended with {outcome:?}"));
        }
        equal("touched metadata", &metadata_of(&store), &before)
    }

    /// A rollback discards no write of 2.1 unless that is accepted.
    async fn check_rolled_back(&self, store: &MemoryStore, clock: &Clock) -> Verdict {
        let store = store.reopen();
        let environment = Environment::silent();
        let work = perform(&self.case, &store, Command::Rollback, &environment);
        let outcome = clock.keep(|| store.requests(), work).await;
        self.check(&outcome, &store)
    }
}

impl Schedule<'_> {
    async fn run_and_check(&self, seen: &Mutex<HashSet<(String, u64)>>, clock: &Clock) -> Verdict {
        let store = self.start.store.fork();
        let events = Events::default();
        let work = run(
            &self.start.case,
            &store,
            self.command,
            (&self.planned, &events),
        );
        let outcome = clock.keep(|| store.requests(), work).await;
        check_guarded(&events, &store)?;
        self.start.check(&outcome, &store)?;
        end_faults(&store).await;
        let state = (self.start.name.clone(), state_of(&store));
        if !seen.lock().unwrap().insert(state) {
            return Ok(());
        }
        let copy = store.fork();
        labelled("afterwards", self.start.answer(&store, clock).await)?;
        let verdict = self.start.check_rolled_back(&copy, clock).await;
        labelled("afterwards rollback", verdict)
    }
}

/// The possible faults: a changed source is a different starting state.
fn possible() -> Vec<RequestFault> {
    let all = RequestFault::possible(true);
    all.filter(|one| one.source().is_none()).collect()
}

fn schedules(starts: &[AlteredStart], seed: u64) -> Vec<Schedule<'_>> {
    let (runtime, clock) = simulated();
    let (all, mut random) = (possible(), Random(seed));
    let mut single = Vec::new();
    let mut lengths = Vec::new();
    for (start, index) in starts.iter().zip(0_u64..) {
        for command in [Command::Migrate, Command::Rollback] {
            let asked = requests(&start.case, &start.store, command, &clock);
            let (kinds, _) = runtime.block_on(asked);
            let requests = kinds.len() as u64;
            lengths.push((start, command, requests));
            // A rollback is the same from many starting states.
            let step = if command == Command::Migrate {
                STEP
            } else {
                3 * STEP
            };
            let ordinals = (1..=requests).filter(|ordinal| (ordinal + index) % step == 0);
            let planned = ordinals.flat_map(|ordinal| all.iter().map(move |one| (ordinal, *one)));
            single.extend(planned.map(|planned| Schedule {
                start,
                command,
                planned: vec![planned],
            }));
        }
    }
    for _ in 0..PAIRS {
        let (start, command, requests) = *random.pick(&lengths);
        let mut planned = [0, 1].map(|_| (1 + random.below(requests + 5), *random.pick(&all)));
        planned.sort_by_key(|(ordinal, _)| *ordinal);
        single.push(Schedule {
            start,
            command,
            planned: planned.into(),
        });
    }
    single
}

#[test]
fn no_answer_on_altered_metadata_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (runtime, clock) = simulated();
    let mut starts = official_starts(folder.path());
    starts.extend(runtime.block_on(after_2_1(folder.path(), &clock)));
    let (check_carried, starts): (Vec<_>, Vec<_>) = starts
        .into_iter()
        .partition(|start| start.answer == Answer::Carried);
    let runs = check_carried.iter().map(|start| Schedule {
        start,
        command: Command::Migrate,
        planned: Vec::new(),
    });
    walk(&runs.collect::<Vec<_>>(), |schedule, runtime, clock| {
        runtime.block_on(schedule.start.check_carried(clock))
    });
    let seed = seed();
    let schedules = schedules(&starts, seed);
    let seen = Mutex::default();
    let without_faults = starts.iter().map(|start| Schedule {
        start,
        command: Command::Migrate,
        planned: Vec::new(),
    });
    walk(
        &without_faults.collect::<Vec<_>>(),
        |schedule, runtime, clock| runtime.block_on(schedule.run_and_check(&seen, clock)),
    );
    walk(&schedules, |schedule, runtime, clock| {
        runtime.block_on(schedule.run_and_check(&seen, clock))
    });
    announce(&format!(
        "simulation: ran {} schedules from {} initial states that another program altered (SIMULATION_SEED={seed})",
        schedules.len(),
        starts.len()
    ));
}
