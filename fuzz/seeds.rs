//! Writes the constructed seeds of the corpus: related real records, a small file of each backup
//! format, realistic texts.
//!
//! It is a fuzz target that does its work before the first input, because all code in this
//! workspace is instrumented and only libFuzzer provides the functions that instrumented code
//! calls.
#![no_main]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use meta_fuzz::bytes::{push_chunk, push_short_chunk};
use meta_fuzz::{records, wire};
use milvus_meta::keys::{Family, MetaRoot};

libfuzzer_sys::fuzz_target!(init: write_all(), |_input: &[u8]| ());

/// From `../testdata` to `corpus`: `scripts/fuzz` runs this in the folder `fuzz`.
fn write_all() {
    let [testdata, corpus] = ["../testdata", "corpus"].map(PathBuf::from);
    let images: Vec<_> = ["base", "dropped", "unicode"]
        .map(|case| image(&testdata.join("examples").join(case).join("in.jsonl")))
        .into_iter()
        .collect();
    write(&corpus, "records", records_seeds(&images));
    write(&corpus, "keys", keys_seeds(&images));
    write(&corpus, "texts", texts_seeds());
    write(&corpus, "backups", backups_seeds(&testdata));
    write(&corpus, "imports", imports_seeds(&testdata));
}

fn write(corpus: &Path, target: &str, seeds: Vec<(String, Vec<u8>)>) {
    let folder = corpus.join(target);
    fs::create_dir_all(&folder).expect("the corpus can be written");
    for (name, seed) in seeds {
        fs::write(folder.join(format!("seed-{name}")), seed).expect("the corpus can be written");
    }
}

type Image = BTreeMap<Vec<u8>, Vec<u8>>;

/// The entries of an example, relative to the meta root.
fn image(path: &Path) -> Image {
    let text = fs::read_to_string(path).expect("the examples are there");
    let root = MetaRoot::new("by-dev", "meta", "kv").expect("the usual root");
    let lines = text.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("the examples are JSON");
        if line["lease"].as_bool().unwrap_or_default() {
            return None;
        }
        let key = root.strip(line["k"].as_str()?.as_bytes())?.to_vec();
        Some((key, base64(line["v"].as_str()?)))
    });
    lines.collect()
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut out = Vec::new();
    for group in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = group
            .iter()
            .fold(0_u32, |bits, byte| bits << 6 | u32::from(digit(*byte)));
        let bits = bits << (6 * (4 - group.len()));
        out.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    out
}

/// Each collection with all records that refer to it, in each form.
fn records_seeds(images: &[Image]) -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for (example, image) in images.iter().enumerate() {
        let mut collections: Vec<&str> = image
            .keys()
            .filter_map(|key| std::str::from_utf8(key).ok())
            .filter_map(|key| key.split("root-coord/collection/").nth(1))
            .filter_map(|rest| rest.split("_ts").next())
            .collect();
        collections.sort_unstable();
        collections.dedup();
        for (number, collection) in collections.into_iter().take(6).enumerate() {
            let mut builds = Vec::new();
            let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            for (key, value) in image {
                let family = Family::of(key);
                let text = String::from_utf8_lossy(key);
                let is_alias = matches!(family, Family::LegacyAlias | Family::LegacyAliasSnapshot);
                if text.contains(collection) || is_alias || family == Family::QueryReplica {
                    if family == Family::LegacySegmentIndex {
                        builds.push(value.clone());
                    }
                    if !matches!(family, Family::ChannelWatch | Family::Handoff) {
                        entries.push((key.clone(), value.clone()));
                    }
                }
            }
            for (key, value) in image {
                if Family::of(key) == Family::IndexBuild && builds.len() > entries.len() / 20 {
                    entries.push((key.clone(), value.clone()));
                }
            }
            entries.truncate(40);
            let selector =
                u8::try_from(number % 3).expect("below three") | if number > 2 { 64 } else { 0 };
            if let Some(seed) = records::seed(selector, &entries) {
                seeds.push((format!("{example}-{number}"), seed));
            }
        }
    }
    seeds
}

