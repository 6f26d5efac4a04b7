//! Backups made by other tools, as found in practice: incomplete, or without a hash.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use meta_store::{Op, Store as _, Txn};

use super::UNUSED_ENDPOINT;
use super::files::save_snapshot;
use super::instance::Instance;
use super::output::{next, paste};
use super::tool::Tool;
use crate::support::etcd::{Etcd, Settings};
use crate::support::metadata::Metadata;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/backups");

const PLAN: [&str; 5] = [
    "plan",
    "--source-version",
    "2.1.4",
    "--target-version",
    "2.2.16",
];

fn offline() -> Tool {
    Tool::new().env("META_MIGRATION_ENDPOINTS", UNUSED_ENDPOINT)
}

/// birdwatcher 1.0.0 to 1.1.1 never flush the last bytes of their metrics.
#[tokio::test]
async fn truncated_birdwatcher_metrics_need_allow_partial() {
    let file = format!("{FOLDER}/birdwatcher-metrics-tail.bak.gz");
    let tool = offline();
    let plan = [&PLAN[..], &["--from", &file]].concat();
    for command in [&["backup", "check", &file][..], &plan] {
        tool.run(command)
            .expect(1)
            .says("etcd's part before that is complete")
            .says("--allow-partial");
        let allowed = [command, &["--allow-partial"]].concat();
        tool.run(&allowed).expect(0).says("cut short");
    }
    let it = Instance::empty().await;
    let restore = [
        "restore",
        "--backup-file",
        &file,
        "--to-root",
        it.root.root_path(),
    ];
    it.tool().run(&restore).expect(1).says("--allow-partial");
    assert!(it.metadata().await.is_empty());
    it.tool()
        .run(&[&restore[..], &["--allow-partial"]].concat())
        .expect(0)
        .says("cut short");
    assert!(it.metadata().await.len() > 50);
}

/// A server with the small instance at the usual root path, killed right after a write.
async fn killed_server() -> Etcd {
    let mut etcd = Etcd::start(Settings::default());
    let store = etcd.connect().await;
    let entries = Metadata::small().list();
    for entries in entries.chunks(100) {
        let put =
            |entry: &milvus_meta::entry::Entry| Op::put(entry.key.clone(), entry.value.clone());
        let ops = entries.iter().map(put).collect();
        let compares = Vec::new();
        store.txn(Txn { compares, ops }).await.unwrap();
    }
    // Commits the database.
    store.defragment(&store.endpoints()[0]).await.unwrap();
    etcd.kill();
    etcd
}

#[tokio::test]
async fn an_etcd_data_folder_requires_skip_hash_check() {
    let etcd = killed_server().await;
    let data = etcd.data();
    let member = data.join("member");
    let database = member.join("snap/db");
    let copy = data.join("copy.db");
    fs::copy(&database, &copy).unwrap();
    let tool = offline();
    for (path, has_log) in [
        (&data, true),
        (&member, true),
        (&database, true),
        (&copy, false),
    ] {
        let path = path.to_str().unwrap();
        let plan = [&PLAN[..], &["--from", path]].concat();
        let ended = tool.run(&plan);
        ended.expect(1).says("without the SHA-256");
        paste(&next(&ended.stderr), tool.path())
            .expect(0)
            .says("hash of the etcd database was not checked");
        let ended = tool.run(&[&plan[..], &["--skip-hash-check"]].concat());
        ended
            .expect(0)
            .says("the hash of the etcd database was not checked")
            .shows("Layout: 2.1");
        assert_eq!(
            ended.stderr.contains("the write-ahead log"),
            has_log,
            "{path}"
        );
        if has_log {
            ended
                .says("the database shows revision ")
                .says("raft index");
        }
    }
    tool.run(&[
        "backup",
        "check",
        data.to_str().unwrap(),
        "--skip-hash-check",
    ])
    .expect(0)
    .shows("note: the hash of the etcd database was not checked");
}

/// Log entries newer than the database are counted, regardless of the other entries of the log.
#[tokio::test]
async fn a_wal_newer_than_the_database_is_reported() {
    let etcd = killed_server().await;
    let old = etcd.data().join("old.db");
    let member = etcd.data().join("member");
    fs::copy(member.join("snap/db"), &old).unwrap();
    let mut etcd = etcd;
    etcd.restart();
    let store = etcd.connect().await;
    for number in 0..7 {
        let ops = vec![Op::put("later", format!("{number}"))];
        let compares = Vec::new();
        store.txn(Txn { compares, ops }).await.unwrap();
    }
    etcd.kill();
    // The database as it was when the first server stopped.
    fs::copy(&old, member.join("snap/db")).unwrap();
    let path = etcd.data();
    let plan = [
        &PLAN[..],
        &["--skip-hash-check", "--from", path.to_str().unwrap()],
    ]
    .concat();
    let ended = offline().run(&plan);
    ended.expect(0);
    let newer = ended
        .stderr
        .split(" newer requests")
        .next()
        .and_then(|text| text.rsplit(' ').next())
        .and_then(|number| number.parse::<u64>().ok());
    assert!(newer.is_some_and(|newer| newer >= 7), "{}", ended.stderr);
}

