//! What an interrupted run of the official tool leaves (D1) is refused, and left as it is.

use meta_migrate::{EngineErrorKind, Environment, ErrorClass, WriteState, migrate};

use super::instance::{Instance, plain};
use crate::rules::FORMS;
use crate::support::metadata::Metadata;

/// Refused for `code`, with every byte where it was.
async fn refuses(instance: &Instance, target: &str, code: &str) {
    let before = plain(&instance.store.dump());
    let mut options = instance.options();
    options.target_version = target.parse().unwrap();
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
async fn d1_segments_and_load_state_alone_are_refused() {
    let metadata = Metadata::after_an_interrupted_official_run();
    for form in FORMS {
        let instance = Instance::of(&metadata, form);
        refuses(&instance, "2.2.16", "collections-missing").await;
    }
}

#[tokio::test]
async fn d1_segments_alone_are_refused() {
    let mut metadata = Metadata::after_an_interrupted_official_run();
    metadata.remove_below(&["queryCoord-"]);
    for form in FORMS {
        let instance = Instance::of(&metadata, form);
        refuses(&instance, "2.2.16", "collections-missing").await;
    }
}

#[tokio::test]
async fn a_layout_that_the_target_would_empty_is_refused() {
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
