//! The metadata of a real Milvus 2.1.0, frozen in `testdata/milvus-2.1.0`.

use std::collections::BTreeSet;

use milvus_meta::catalog::Reader;
use milvus_meta::codec::describe;
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
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .collect();
        assert!(errors.is_empty(), "{target}: {errors:?}");
    }
}

#[test]
fn real_2_1_0_metadata_is_listed_completely() {
    let mut reader = Reader::new(root());
    frozen().iter().for_each(|entry| reader.push(entry));
    let catalog = reader.finish();
    assert_eq!(catalog.unreadable, []);
    // One of 12 collections is dropped.
    assert_eq!(catalog.collections.len(), 11);
    assert_eq!(catalog.dropped_collections, 1);
    assert_eq!(catalog.segments.len(), 19);
    assert_eq!(catalog.indexes.len(), 18);
    assert_eq!(catalog.loads.len(), 9);
    assert_eq!(catalog.aliases.len() as u64 + catalog.dropped_aliases, 3);
    let states = catalog.channels.iter().filter_map(|it| it.state);
    assert_eq!(states.collect::<Vec<_>>(), ["watched"; 12]);
    for collection in &catalog.collections {
        assert!(collection.created.is_some() && !collection.fields.is_empty());
    }
    let articles = catalog.collections.iter().find(|it| it.name == "articles");
    let articles = articles.unwrap();
    assert_eq!((articles.shards, articles.partitions), (2, 3));
    assert!(articles.bytes > 0 && articles.loaded.is_some());
}

#[test]
fn every_value_of_a_real_2_1_0_is_decoded() {
    let undecoded: BTreeSet<&str> = frozen()
        .iter()
        .filter_map(|entry| {
            let root = root();
            let relative = root.strip(&entry.key)?;
            let shown = describe(relative, &entry.value);
            (!shown["base64"].is_null()).then(|| Family::of(relative).name())
        })
        .collect();
    // The project has no schema for its message; no release reads it after the upgrade.
    let unknown = BTreeSet::from(["queryCoord-sealedSegmentChangeInfo"]);
    assert_eq!(undecoded, unknown);
}
