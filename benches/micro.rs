//! Benchmarks of the pure modules, without a server: `cargo bench --bench micro`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a benchmark that cannot continue panics"
)]

use std::sync::LazyLock;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use meta_backup::{Header, WriteOptions, Writer};
use meta_testing::generator::Generator;
use milvus_meta::codec::v2_1;
use milvus_meta::entry::Entry;
use milvus_meta::keys::{Family, MetaRoot};
use milvus_meta::transform::{
    CollectionForm, Migration, OnBrokenRecord, Options, SegmentForm, Source,
};

const SEGMENT_INDEXES: u64 = 10_000;

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let generator = Generator {
        segment_indexes: SEGMENT_INDEXES,
        seed: 1,
    };
    generator.entries("by-dev/meta").collect()
});

fn main() {
    divan::main();
}

fn root() -> MetaRoot {
    MetaRoot::new("by-dev", "meta", "kv").unwrap()
}

fn bytes(entries: &[Entry]) -> usize {
    let sizes = entries.iter();
    sizes.map(|entry| entry.key.len() + entry.value.len()).sum()
}

fn entries_of(family: Family) -> Vec<&'static Entry> {
    let root = root();
    ENTRIES
        .iter()
        .filter(|entry| Family::of(root.strip(&entry.key).unwrap()) == family)
        .collect()
}

fn migration() -> Migration {
    let options = Options {
        task: milvus_meta::transform::Task::Migration,
        form: CollectionForm::Database,
        segment_form: SegmentForm::Auto,
        on_broken_record: OnBrokenRecord::Fail,
        schemas: None,
        target: "2.2.16".parse().unwrap(),
    };
    let mut source = Source::new(root(), options);
    ENTRIES.iter().for_each(|entry| source.push(entry));
    source.finish()
}

#[divan::bench]
fn decode_index_builds(bencher: Bencher<'_, '_>) {
    let builds = entries_of(Family::IndexBuild);
    bencher
        .counter(ItemsCount::new(builds.len()))
        .bench_local(|| {
            for entry in &builds {
                divan::black_box(v2_1::index_build(&entry.value).unwrap());
            }
        });
}

#[divan::bench]
fn decode_segment_indexes(bencher: Bencher<'_, '_>) {
    let records = entries_of(Family::LegacySegmentIndex);
    bencher
        .counter(ItemsCount::new(records.len()))
        .bench_local(|| {
            for entry in &records {
                divan::black_box(v2_1::segment_index(&entry.value).unwrap());
            }
        });
}

#[divan::bench]
fn transform(bencher: Bencher<'_, '_>) {
    bencher
        .counter(BytesCount::new(bytes(&ENTRIES)))
        .bench_local(migration);
}

#[divan::bench]
fn encode(bencher: Bencher<'_, '_>) {
    let migration = migration();
    bencher
        .counter(BytesCount::new(migration.staged_bytes))
        .bench_local(|| migration.staged().map(divan::black_box).count());
}

#[divan::bench(args = [1, 3, 9])]
fn compress_backup(bencher: Bencher<'_, '_>, level: i32) {
    let folder = tempfile::tempdir().unwrap();
    bencher
        .counter(BytesCount::new(bytes(&ENTRIES)))
        .bench_local(|| {
            let header = Header {
                meta_root: "by-dev/meta".to_owned(),
                ..Header::default()
            };
            let options = WriteOptions {
                level,
                ..WriteOptions::default()
            };
            let path = folder.path().join("backup.mmb");
            let mut writer = Writer::create(&path, header, options).unwrap();
            for entry in ENTRIES.iter() {
                writer.push(&entry.key, &entry.value).unwrap();
            }
            writer.seal().map(drop).unwrap();
        });
}
