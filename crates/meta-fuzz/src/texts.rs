//! Texts written by users or programs: index parameters, the configuration file, the journal,
//! durations, versions.

use std::path::Path;

use meta_migrate::journal::Journal;
use meta_migration::config::{Config, EtcdOptions, duration};
use milvus_meta::entry::Entry;
use milvus_meta::keys::{Family, MetaRoot};
use milvus_meta::proto::{v2_1, v2_2};
use milvus_meta::release::Release;
use milvus_meta::transform::{CollectionForm, OnBrokenRecord, Options, SegmentForm, Source};
use prost::Message as _;

/// The first byte selects the kind of text.
pub fn run(input: &[u8]) {
    let Some((selector, rest)) = input.split_first() else {
        return;
    };
    match selector % 5 {
        0 => params(rest),
        1 => config(rest),
        2 => journal(rest),
        3 => {
            if let Ok(text) = std::str::from_utf8(rest)
                && let Ok(duration) = duration::parse(text)
            {
                assert!(duration.as_nanos() > 0 || !text.is_empty());
            }
        }
        _ => version(rest),
    }
}

/// Migrates an index definition with this text as its build parameters.
fn params(json: &[u8]) {
    let Ok(json) = std::str::from_utf8(json) else {
        return;
    };
    let root = MetaRoot::new("a", "meta", "kv").unwrap();
    let options = Options {
        task: milvus_meta::transform::Task::Migration,
        form: CollectionForm::Split,
        segment_form: SegmentForm::Auto,
        on_broken_record: OnBrokenRecord::Fail,
        schemas: None,
        target: Release::LATEST_2_2,
    };
    let mut source = Source::new(root.clone(), options);
    for (key, value) in indexed_collection(json) {
        source.push(&Entry::new(root.join(key.as_bytes()), value));
    }
    let migration = source.finish();
    let written = migration.staged().find(|put| {
        let relative = root.strip(&put.key).unwrap();
        Family::of(relative) == Family::FieldIndex
    });
    let Some(written) = written else {
        assert!(
            migration.has_errors(),
            "an index was omitted without a finding"
        );
        return;
    };
    assert!(!migration.has_errors(), "{:?}", migration.findings);
    let record = v2_2::index::FieldIndex::decode(written.value.as_slice()).unwrap();
    let pairs = record.index_info.unwrap().index_params;
    let keys: Vec<_> = pairs.iter().map(|pair| pair.key.as_str()).collect();
    assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
    let serde_json::Value::Object(members) = serde_json::from_str(json).unwrap_or_default() else {
        return;
    };
    for (name, member) in members {
        let found = pairs.iter().find(|pair| pair.key == name);
        check_parameter(&member, found.map(|pair| &pair.value), json);
    }
}

/// A collection with an index with these build parameters: keys and values.
fn indexed_collection(json: &str) -> [(&'static str, Vec<u8>); 2] {
    let pair = |key: &str, value: &str| v2_1::common::KeyValuePair {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let definition = v2_1::etcd::IndexInfo {
        index_id: 7,
        index_name: String::from("_default_idx"),
        index_params: vec![pair("index_type", "FLAT"), pair("params", json)],
        ..Default::default()
    };
    let field = v2_1::schema::FieldSchema {
        field_id: 100,
        name: String::from("f"),
        is_primary_key: true,
        data_type: 101,
        ..Default::default()
    };
    let collection = v2_1::etcd::CollectionInfo {
        id: 1,
        create_time: 5 << 18,
        schema: Some(v2_1::schema::CollectionSchema {
            name: String::from("c"),
            fields: vec![field],
            ..Default::default()
        }),
        field_indexes: vec![v2_1::etcd::FieldIndexInfo {
            filed_id: 100,
            index_id: 7,
        }],
        partition_i_ds: vec![2],
        partition_names: vec![String::from("p")],
        partition_created_timestamps: vec![5 << 18],
        ..Default::default()
    };
    [
        ("root-coord/collection/1", collection.encode_to_vec()),
        ("root-coord/index/1/7", definition.encode_to_vec()),
    ]
}

/// Checks that a parameter has the value of its JSON member.
fn check_parameter(member: &serde_json::Value, found: Option<&String>, json: &str) {
    match member {
        serde_json::Value::String(text) => assert_eq!(found, Some(text)),
        serde_json::Value::Bool(value) => assert_eq!(found, Some(&value.to_string())),
        serde_json::Value::Number(number) if number.is_f64() => {
            // serde_json does not round the last digit correctly.
            let written_value: f64 = found.unwrap().parse().unwrap();
            let read = number.as_f64().unwrap();
            assert!((written_value - read).abs() <= read.abs() * 1e-14, "{json}");
        }
        serde_json::Value::Number(number) => {
            assert_eq!(found, Some(&number.to_string()), "{json}");
        }
        serde_json::Value::Array(_) | serde_json::Value::Object(_) => {
            let written_value: serde_json::Value = serde_json::from_str(found.unwrap()).unwrap();
            assert_eq!(written_value, *member);
        }
        serde_json::Value::Null => {}
    }
}

/// Reads a configuration file with this content.
fn config(text: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("migration.yaml");
    std::fs::write(&path, text).unwrap();
    let resolve = || {
        let options = EtcdOptions {
            config: Some(path.clone()),
            ..EtcdOptions::default()
        };
        Config::resolve(options, EtcdOptions::default())
    };
    match resolve() {
        Err(error) => assert!(!error.to_string().contains('\n') || text.contains(&b'\n')),
        Ok(config) => {
            assert!(!config.connection.endpoints.is_empty());
            assert!(!config.root.meta_root().is_empty());
            assert_eq!(config.file.as_deref(), Some(Path::new(&path)));
            let resolved = resolve().expect("the file resolves twice");
            assert_eq!(format!("{config:?}"), format!("{resolved:?}"));
            if let Some(password) = &config.connection.password {
                let password = password.expose();
                // Text that also occurs elsewhere in the file is not checked.
                let text = String::from_utf8_lossy(text);
                if password.len() > 8 && text.matches(password).count() == 1 {
                    assert!(!format!("{config:?}").contains(password));
                }
            }
        }
    }
}

fn journal(value: &[u8]) {
    if let Ok(journal) = Journal::decode(value) {
        let decoded = Journal::decode(&journal.encode()).unwrap();
        assert_eq!(decoded, journal);
    }
}

fn version(text: &[u8]) {
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    if let Ok(release) = text.parse::<Release>() {
        assert_eq!(
            release.to_string().parse::<Release>().as_ref(),
            Ok(&release)
        );
        assert!(!release.has_databases() || release.has_2_2_layout());
        assert!(!release.is_2_1() || !release.has_2_2_layout());
    }
}
