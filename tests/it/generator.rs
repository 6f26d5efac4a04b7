//! The metadata generator has the properties that the benchmarks assume.

use std::collections::BTreeMap;

use milvus_meta::entry::Entry;
use milvus_meta::keys::Family;
use milvus_meta::transform::{CollectionForm, OnBrokenRecord};

use crate::support::dump::read_dump;
use crate::support::generator::Generator;
use crate::support::metadata::{migrate, root};

const META_ROOT: &str = "by-dev/meta";

fn make(segment_indexes: u64, seed: u64) -> Vec<Entry> {
    let generator = Generator {
        segment_indexes,
        seed,
    };
    generator.entries(META_ROOT).collect()
}

/// Number of keys and mean size of keys and values, by family.
fn shape(entries: &[Entry]) -> BTreeMap<Family, (u64, u64)> {
    let mut shape: BTreeMap<Family, (u64, u64)> = BTreeMap::new();
    for entry in entries {
        if let Some(relative) = root().strip(&entry.key) {
            let (keys, bytes) = shape.entry(Family::of(relative)).or_default();
            *keys += 1;
            *bytes += (entry.key.len() + entry.value.len()) as u64;
        }
    }
    shape
        .into_iter()
        .map(|(family, (keys, bytes))| (family, (keys, bytes / keys)))
        .collect()
}

#[test]
fn keys_ascend_with_the_requested_segment_indexes() {
    for segment_indexes in [1, 7, 500, 4_321] {
        let entries = make(segment_indexes, 1);
        assert!(entries.is_sorted_by(|one, next| one.key < next.key));
        assert_eq!(
            shape(&entries)[&Family::LegacySegmentIndex].0,
            segment_indexes
        );
    }
}

#[test]
fn a_seed_gives_the_same_bytes_and_another_seed_others() {
    assert_eq!(make(300, 1), make(300, 1));
    assert_ne!(make(300, 1), make(300, 2));
}

#[test]
fn generated_metadata_migrates_without_findings() {
    let entries = make(2_000, 1);
    let migration = migrate(&entries, CollectionForm::Database, OnBrokenRecord::Fail);
    // Every default index is renamed, and the relative storage root is reported for every instance.
    const SAID: [&str; 2] = ["index-renamed", "relative-storage-root"];
    let findings = migration.findings.iter();
    let others = findings.filter(|finding| !SAID.contains(&finding.code.as_str()));
    let worst: Vec<_> = others.take(3).collect();
    assert!(worst.is_empty(), "{worst:?}");
    let written = migration
        .staged()
        .filter(|put| Family::of(root().strip(&put.key).unwrap()) == Family::SegmentIndex);
    assert_eq!(written.count(), 2_000);
}

#[test]
fn records_match_the_size_of_the_medium_example() {
    // The example keeps segment logs in keys, 2.1.0 keeps them in the records.
    let example = shape(&read_dump("medium/in.jsonl"));
    let generated = shape(&make(20_000, 1));
    let ratio = |made: u64, given: u64| made as f64 / given as f64;
    for (family, tolerance) in [
        (Family::LegacySegmentIndex, 0.1),
        (Family::IndexBuild, 0.15),
        (Family::Collection, 0.3),
        (Family::LegacyIndex, 0.3),
    ] {
        let size = ratio(generated[&family].1, example[&family].1);
        assert!((size - 1.0).abs() < tolerance, "{family:?}: {size}");
    }
    let per_index = |shape: &BTreeMap<Family, (u64, u64)>, family| {
        ratio(shape[&family].0, shape[&Family::LegacySegmentIndex].0)
    };
    for family in [Family::Segment, Family::IndexBuild] {
        let proportion = per_index(&generated, family) / per_index(&example, family);
        assert!((proportion - 1.0).abs() < 0.15, "{family:?}: {proportion}");
    }
}
