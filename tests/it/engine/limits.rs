//! Limits of the server.

use meta_migrate::{
    CommitSize, EngineErrorKind, Environment, ErrorClass, WriteState, blocking, migrate, plan,
};
use meta_testing::memory::Limits as ServerLimits;
use milvus_meta::transform::CollectionForm;

use super::instance::{Instance, plain};
use crate::rules::FORMS;
use crate::support::metadata::{Metadata, root, segment_with_logs};

#[tokio::test]
async fn too_little_free_space_is_found_before_any_write() {
    let instance = Instance::small(FORMS[0]);
    let entries = instance.store.dump().into_iter();
    let used: usize = entries
        .map(|entry| entry.key.len() + entry.value.len())
        .sum();
    let quota = used as u64 + 4_000;
    instance.store.change(|state| {
        state.set_limits(ServerLimits {
            quota_bytes: Some(quota),
            ..ServerLimits::default()
        });
    });
    let before = plain(&instance.store.dump());
    let refused = instance.migrate().await.unwrap_err();
    let EngineErrorKind::NoRoom {
        quota: reported,
        needed,
        in_use,
        ..
    } = &*refused.failure
    else {
        panic!("{refused:?}");
    };
    assert_eq!(*reported, quota);
    assert!(in_use + needed >= quota, "{refused:?}");
    assert_eq!(refused.kind(), ErrorClass::Failed);
    assert_eq!(plain(&instance.store.dump()), before);
}

#[tokio::test]
async fn a_raised_alarm_is_found_before_any_write() {
    let instance = Instance::small(FORMS[0]);
    instance.store.change(|state| state.raise_no_space());
    let before = plain(&instance.store.dump());
    let refused = instance.migrate().await.unwrap_err();
    assert!(
        matches!(&*refused.failure, EngineErrorKind::Alarm(alarms) if alarms == &["NOSPACE"]),
        "{refused:?}"
    );
    assert_eq!(refused.kind(), ErrorClass::Failed);
    assert_eq!(plain(&instance.store.dump()), before);
}

#[tokio::test]
async fn transactions_adapt_to_low_server_limits() {
    let fewer_operations = ServerLimits {
        max_txn_ops: 8,
        ..ServerLimits::default()
    };
    let smaller_requests = ServerLimits {
        max_request_bytes: 2_500,
        ..ServerLimits::default()
    };
    for form in FORMS {
        let wanted = Instance::small(form);
        wanted.migrate().await.unwrap();
        for limits in [fewer_operations, smaller_requests] {
            let instance = Instance::small(form);
            instance.store.change(|state| state.set_limits(limits));
            let mut options = instance.options();
            options.limits.txn_ops_max = 100;
            migrate(&instance.store, &options, &Environment::silent())
                .await
                .unwrap();
            assert_eq!(instance.image(), wanted.image());
        }
    }
}

#[tokio::test]
async fn an_entry_too_large_for_the_server_is_named() {
    let mut metadata = Metadata::small();
    metadata.change_collection(|record| {
        record.schema.as_mut().unwrap().description = "x".repeat(600_000);
    });
    let instance = Instance::of(&metadata, CollectionForm::Database);
    instance.store.change(|state| {
        state.set_limits(ServerLimits {
            max_request_bytes: 500_000,
            ..ServerLimits::default()
        });
    });
    let before = plain(&instance.store.dump());
    let refused = instance.migrate().await.unwrap_err();
    let EngineErrorKind::EntryTooLarge { key, bytes } = &*refused.failure else {
        panic!("{refused:?}");
    };
    let key = String::from_utf8_lossy(key);
    assert!(
        key.contains("root-coord/database/collection-info/1/1"),
        "{key}"
    );
    assert!(*bytes > 600_000);
    assert_eq!(refused.kind(), ErrorClass::Unmigratable);
    assert_eq!(plain(&instance.store.dump()), before);
}

/// Entries far below the default limit also fail if the limit of the server is lower: before any
/// write.
#[tokio::test]
async fn an_entry_above_a_low_limit_is_found_before_any_write() {
    for form in FORMS {
        let mut metadata = Metadata::small();
        metadata.change_collection(|record| {
            record.schema.as_mut().unwrap().description = "x".repeat(300_000);
        });
        let instance = Instance::of(&metadata, form);
        instance.store.change(|state| {
            state.set_limits(ServerLimits {
                max_request_bytes: 64 << 10,
                ..ServerLimits::default()
            });
        });
        let before = plain(&instance.store.dump());
        let refused = instance.migrate().await.unwrap_err();
        assert!(
            matches!(&*refused.failure, EngineErrorKind::EntryTooLarge { .. }),
            "{form}: {refused:?}"
        );
        assert_eq!(refused.kind(), ErrorClass::Unmigratable);
        assert_eq!(plain(&instance.store.dump()), before, "{form}");
    }
}