/// One key of each family.
fn keys_seeds(images: &[Image]) -> Vec<(String, Vec<u8>)> {
    let mut seeds = BTreeMap::new();
    for key in images.iter().flat_map(BTreeMap::keys) {
        let family = Family::of(key);
        let position = Family::ALL.iter().position(|other| *other == family);
        let position = position.and_then(|position| u8::try_from(position).ok());
        let seed = match (position, family.rest(key)) {
            (Some(position), Some(rest)) => [&[position][..], rest].concat(),
            _ => [&[200][..], key].concat(),
        };
        seeds.entry(family.name().replace('/', "-")).or_insert(seed);
    }
    let mut root = vec![u8::MAX];
    push_short_chunk(&mut root, b"/by-dev/");
    push_short_chunk(&mut root, b"./meta/../meta");
    root.extend_from_slice(b"kv");
    seeds.insert(String::from("root"), root);
    seeds.into_iter().collect()
}

fn texts_seeds() -> Vec<(String, Vec<u8>)> {
    let config = "cmd:\n  type: run\n  runWithBackup: true\nconfig:\n  sourceVersion: 2.1.4\n  \
                  targetVersion: \"2.2.9\"\n  backupFilePath: /tmp/b.bak\n  waitLock: 30s\n\
                  metastore:\n  type: etcd\netcd:\n  endpoints:\n    - localhost:2379\n  rootPath: by-dev\n  \
                  metaSubPath: meta\n  kvSubPath: kv\n  ssl:\n    enabled: false\n  auth:\n    enabled: true\n    \
                  userName: &u root\n    password: 'secret pass word'\n  requestTimeout: 10000\n";
    let journal = br#"{"format":1,"run":"r","phase":"staging","tool_version":"0.1.0","source_version":"2.1.4","target_version":null,"collection_form":"split","on_broken_record":"fail","plan_digest":"00","capture_revision":7,"counts":{"put":1,"rewrite":2,"delete":3},"backup":{"path":"p","entries":1,"digest":"d"},"keys_when_done":0,"started_at":"2026-11-22T18:30:00Z","updated_at":""}"#;
    let params = br#"{"M": 16, "efConstruction":2e2, "x":0.00001, "b":true, "n":null, "a":[1, "2 "], "o":{"k": 1.50}, "big":123456789012345678901234567890, "s":"t\u00e9"}"#;
    let texts: [(&str, u8, &[u8]); 5] = [
        ("params", 0, params),
        ("config", 1, config.as_bytes()),
        ("journal", 2, journal),
        ("duration", 3, b"1h 30m"),
        ("version", 4, b"v2.2.0-rc1+build.5"),
    ];
    texts
        .map(|(name, selector, text)| (name.to_owned(), [&[selector], text].concat()))
        .into()
}

fn backups_seeds(testdata: &Path) -> Vec<(String, Vec<u8>)> {
    let native = fs::read(testdata.join("backups/native-v1.mmb")).expect("the test data are there");
    let mut blocks = vec![1];
    push_chunk(&mut blocks, b"");
    for keys in [["a/b", "a/c"], ["a/d", "a/e"]] {
        blocks.push(2);
        for key in keys {
            push_short_chunk(&mut blocks, key.as_bytes());
            push_chunk(&mut blocks, b"a value");
        }
    }
    vec![
        (String::from("native"), [&[0], &native[..]].concat()),
        (String::from("native-blocks"), blocks),
        (String::from("snapshot"), [&[2], &database()[..]].concat()),
        (String::from("official"), frames_seed(3, &official(0, true))),
        (
            String::from("relative"),
            frames_seed(3, &official(0, false)),
        ),
        (
            String::from("birdwatcher-1"),
            frames_seed(4, &official(1, true)),
        ),
        (String::from("birdwatcher-2"), frames_seed(4, &parts())),
        (String::from("etcdctl-protobuf"), dump_seed(&[5, 9, 2])),
        (String::from("inspect"), dump_seed(&[6, 2, 0])),
        (String::from("etcdctl-json"), dump_seed(&[7, 9, 2])),
    ]
}

/// Two entries, one of which has a lease.
fn dump_seed(start: &[u8]) -> Vec<u8> {
    let mut out = start.to_vec();
    for (lease, key) in [
        (0, "a/meta/root-coord/collection/5"),
        (7, "a/meta/session/x"),
    ] {
        out.push(lease);
        push_short_chunk(&mut out, key.as_bytes());
        push_chunk(&mut out, b"value");
    }
    out
}

