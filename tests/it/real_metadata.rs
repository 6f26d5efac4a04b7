//! The metadata of a real Milvus 2.1.0, frozen in `testdata/milvus-2.1.0`.

use std::collections::BTreeSet;

use milvus_meta::entry::Entry;
use milvus_meta::finding::Severity;
use milvus_meta::keys::Family;
use milvus_meta::transform::{CollectionForm, OnBrokenRecord};

use crate::support::dump::read_dump;
use crate::support::metadata::{migrate_to, root};

/// The metadata below the meta root.
fn frozen() -> Vec<Entry> {
    let entries = read_dump("../milvus-2.1.0/metadata.jsonl").into_iter();
    entries
        .filter(|entry| root().strip(&entry.key).is_some())
        .collect()
}

#[test]
fn every_family_of_a_real_2_1_0_is_known() {
    let unknown: BTreeSet<_> = frozen()
        .iter()
        .filter(|entry| root().strip(&entry.key).map(Family::of) == Some(Family::Other))
        .map(|entry| String::from_utf8_lossy(&entry.key).into_owned())
        .collect();
    assert_eq!(unknown, BTreeSet::new());
}

#[test]
fn real_2_1_0_metadata_is_planned_without_errors() {
    let entries = frozen();
    assert!(entries.len() > 200, "{}", entries.len());
    for (target, form) in [
        ("2.2.4", CollectionForm::Split),
        ("2.2.9", CollectionForm::Database),
        ("2.2.16", CollectionForm::Database),
        ("2.3.5", CollectionForm::Database),
        ("2.6.0", CollectionForm::Database),
    ] {
        let migration = migrate_to(&entries, form, OnBrokenRecord::Fail, target);
        let errors: Vec<_> = migration
            .findings()
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .collect();
        assert!(errors.is_empty(), "{target}: {errors:?}");
    }
}
