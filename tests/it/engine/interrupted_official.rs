//! Leftovers of an interrupted official run (D1) are rejected and not changed.

use meta_migrate::{EngineErrorKind, Environment, ErrorClass, WriteState, migrate};

use super::instance::{Instance, plain};
use crate::rules::FORMS;
use crate::support::metadata::Metadata;

/// Fails unless the run is rejected with `code` and changes nothing.
async fn refuses(instance: &Instance, target: &str, code: &str) {
    let before = plain(&instance.store.dump());
    let mut options = instance.options();
    options.transform.target = target.parse().unwrap();
    let refused = migrate(&instance.store, &options, &Environment::silent())
        .await
        .unwrap_err();
    assert!(
        matches!(&*refused.failure, EngineErrorKind::Findings(plan)
            if plan.findings.iter().any(|finding| finding.is_error() && finding.code == code)),
        "{refused:?}"
    );
    assert_eq!(refused.kind(), ErrorClass::Unmigratable);
    assert_eq!(refused.written, WriteState::Nothing);
    assert_eq!(plain(&instance.store.dump()), before);
}

#[tokio::test]
async fn d1_segments_and_load_state_alone_are_rejected() {
    let metadata = Metadata::after_an_interrupted_official_run();
    for form in FORMS {
        let instance = Instance::of(&metadata, form);
        refuses(&instance, "2.2.16", "collections-missing").await;
    }
}

#[tokio::test]
async fn d1_segments_alone_are_rejected() {
    let mut metadata = Metadata::after_an_interrupted_official_run();
    metadata.remove_below(&["queryCoord-"]);
    for form in FORMS {
        let instance = Instance::of(&metadata, form);
        refuses(&instance, "2.2.16", "collections-missing").await;
    }
}

#[tokio::test]
async fn a_form_the_target_cannot_read_is_rejected() {
    let [split, database, embedded] = FORMS;
    let small = Metadata::small();
    let migrated = Metadata {
        entries: small.after(&small.migrate(embedded)),
    };
    for form in [split, database] {
        let instance = Instance::of(&migrated, form);
        refuses(&instance, "2.4.24", "embedded-form").await;
    }
}
