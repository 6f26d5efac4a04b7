//! Ends the program at each transaction of a run: immediately by SIGKILL, gracefully by SIGTERM and
//! SIGINT.
//!
//! A proxy between program and etcd counts the transactions and kills the program at an exact one,
//! before it reaches etcd or after it was applied.

use milvus_meta::entry::Entry;
use milvus_meta::transform::{CollectionForm, staged_family_ranges};

use crate::support::etcd;
use crate::support::migration::Case;
use crate::support::process::{Program, end_lock_lease, expect};
use crate::support::proxy::{Proxy, Verdict};

/// No run of these tests takes more transactions.
const TRANSACTIONS_MAX: usize = 200;

/// Kills the program at its `number`th transaction; at even numbers after it was applied.
fn kill_at(proxy: &Proxy, program: &Program, number: usize) {
    let running = program.running();
    let at = if number.is_multiple_of(2) {
        Verdict::After
    } else {
        Verdict::Before
    };
    proxy.decide(
        move |count| if count == number { at } else { Verdict::Pass },
        move || running.signal("KILL"),
    );
}

fn stop_killing(proxy: &Proxy) {
    proxy.decide(|_| Verdict::Pass, || {});
}

/// Killed at each transaction in turn, the run is rolled back to the old bytes, or killed again and
/// resumed to the new ones; the rollback from there is killed as well.
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
        end_lock_lease(&case, &store).await;
        if first.status.code().is_none() {
            assert_legal(&case, &store, &note).await;
            stop_killing(&proxy);
            expect(0, &program.rollback().await, &note);
            case.expect_before(&store, &note).await;
            kill_at(&proxy, &program, number);
            // A run that waits for the lock sends one transaction more than one that need not.
            let second = program.migrate().await;
            if second.status.code().is_some() {
                expect(0, &second, &note);
            }
            end_lock_lease(&case, &store).await;
            stop_killing(&proxy);
            expect(0, &program.migrate().await, &note);
        } else {
            expect(0, &first, &note);
            forward_ended = true;
        }
        case.expect_after(&store, &note).await;
        let note = format!("{note}, and in the rollback");
        kill_at(&proxy, &program, number);
        let back = program.rollback().await;
        end_lock_lease(&case, &store).await;
        stop_killing(&proxy);
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
    panic!("a run takes more transactions than expected");
}

/// Either 2.1 is intact next to staged keys, or the commit is recorded.
async fn assert_legal(case: &Case, store: &impl meta_store::Store, note: &str) {
    let journal = case.journal(store).await;
    if journal.is_none_or(|journal| journal.phase.is_before_commit()) {
        let found = case.image(store).await;
        for (key, value) in &case.before {
            assert_eq!(found.get(key), Some(value), "{note}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_the_split_form_survives_a_kill_at_any_write() {
    killed_at_each_transaction("base/in.jsonl", CollectionForm::Split).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_the_database_form_survives_a_kill_at_any_write() {
    killed_at_each_transaction("base/in.jsonl", CollectionForm::Database).await;
}

/// A signal at a transaction: the batch in flight is completed, the lock is released at once, and
/// the same command resumes.
async fn ended_by_signal(signal: &'static str, code: i32, number: usize) {
    let case = Case::new("dropped/in.jsonl", CollectionForm::Database);
    let server = etcd::shared();
    let store = server.connect().await;
    case.load(&store).await;
    let proxy = Proxy::start(server.address()).await;
    let program = Program::new(&case, proxy.endpoint());
    let running = program.running();
    proxy.decide(
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
    // The current step is not completed first.
    let ranges = staged_family_ranges(&case.root);
    let is_staged = |entry: &&Entry| ranges.iter().any(|range| range.contains(&entry.key));
    let staged = all.iter().filter(is_staged).count() as u64;
    assert!(staged < journal.counts.put, "{note}: {staged} staged");
    assert_legal(&case, &store, &note).await;
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("resumes"), "{said}");
    expect(0, &program.migrate().await, &note);
    case.expect_after(&store, &note).await;
    // The same in the middle of a rollback.
    let running = program.running();
    proxy.decide(
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
async fn sigterm_finishes_the_batch_and_exits_with_143() {
    ended_by_signal("TERM", 143, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_finishes_the_batch_and_exits_with_130() {
    ended_by_signal("INT", 130, 8).await;
}
