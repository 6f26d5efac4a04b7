//! The program is ended at each transaction of a run: at once by SIGKILL, orderly by SIGTERM and SIGINT.
//!
//! A proxy between program and etcd counts the transactions and kills the program at an exact one,
//! before it reaches etcd or after it was applied.

use milvus_meta::entry::Entry;
use milvus_meta::transform::{CollectionForm, staged_family_ranges};

use crate::support::etcd;
use crate::support::migration::Case;
use crate::support::process::{Program, bury, expect};
use crate::support::proxy::{Proxy, Verdict};

/// No run of these tests takes more transactions.
const TRANSACTIONS_MAX: usize = 200;

/// Kills the program at its `number`th transaction: every second one after it was applied.
fn kill_at(proxy: &Proxy, program: &Program, number: usize) {
    let running = program.running();
    let at = if number.is_multiple_of(2) {
        Verdict::After
    } else {
        Verdict::Before
    };
    proxy.judge(
        move |count| if count == number { at } else { Verdict::Pass },
        move || running.signal("KILL"),
    );
}

fn let_live(proxy: &Proxy) {
    proxy.judge(|_| Verdict::Pass, || {});
}

/// Killed at each transaction in turn, the run goes back to the old bytes, and, killed there again, on
/// to the new ones; from there back, killed on the way as well.
async fn killed_at_each_transaction(dump: &str, form: CollectionForm) {
    let case = Case::new(dump, form);
    let server = etcd::shared();
    let store = server.connect().await;
    case.load(&store).await;
    let proxy = Proxy::start(server.address()).await;
    let program = Program::new(&case, proxy.endpoint());
    let (mut forward_ended, mut back_ended) = (false, false);
    for number in 1..TRANSACTIONS_MAX {
        let note = format!("{form}: killed at transaction {number}");
        kill_at(&proxy, &program, number);
        let first = program.migrate().await;
        bury(&case, &store).await;
        if first.status.code().is_none() {
            legal(&case, &store, &note).await;
            let_live(&proxy);
            expect(0, &program.rollback().await, &note);
            case.expect_before(&store, &note).await;
            kill_at(&proxy, &program, number);
            assert_eq!(program.migrate().await.status.code(), None, "{note}");
            bury(&case, &store).await;
            let_live(&proxy);
            expect(0, &program.migrate().await, &note);
        } else {
            expect(0, &first, &note);
            forward_ended = true;
        }
        case.expect_after(&store, &note).await;
        let note = format!("{note}, and on the way back");
        kill_at(&proxy, &program, number);
        let back = program.rollback().await;
        bury(&case, &store).await;
        let_live(&proxy);
        if back.status.code().is_none() {
            expect(0, &program.rollback().await, &note);
        } else {
            expect(0, &back, &note);
            back_ended = true;
        }
        case.expect_before(&store, &note).await;
        if forward_ended && back_ended {
            assert!(number > 12, "{note}: a run of few transactions");
            return;
        }
    }
    panic!("the runs do not end");
}

/// Either 2.1 is intact beside what was staged, or the commit is recorded.
async fn legal(case: &Case, store: &impl meta_store::Store, note: &str) {
    let journal = case.journal(store).await;
    if journal.is_none_or(|journal| journal.phase.is_before_commit()) {
        let found = case.image(store).await;
        for (key, value) in &case.before {
            assert_eq!(found.get(key), Some(value), "{note}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_killed_at_each_transaction_the_split_form_resumes_and_rolls_back() {
    killed_at_each_transaction("base/in.jsonl", CollectionForm::Split).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_killed_at_each_transaction_the_database_form_resumes_and_rolls_back() {
    killed_at_each_transaction("base/in.jsonl", CollectionForm::Database).await;
}

/// A signal at a transaction: the batch in flight is finished, the lock is given back at once, and the
/// same command continues.
async fn ended_orderly(signal: &'static str, code: i32, number: usize) {
    let case = Case::new("dropped/in.jsonl", CollectionForm::Database);
    let server = etcd::shared();
    let store = server.connect().await;
    case.load(&store).await;
    let proxy = Proxy::start(server.address()).await;
    let program = Program::new(&case, proxy.endpoint());
    let running = program.running();
    proxy.judge(
        move |count| {
            if count == number {
                Verdict::Around
            } else {
                Verdict::Pass
            }
        },
        move || running.signal(signal),
    );
    let ended = program.migrate().await;
    let note = format!("{signal} at transaction {number}");
    expect(code, &ended, &note);
    let journal = case.journal(&store).await.expect("a journal");
    assert_ne!(journal.phase.name(), "done", "{note}");
    let all = case.all(&store).await;
    let lock = case.root.lock_key();
    assert!(
        all.iter().all(|entry| entry.key != lock),
        "{note}: the lock is held"
    );
    // Not all of the step that was under way is done first.
    let ranges = staged_family_ranges(&case.root);
    let is_staged = |entry: &&Entry| ranges.iter().any(|range| range.contains(&entry.key));
    let staged = all.iter().filter(is_staged).count() as u64;
    assert!(staged < journal.counts.put, "{note}: {staged} staged");
    legal(&case, &store, &note).await;
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("resumes"), "{said}");
    expect(0, &program.migrate().await, &note);
    case.expect_after(&store, &note).await;
    // In the middle of the way back, too.
    let running = program.running();
    proxy.judge(
        |count| {
            if count == 4 {
                Verdict::Around
            } else {
                Verdict::Pass
            }
        },
        move || running.signal(signal),
    );
    let back = program.rollback().await;
    if back.status.code() != Some(0) {
        expect(code, &back, &note);
        assert!(case.all(&store).await.iter().all(|entry| entry.key != lock));
        expect(0, &program.rollback().await, &note);
    }
    case.expect_before(&store, &note).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_after_the_batch_in_flight_with_143_and_gives_the_lock_back() {
    ended_orderly("TERM", 143, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_ends_after_the_batch_in_flight_with_130_and_gives_the_lock_back() {
    ended_orderly("INT", 130, 8).await;
}
