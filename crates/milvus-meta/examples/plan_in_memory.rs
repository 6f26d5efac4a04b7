//! Plans a migration in memory, from one 2.1 collection to 2.2 records, without etcd.

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::error::Error;

use milvus_meta::codec::describe;
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::MetaRoot;
use milvus_meta::proto::v2_1::etcd::CollectionInfo;
use milvus_meta::proto::v2_1::schema::{CollectionSchema, FieldSchema};
use milvus_meta::release::Release;
use milvus_meta::transform::{CollectionForm, OnBrokenRecord, Options, SegmentForm, Source, Task};
use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let root = MetaRoot::new("by-dev", "meta", "kv")?;
    let options = Options {
        task: Task::Migration,
        form: CollectionForm::Split,
        segment_form: SegmentForm::Auto,
        on_broken_record: OnBrokenRecord::Fail,
        schemas: None,
        target: Release::LATEST_2_2,
    };

    // The entries of the instance in any order.
    let mut source = Source::new(root.clone(), options);
    let key = root.join(b"root-coord/collection/445");
    source.push(&Entry::new(key, collection().encode_to_vec()));

    let layout = source.layout();
    let migration = source.finish();
    println!("layout: {}", layout.name());
    for finding in &migration.findings {
        println!(
            "{:?} {}: {}",
            finding.severity, finding.code, finding.message
        );
    }
    for put in migration.staged() {
        let relative = root.strip(&put.key).unwrap_or(&put.key);
        println!(
            "put {} = {}",
            printable(&put.key),
            describe(relative, &put.value)
        );
    }
    for put in &migration.rewrites {
        println!("rewrite {}", printable(&put.key));
    }
    for range in &migration.removals {
        println!("delete {range:?}");
    }
    Ok(())
}

/// A collection as Milvus 2.1 stores it.
fn collection() -> CollectionInfo {
    let key = FieldSchema {
        field_id: 100,
        name: "id".to_owned(),
        is_primary_key: true,
        data_type: 5,
        ..FieldSchema::default()
    };
    CollectionInfo {
        id: 445,
        create_time: 435_000_000_000_000_000,
        schema: Some(CollectionSchema {
            name: "articles".to_owned(),
            fields: vec![key],
            ..CollectionSchema::default()
        }),
        partition_i_ds: vec![446],
        partition_names: vec!["_default".to_owned()],
        partition_created_timestamps: vec![435_000_000_000_000_000],
        ..CollectionInfo::default()
    }
}