/// A quota that fits the migration but not its rollback is too small.
#[tokio::test]
async fn the_quota_check_includes_the_rollback() {
    let instance = Instance::small(FORMS[0]);
    let mut quota = 1_u64 << 20;
    let needed = loop {
        instance.store.change(|state| {
            state.set_limits(ServerLimits {
                quota_bytes: Some(quota),
                ..ServerLimits::default()
            });
        });
        match instance.migrate().await {
            Err(error) => {
                let EngineErrorKind::NoRoom { needed, .. } = *error.failure else {
                    panic!("{error:?}");
                };
                break needed;
            }
            Ok(_) => quota /= 2,
        }
        instance.roll_back().await.unwrap();
    };
    // More than the migration needs: a rollback restores the deleted keys.
    let report = {
        instance
            .store
            .change(|state| state.set_limits(ServerLimits::default()));
        instance.migrate().await.unwrap().plan.unwrap()
    };
    let migration = report.bytes_put + 256 * (report.put + report.rewrite + report.delete);
    let margin = 512 << 10;
    assert!(
        needed > migration + margin + 256 * report.put,
        "{needed} {report:?}"
    );
}

/// The blocking findings of `plan`: codes and messages.
async fn blocking_findings(instance: &Instance) -> Vec<(String, String)> {
    let options = instance.options().transform;
    let (limits, environment) = (super::instance::limits(), Environment::silent());
    let planned = plan(&instance.store, &root(), &options, &limits, &environment).await;
    let found = blocking(
        &instance.store,
        &root(),
        &planned.unwrap(),
        &limits,
        &environment,
    )
    .await;
    let found = found.unwrap().into_iter();
    found.map(|it| (it.code, it.message)).collect()
}

/// `plan` probes the server without a write, so it never reports "Ready" when `migrate` would fail.
#[tokio::test]
async fn plan_reports_server_limits() {
    for form in FORMS {
        for (server, code) in [
            (
                ServerLimits {
                    max_request_bytes: 64 << 10,
                    ..ServerLimits::default()
                },
                "entry-too-large",
            ),
            (
                ServerLimits {
                    max_txn_ops: 4,
                    ..ServerLimits::default()
                },
                "commit-too-large",
            ),
        ] {
            let mut metadata = Metadata::small();
            metadata.change_collection(|record| {
                record.schema.as_mut().unwrap().description = "x".repeat(300_000);
            });
            let instance = Instance::of(&metadata, form);
            assert_eq!(blocking_findings(&instance).await, []);
            instance.store.change(|state| state.set_limits(server));
            let before = instance.store.dump();
            let found = blocking_findings(&instance).await;
            assert_eq!(found.len(), 1, "{form}: {found:?}");
            assert_eq!(found[0].0, code, "{form}");
            assert_eq!(instance.store.dump(), before);
            let refused = instance.migrate().await.unwrap_err();
            assert!(
                found[0].1.contains(&refused.failure.to_string()),
                "{found:?}"
            );
        }
    }
}

/// All entries fit into a request, but the commit does not.
#[tokio::test]
async fn a_commit_over_the_request_limit_names_that_limit() {
    let instance = Instance::small(CollectionForm::Database);
    let limits = ServerLimits {
        max_request_bytes: 1200,
        ..ServerLimits::default()
    };
    instance.store.change(|state| state.set_limits(limits));
    let found = blocking_findings(&instance).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "commit-too-large");
    assert!(
        found[0].1.contains("raise --max-request-bytes"),
        "{found:?}"
    );
    let refused = instance.migrate().await.unwrap_err();
    assert_eq!(refused.written, WriteState::Nothing);
    assert!(
        matches!(&*refused.failure, EngineErrorKind::CommitTooLarge(CommitSize::Bytes(bytes)) if *bytes > 1000),
        "{refused:?}"
    );
}

/// `plan` requires the same space as `migrate`, including that of the rollback.
#[tokio::test]
async fn plan_and_migrate_require_the_same_space() {
    let mut metadata = Metadata::small();
    metadata.put("datacoord-meta/s/1/10/52", &segment_with_logs(52, 5000));
    let instance = Instance::of(&metadata, CollectionForm::Database);
    let (mut low, mut high) = (1_u64, 4 << 20);
    while high - low > 1 {
        let quota = low.midpoint(high);
        instance.store.change(|state| {
            state.set_limits(ServerLimits {
                quota_bytes: Some(quota),
                ..ServerLimits::default()
            });
        });
        if blocking_findings(&instance).await.is_empty() {
            high = quota;
        } else {
            low = quota;
        }
    }
    instance.store.change(|state| {
        state.set_limits(ServerLimits {
            quota_bytes: Some(low),
            ..ServerLimits::default()
        });
    });
    let refused = instance.migrate().await.unwrap_err().failure.to_string();
    let found = blocking_findings(&instance).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "no-space");
    // The lock takes space as well, so the space in use differs.
    let needed = |message: &str| message.split(" bytes are needed").next().map(str::to_owned);
    assert_eq!(needed(&found[0].1), needed(&refused));
    assert!(found[0].1.contains("--segment-form inline"), "{found:?}");
    instance.store.change(|state| {
        state.set_limits(ServerLimits {
            // The lock adds the session of the migration.
            quota_bytes: Some(high + 4_000),
            ..ServerLimits::default()
        });
    });
    instance.migrate().await.unwrap();
}
