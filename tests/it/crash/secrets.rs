//! Passwords are never shown, and a user limited to the root path is sufficient.

use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::sync::{Arc, Mutex};

use meta_store::etcd::{EtcdStore, Options, Password};
use milvus_meta::transform::CollectionForm;

use crate::support::etcd::{Etcd, Settings};
use crate::support::migration::Case;
use crate::support::process::{Program, end_lock_lease, expect};
use crate::support::proxy::{Proxy, Verdict};

const USER: &str = "migrator";
const PASSWORD: &str = "Tr0ub4dor-and-3";
const WRONG: &str = "wrong-Horse-battery";

/// A server with a user that has only the rights that Milvus and the journal need.
async fn with_limited_user(case: &Case) -> (Etcd, EtcdStore) {
    let etcd = Etcd::start(Settings::default());
    let client = etcd_client::Client::connect([etcd.endpoint()], None)
        .await
        .unwrap();
    case.load(&etcd.connect().await).await;
    let mut auth = client.auth_client();
    auth.user_add("root", PASSWORD, None).await.unwrap();
    auth.user_grant_role("root", "root").await.unwrap();
    auth.role_add("migration").await.unwrap();
    let meta_root = case.root.meta_root();
    let root_path = meta_root.strip_suffix("meta").unwrap();
    for below in [format!("{meta_root}/"), format!("{root_path}migration/")] {
        let permission = etcd_client::Permission::read_write(below).with_prefix();
        auth.role_grant_permission("migration", permission)
            .await
            .unwrap();
    }
    auth.user_add(USER, PASSWORD, None).await.unwrap();
    auth.user_grant_role(USER, "migration").await.unwrap();
    auth.auth_enable().await.unwrap();
    let options = Options {
        user: Some("root".to_owned()),
        password: Some(Password::new(PASSWORD)),
        ..Options::for_endpoint(etcd.endpoint())
    };
    let store = EtcdStore::connect(&options).await.unwrap();
    (etcd, store)
}

fn program(case: &Case, endpoint: &str) -> Program {
    let mut program = Program::new(case, endpoint);
    program.extra = ["--user", USER, "--log-level", "trace"]
        .map(str::to_owned)
        .into();
    program
        .environment
        .push(("META_MIGRATION_PASSWORD".to_owned(), PASSWORD.to_owned()));
    program
}

fn hides(text: &[u8], note: &str) {
    for secret in [PASSWORD, WRONG] {
        let found = text
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert!(!found, "{note}: {}", String::from_utf8_lossy(text));
    }
}