/// A server with the same metadata below two root paths.
async fn server_with_two_instances() -> Etcd {
    let etcd = Etcd::start(Settings::default());
    let store = etcd.connect().await;
    let entries = Metadata::small().list();
    for root in ["one/meta", "two/meta"] {
        for entries in entries.chunks(100) {
            let ops = entries
                .iter()
                .filter_map(|entry| {
                    let relative = entry.key.strip_prefix(b"by-dev/meta/")?;
                    let key = [root.as_bytes(), b"/", relative].concat();
                    Some(Op::put(key, entry.value.clone()))
                })
                .collect();
            let compares = Vec::new();
            store.txn(Txn { compares, ops }).await.unwrap();
        }
    }
    store.defragment(&store.endpoints()[0]).await.unwrap();
    etcd
}

#[tokio::test]
async fn a_snapshot_of_several_instances_requires_a_root_path() {
    let etcd = server_with_two_instances().await;
    let path = etcd.data();
    let path = path.to_str().unwrap();
    let tool = Tool::new().env("META_MIGRATION_ENDPOINTS", etcd.endpoint());
    let read = ["--skip-hash-check"];
    for command in [
        &["plan", "--target-version", "2.2.16", "--from", path][..],
        &["backup", "check", path],
        &[
            "restore",
            "--to-root",
            "three",
            "--dry-run",
            "--backup-file",
            path,
        ],
        &["restore", "--dry-run", "--backup-file", path],
        &["verify", "--backup", path],
    ] {
        let command = [command, &read].concat();
        let ended = tool.run(&command);
        ended
            .expect(2)
            .says("the metadata of several instances (one/meta, two/meta)")
            .says("--root-path one")
            .says("--root-path two");
        let pasted = paste(&next(&ended.stderr), tool.path());
        // `verify` finds 2.1 metadata.
        let expected = if command[0] == "verify" { 6 } else { 0 };
        pasted.expect(expected);
    }
    // `rollback` has no such option.
    let ended = tool.run(&["rollback", "--backup-file", path]);
    ended.expect(1).says("without the SHA-256");
    let line = next(&ended.stderr);
    assert!(line.contains("meta-migration restore "), "{line}");
    assert!(line.ends_with(" --skip-hash-check"), "{line}");
    let command = [
        "plan",
        "--target-version",
        "2.2.16",
        "--from",
        path,
        "--root-path",
        "two",
    ];
    tool.run(&[&command[..], &read].concat()).expect(0);
    let command = [
        "restore",
        "--to-root",
        "three",
        "--backup-file",
        path,
        "--root-path",
        "two",
    ];
    tool.run(&[&command[..], &["--skip-hash-check"]].concat())
        .expect(0);
}

#[tokio::test]
async fn the_drop_in_rejects_a_snapshot_of_several_instances() {
    let etcd = Etcd::start(Settings::default());
    let store = etcd.connect().await;
    for root in ["one", "two"] {
        let compares = Vec::new();
        let ops = vec![Op::put(format!("{root}/meta/root-coord/collection/1"), "")];
        store.txn(Txn { compares, ops }).await.unwrap();
    }
    let tool = Tool::new();
    let saved = tool.path().join("saved.db");
    save_snapshot(&etcd, &saved).await;
    let yaml = format!(
        "cmd:\n  type: rollback\nconfig:\n  sourceVersion: 2.1.4\n  targetVersion: 2.2.16\n  \
         backupFilePath: {}\netcd:\n  endpoints: [{}]\n",
        saved.display(),
        etcd.endpoint()
    );
    let yaml = tool.file("rollback.yaml", &yaml);
    tool.run(&[&format!("-config={}", yaml.display())])
        .expect(2)
        .says("the metadata of several instances (one/meta, two/meta)");
}

/// A compaction removes the newest change if it is a deletion; the revision is still that of etcd.
#[tokio::test]
async fn a_database_shows_the_revision_of_its_etcd() {
    let etcd = killed_server().await;
    let mut etcd = etcd;
    etcd.restart();
    let store = etcd.connect().await;
    let range = milvus_meta::keys::KeyRange::single(b"gone".to_vec());
    for ops in [vec![Op::put("gone", "x")], vec![Op::Delete(range)]] {
        let compares = Vec::new();
        store.txn(Txn { compares, ops }).await.unwrap();
    }
    let request = meta_store::RangeRequest::key("gone");
    let revision = store.range(request).await.unwrap().revision;
    store.compact(revision).await.unwrap();
    store.defragment(&store.endpoints()[0]).await.unwrap();
    let path = etcd.data();
    let check = [
        "backup",
        "check",
        path.to_str().unwrap(),
        "--skip-hash-check",
        "--format",
        "json",
    ];
    // Waits until etcd has finished the compaction.
    let ended = offline().run(&check);
    ended.expect(0);
    assert_eq!(ended.document()["revision"], revision);
    assert!(Path::new(&path).is_dir());
}