fn imports_seeds(testdata: &Path) -> Vec<(String, Vec<u8>)> {
    let native = fs::read(testdata.join("backups/native-v1.mmb")).expect("the test data are there");
    let members = |selector: u8| {
        let mut out = vec![selector];
        for (name, content) in [("README", &b"notes"[..]), ("../b.mmb", &native[..])] {
            push_short_chunk(&mut out, name.as_bytes());
            push_chunk(&mut out, content);
        }
        out
    };
    let mut log = vec![5, 128];
    for index in [7, 8] {
        let entry = [vec![8, 2], field(3, &[3 << 3, index])].concat();
        push_chunk(&mut log, &entry);
    }
    vec![
        (String::from("tar"), members(1)),
        (String::from("zip"), members(2)),
        (String::from("tar-zst"), members(3)),
        (String::from("gzip"), [&[4], &native[..]].concat()),
        (String::from("log"), log),
    ]
}

fn frames_seed(selector: u8, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![selector];
    for frame in frames {
        push_chunk(&mut out, frame);
    }
    out
}

fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::bytes_field(&mut out, number, bytes);
    out
}

fn pair(key: &str, value: &[u8]) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, value)].concat()
}

fn official(version: u8, complete: bool) -> Vec<Vec<u8>> {
    let extra: &[u8] = if complete {
        br#"{"entry_include_root_path":true}"#
    } else {
        b""
    };
    let head = [
        if version > 0 {
            vec![8, version]
        } else {
            Vec::new()
        },
        field(2, b"a"),
        field(3, b"meta"),
        vec![4 << 3, 3],
        field(6, extra),
    ];
    let root = if complete || version > 0 { "a/meta/" } else { "" };
    let key = |relative: &str| format!("{root}{relative}");
    vec![
        head.concat(),
        pair(&key("root-coord/collection/5"), b"\x08\x05"),
        pair(&key("indexes/9"), b""),
        pair(
            &key("root-coord/segment-index/3/4"),
            b"\x08\x05\x10\x06\x18\x03\x28\x04",
        ),
    ]
}

fn parts() -> Vec<Vec<u8>> {
    let part = |part_type: u8, extra: &[u8]| [vec![8, part_type, 16, 5], field(3, extra)].concat();
    vec![
        vec![8, 2],
        part(
            1,
            br#"{"instance":"a","metaPath":"meta","cnt":"2","rev":"7"}"#,
        ),
        pair("a/meta/indexes/9", b"x"),
        pair("a/meta/session/querynode-1", b"{}"),
        Vec::new(),
        part(2, b""),
        b"f".to_vec(),
        b"g".to_vec(),
        b"h".to_vec(),
        Vec::new(),
    ]
}

/// The smallest valid bbolt database, with one change.
fn database() -> Vec<u8> {
    const PAGE: usize = 512;
    let page = |number: u64, flags: u16, count: u16, body: &[u8]| {
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.extend_from_slice(&flags.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(body);
        bytes.resize(PAGE, 0);
        bytes
    };
    let meta = |number: u64, transaction: u64| {
        let mut body: Vec<u8> = [0xED0C_DAED_u32, 2, 512, 0].map(u32::to_le_bytes).concat();
        body.extend([2, 0, 0, 4, transaction].map(u64::to_le_bytes).concat());
        page(number, 4, 0, &body)
    };
    let element = |flags: u32, key: &[u8], value: &[u8]| {
        let lengths = [flags, 16, key.len() as u32, value.len() as u32];
        [&lengths.map(u32::to_le_bytes).concat()[..], key, value].concat()
    };
    let revision = [&9_u64.to_be_bytes()[..], b"_", &0_u64.to_be_bytes()].concat();
    let change = [
        field(1, b"a/meta/indexes/1"),
        vec![16, 9, 24, 9, 32, 1],
        field(5, b"v"),
    ]
    .concat();
    let bucket = [3_u64.to_le_bytes(), [0; 8]].concat();
    [
        meta(0, 2),
        meta(1, 1),
        page(2, 2, 1, &element(1, b"key", &bucket)),
        page(3, 2, 1, &element(0, &revision, &change)),
    ]
    .concat()
}