fn assert_silent(output: &Output, note: &str) {
    hides(&output.stdout, note);
    hides(&output.stderr, note);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d24_d30_a_limited_user_can_run_everything() {
    let case = Case::new("base/in.jsonl", CollectionForm::Database);
    let (etcd, store) = with_limited_user(&case).await;
    let program = program(&case, etcd.endpoint());
    let backup = program.folder.path().join("own.mmb");
    let file = backup.display().to_string();
    for command in [
        &["status"] as &[&str],
        &["plan"],
        &["backup", "--backup-file", &file],
    ] {
        expect(0, &program.run(command).await, command[0]);
        // Nothing was written to etcd except the lock, which is released; `session/id` is
        // unchanged.
        case.expect_before(&store, command[0]).await;
    }
    expect(0, &program.migrate().await, "migrate");
    case.expect_after(&store, "migrate").await;
    expect(0, &program.run(&["verify"]).await, "verify");
    expect(0, &program.rollback().await, "rollback");
    case.expect_before(&store, "rollback").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_are_never_shown_or_stored() {
    let case = Case::new("base/in.jsonl", CollectionForm::Database);
    let (etcd, store) = with_limited_user(&case).await;
    let proxy = Proxy::start(etcd.address()).await;
    let program = program(&case, proxy.endpoint());
    // The process list in the middle of the run, as any user of the machine sees it.
    let listed = Arc::new(Mutex::new(Vec::new()));
    let (running, list) = (program.running(), Arc::clone(&listed));
    proxy.decide(
        |count| {
            if count == 5 {
                Verdict::Around
            } else {
                Verdict::Pass
            }
        },
        move || {
            let line = format!("/proc/{}/cmdline", running.pid());
            *list.lock().unwrap() = std::fs::read(line).unwrap();
        },
    );
    let migrated = program.migrate().await;
    expect(0, &migrated, "migrate");
    assert_silent(&migrated, "migrate");
    let said = String::from_utf8_lossy(&migrated.stderr);
    assert!(said.contains("DEBUG"), "the log shows nothing: {said}");
    let listed = listed.lock().unwrap().clone();
    assert!(
        listed
            .windows(USER.len())
            .any(|word| word == USER.as_bytes())
    );
    hides(&listed, "process list");
    for entry in case.all(&store).await {
        hides(&entry.key, "etcd");
        hides(&entry.value, "etcd");
    }
    check_backups(&program);
    for arguments in [
        &["status", "--format=json", "--log-format=json"] as &[&str],
        &["plan"],
        &["verify"],
        &["rollback"],
    ] {
        let ended = program.run(arguments).await;
        expect(0, &ended, arguments[0]);
        assert_silent(&ended, arguments[0]);
    }
}

/// The only backup contains no secret and is readable only by its owner.
fn check_backups(program: &Program) {
    let mut files = 0;
    for file in std::fs::read_dir(program.folder.path()).unwrap() {
        let path = file.unwrap().path();
        hides(&std::fs::read(&path).unwrap(), "backup");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", path.display());
        let read = meta_backup::Backup::open(&path).unwrap();
        hides(format!("{:?}", read.header()).as_bytes(), "header");
        for entry in read.entries().unwrap() {
            hides(&entry.unwrap().value, "backup");
        }
        files += 1;
    }
    assert_eq!(files, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_password_is_in_no_error() {
    let case = Case::new("base/in.jsonl", CollectionForm::Database);
    let (etcd, _) = with_limited_user(&case).await;
    let mut program = program(&case, etcd.endpoint());
    // A wrong password in the variable and in a file, and one in the wrong place.
    program.environment[0].1 = WRONG.to_owned();
    let refused = program.run(&["status"]).await;
    expect(1, &refused, "wrong password");
    assert_silent(&refused, "wrong password");
    program.environment.clear();
    let file = program.folder.path().join("password");
    std::fs::write(&file, WRONG).unwrap();
    let file = file.display().to_string();
    let refused = program.run(&["status", "--password-file", &file]).await;
    expect(1, &refused, "wrong password file");
    assert_silent(&refused, "wrong password file");
    std::fs::write(&file, PASSWORD).unwrap();
    let accepted = program.run(&["status", "--password-file", &file]).await;
    expect(0, &accepted, "password file");
    assert_silent(&accepted, "password file");
    let yaml = program.folder.path().join("wrong.yaml");
    let text =
        format!("etcd:\n  auth:\n    enabled: true\n    userName: {USER}\n    password: {WRONG}\n");
    std::fs::write(&yaml, text).unwrap();
    let yaml = yaml.display().to_string();
    let refused = program.run(&["status", "--config", &yaml]).await;
    expect(1, &refused, "wrong password in the file");
    assert_silent(&refused, "wrong password in the file");
}

/// The lock of the dead run expires with its lease; a user with few rights can wait for it as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lock_of_a_dead_run_is_awaited() {
    let case = Case::new("base/in.jsonl", CollectionForm::Database);
    let (etcd, store) = with_limited_user(&case).await;
    let proxy = Proxy::start(etcd.address()).await;
    let program = program(&case, proxy.endpoint());
    let running = program.running();
    proxy.decide(
        |count| {
            if count == 6 {
                Verdict::Before
            } else {
                Verdict::Pass
            }
        },
        move || running.signal("KILL"),
    );
    assert_eq!(program.migrate().await.status.code(), None);
    proxy.decide(|_| Verdict::Pass, || {});
    let refused = program.run(&["migrate", "--wait-lock=0s"]).await;
    expect(3, &refused, "locked");
    expect(0, &program.migrate().await, "after the lease has ended");
    case.expect_after(&store, "after the lease has ended").await;
    end_lock_lease(&case, &store).await;
}