/// Ad-hoc dumps made with the etcdctl of the server.
#[tokio::test]
async fn etcdctl_output_is_read_as_a_backup() {
    let it = Instance::small().await;
    it.put_absolute(&format!("{}/session/id", it.root.meta_root()), b"7")
        .await;
    it.register("proxy-7", std::time::Duration::from_secs(60))
        .await;
    let tool = it.tool();
    tool.run(&["backup", "--backup-file", "b.mmb"]).expect(0);
    let check = |file: &str, extra: &[&str]| {
        let arguments = ["backup", "check", file, "--format", "json"];
        tool.run(&[&arguments[..], extra].concat())
    };
    let expected = check("b.mmb", &[]);
    let expected = &expected.expect(0).document()["digest"];
    let prefix = format!("{}/", it.root.root_path());
    let dump = |name: &str, arguments: &[&str]| {
        let file = fs::File::create(tool.path().join(name)).unwrap();
        let ended = Command::new(etcdctl())
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", it.endpoint(), "get", "--prefix", &prefix])
            .args(arguments)
            .stdout(file)
            .status();
        assert!(ended.unwrap().success());
    };
    for format in ["json", "protobuf"] {
        dump("dump", &["-w", format]);
        let found = check("dump", &[]);
        let found = found.expect(0).document();
        assert_eq!(&found["digest"], expected, "{format}");
        assert_eq!(found["format"], "etcdctl");
        assert_eq!(found["skipped_leased"], 1);
        assert!(found["revision"].as_i64().unwrap() > 1);
        // `--limit` truncates the dump.
        dump("dump", &["-w", format, "--limit", "5"]);
        check("dump", &[]).expect(1).says("--allow-partial");
        let part = check("dump", &["--allow-partial"]);
        assert_eq!(part.expect(0).document()["entries"], 5, "{format}");
        dump("dump", &["-w", format, "--keys-only"]);
        check("dump", &["--allow-partial"])
            .expect(1)
            .says("--keys-only");
    }
    dump("dump", &["-w", "json"]);
    let bytes = fs::read(tool.path().join("dump")).unwrap();
    tool.file(
        "dump",
        std::str::from_utf8(&bytes[..bytes.len() / 2]).unwrap(),
    );
    check("dump", &[]).expect(1).says("cut short");
    tool.file("dump", "{\"rootPath\": \"by-dev\"}");
    check("dump", &[])
        .expect(1)
        .says("not the output of etcdctl");
}

#[tokio::test]
async fn raw_inspect_output_is_read_as_a_backup() {
    let it = Instance::small().await;
    it.put_absolute(&format!("{}/session/id", it.root.meta_root()), b"7")
        .await;
    it.register("proxy-7", std::time::Duration::from_secs(60))
        .await;
    let tool = it.tool();
    tool.run(&["backup", "--backup-file", "b.mmb"]).expect(0);
    let check = |file: &str| tool.run(&["backup", "check", file, "--format", "json"]);
    let expected = check("b.mmb");
    let expected = expected.expect(0).document();
    let dump = |arguments: &[&str]| {
        let ended = tool.run(&[&["inspect", "--raw"], arguments].concat());
        tool.file("dump", &ended.expect(0).stdout);
    };
    dump(&[]);
    let found = check("dump");
    let found = found.expect(0).document();
    assert_eq!(found["format"], "inspect");
    assert_eq!(found["skipped_leased"], 1);
    for name in ["digest", "revision", "entries"] {
        assert_eq!(found[name], expected[name], "{name}");
    }
    let checked = tool.run(&["backup", "check", "dump"]);
    checked.expect(0).shows("the format has no checksums");
    let whole = fs::read_to_string(tool.path().join("dump")).unwrap();
    let lines: usize = whole.split_inclusive('\n').take(3).map(str::len).sum();
    for length in [lines, lines - 9] {
        tool.file("cut", &whole[..length]);
        let place = format!("at byte {length}");
        check("cut").expect(1).says("cut short").says(&place);
    }
    // The same from a file.
    dump(&["--from", "b.mmb"]);
    assert_eq!(
        check("dump").expect(0).document()["digest"],
        expected["digest"]
    );
    let restore = ["restore", "--backup-file", "dump", "--dry-run"];
    tool.run(&restore).expect(0);
    dump(&["--family", "root-coord/collection"]);
    check("dump").expect(1).says("--allow-partial");
}

/// The etcdctl next to the etcd under test.
pub(super) fn etcdctl() -> PathBuf {
    crate::support::etcd::binary().with_file_name("etcdctl")
}
