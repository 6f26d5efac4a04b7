//! One use case in a process of its own, so that its memory is its own: the engine over the real
//! store, as the program runs it.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use meta_migration::backup::WriteOptions;
use meta_migration::engine::{
    BackupOptions, BackupTarget, Environment, Limits, MigrateOptions, Observer, RestoreOptions,
    VerifyOptions, Waits, Way, backup, migrate, plan, restore, verify,
};
use meta_migration::keys::MetaRoot;
use meta_migration::store::etcd::{EtcdStore, Options};
use meta_migration::transform::{CollectionForm, OnBrokenRecord};
use serde::{Deserialize, Serialize};

/// What the process prints.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) seconds: f64,
    /// Phases with their seconds, in their order.
    pub(crate) phases: Vec<(String, f64)>,
    /// The most memory that the process ever had, in KiB.
    pub(crate) peak_kib: u64,
}

/// Runs the use case that the arguments name: `child <command> <endpoint> <backup file>`.
pub(crate) fn run(arguments: &[String]) {
    let [command, endpoint, file] = arguments else {
        panic!("child <command> <endpoint> <backup file>");
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let phases = std::sync::Arc::new(Phases::default());
    let environment = Environment {
        observer: phases.clone(),
        ..Environment::silent()
    };
    let started = Instant::now();
    runtime.block_on(async {
        let store = EtcdStore::connect(&Options::for_endpoint(endpoint))
            .await
            .unwrap();
        act(command, &store, file.into(), &environment).await;
    });
    let told = Told {
        seconds: started.elapsed().as_secs_f64(),
        phases: phases.list.lock().unwrap().clone(),
        peak_kib: peak_kib(),
    };
    println!("{}", serde_json::to_string(&told).unwrap());
}

async fn act(command: &str, store: &EtcdStore, file: PathBuf, environment: &Environment) {
    let root = MetaRoot::new("by-dev", "meta", "kv").unwrap();
    let limits = Limits::default();
    let waits = Waits::default();
    let target = BackupTarget {
        path: file.clone(),
        options: WriteOptions::default(),
        source_version: None,
    };
    let migration = MigrateOptions {
        root: root.clone(),
        source_version: None,
        target_version: "2.2.16".parse().unwrap(),
        form: CollectionForm::Database,
        on_broken_record: OnBrokenRecord::Fail,
        backup: Some(target.clone()),
        waits,
        limits,
    };
    match command {
        "plan" => {
            let options = meta_migration::transform::Options {
                form: migration.form,
                on_broken_record: migration.on_broken_record,
                target: migration.target_version,
            };
            plan(store, &root, &options, (&limits, environment))
                .await
                .unwrap();
        }
        "backup" => {
            let options = BackupOptions {
                root,
                target,
                refuse_sessions: true,
                waits,
                limits,
            };
            backup(store, &options, environment).await.unwrap();
        }
        "migrate" => {
            let report = migrate(store, &migration, environment).await.unwrap();
            assert!(report.verified);
        }
        "verify" => {
            let options = VerifyOptions {
                root,
                backup: Some(file),
                options: None,
                limits,
            };
            let report = verify(store, &options, environment).await.unwrap();
            assert!(report.ok, "{report:?}");
        }
        "rollback" => {
            let options = RestoreOptions {
                root,
                way: Way::Rollback,
                backup: None,
                any_root: false,
                keep_extra: false,
                accept_loss: false,
                dry_run: false,
                waits,
                limits,
            };
            let report = restore(store, &options, environment).await.unwrap();
            assert!(report.verified);
        }
        other => panic!("{other} is no command"),
    }
}

/// Takes the time of each phase; what lies between two goes by the name of the first.
#[derive(Default)]
struct Phases {
    list: Mutex<Vec<(String, f64)>>,
    running: Mutex<Option<(String, Instant)>>,
}

impl Phases {
    fn change(&self, next: Option<String>) {
        let mut running = self.running.lock().unwrap();
        let now = Instant::now();
        if let Some((name, since)) = running.take() {
            let seconds = now.duration_since(since).as_secs_f64();
            self.list.lock().unwrap().push((name, seconds));
        }
        *running = next.map(|name| (name, now));
    }
}

impl Observer for Phases {
    fn phase_started(&self, name: &str, _total: Option<u64>) {
        self.change(Some(name.to_owned()));
    }

    fn phase_finished(&self) {
        let name = self.running.lock().unwrap().take();
        if let Some((name, since)) = name {
            *self.running.lock().unwrap() = Some((name.clone(), since));
            self.change(Some(format!("after {name}")));
        }
    }
}

/// The greatest resident size of this process.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1))
        .and_then(|number| number.parse().ok())
        .unwrap_or_default()
}
