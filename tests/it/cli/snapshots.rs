//! Complete outputs of the commands: text at 80 and at 120 columns, and JSON. The metadata is the
//! sample of `make demo` below `by-dev` on a separate etcd, so that lines always wrap at the same
//! place.

#![expect(clippy::too_many_lines, reason = "snapshots are as long as the output")]

use milvus_meta::keys::MetaRoot;
use serde_json::Value;

use super::instance::Instance;
use super::tool::{Ended, Tool};
use crate::support::etcd::{Etcd, Settings};
use crate::support::snapshot::redact;

const MIGRATE: [&str; 6] = [
    "migrate",
    "--target-version",
    "2.2.16",
    "--backup-file",
    "before-2.2.mmb",
    "--yes",
];
/// Members of documents that differ from run to run.
const VOLATILE: [&str; 12] = [
    "bytes",
    "capture_revision",
    "cluster_id",
    "committed_revision",
    "db_size",
    "db_size_in_use",
    "digest",
    "revision",
    "run",
    "seconds",
    "staged_since",
    "version",
];
/// The number of list items that a snapshot shows.
const ITEMS_MAX: usize = 2;

/// The sample, and a folder to work in.
struct Sample {
    tool: Tool,
    _etcd: Etcd,
}

impl Sample {
    async fn new() -> Self {
        let etcd = Etcd::start(Settings::default());
        let mut it = Instance::on(&etcd).await;
        it.root = MetaRoot::new("by-dev", "meta", "kv").unwrap();
        it.load_sample().await;
        Self {
            tool: it.tool().env("HOSTNAME", "operator-laptop"),
            _etcd: etcd,
        }
    }

    /// The sample after its migration.
    async fn migrated() -> Self {
        let it = Self::new().await;
        it.run("80", &MIGRATE).expect(0);
        it
    }

    fn run(&self, columns: &str, words: &[&str]) -> Ended {
        Ended::of(self.tool.command(words).env("COLUMNS", columns))
    }

    /// Standard output at a width, checked to fit.
    #[track_caller]
    fn at(&self, columns: usize, words: &[&str], code: i32) -> String {
        let ended = self.run(&columns.to_string(), words);
        ended.expect(code);
        for line in ended.stdout.lines() {
            // Keys, paths and commands are never split, so that they can be copied.
            let is_free = line.contains("/meta/")
                || ["next: ", "To roll back: ", "backup /"]
                    .iter()
                    .any(|start| line.trim().starts_with(start));
            assert!(is_free || line.chars().count() <= columns, "{line}");
        }
        redact(&ended.stdout)
    }

    /// Standard output, which is the same at both widths.
    #[track_caller]
    fn text(&self, words: &[&str], code: i32) -> String {
        let text = self.at(80, words, code);
        assert_eq!(self.at(120, words, code), text);
        text
    }

    /// The JSON document, indented.
    #[track_caller]
    fn json(&self, words: &[&str], code: i32) -> String {
        let ended = self.run("80", &[words, &["-o", "json"]].concat());
        ended.expect(code);
        let mut document = ended.document();
        shorten(&mut document);
        redact(&serde_json::to_string_pretty(&document).unwrap())
    }
}

/// Replaces volatile values and truncates long lists.
fn shorten(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if VOLATILE.contains(&name.as_str()) && !member.is_null() {
                    *member = "…".into();
                } else {
                    shorten(member);
                }
            }
        }
        Value::Array(items) => {
            let more = items.len().saturating_sub(ITEMS_MAX);
            items.truncate(ITEMS_MAX);
            items.iter_mut().for_each(shorten);
            if more > 0 {
                items.push(format!("… and {more} more").into());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn plan_shows_objects_findings_and_next_command() {
    let it = Sample::new().await;
    let plan = ["plan", "--target-version", "2.2.16"];
    insta::assert_snapshot!(it.at(80, &plan, 0), @r#"
    Instance: by-dev/meta on http://127.0.0.1:PORT
    Layout: 2.1, read at revision N
    Found: 4 collections, 9 partitions, 4 indexes on 18 segments, 1 alias, 3 loaded
      collections
    Plan: DIGEST; collections in the database form

    OBJECTS             2.1  2.2  WHAT CHANGES
    collections           4    4  move into the database "default"
    partitions            9    9  get separate records
    indexes               4    4  get records of the 2.2 form; 2 renamed
    segments             18   18  stay as they are
    segment indexes      25   25  get records of the 2.2 form
    aliases               1    1  get records of the 2.2 form
    loaded collections    3    1  stay loaded; 2 have to be loaded again

    124 new keys, 0 rewritten, 80 deleted; 18.3 KiB to write (-v: by family)

    Findings: 1 warning, 4 notices
      warning retired-index-type
        index "Idx1" (436365181808803890) on field "embedding" (103) of collection
        "embedding_user_928" (436365181808803886) has the type RHNSW_FLAT, which
        does not work in Milvus 2.2.16: the collection cannot be loaded or searched
        with it. Release the collection, drop the index, create one of another type
        before the migration in Milvus 2.1, or afterwards; then load the collection
          key by-dev/meta/root-coord/index/436365181808803886/436365181808803890
      notice index-renamed (2 times)
        index "_default_idx" (436365206898868262) on field "feature" (104) of
        collection "embedding_query_2851" (436365206898868255) is named
        "_default_idx_104" after the migration, as Milvus 2.2 names indexes that are
        created without a name: change client code that uses the name "_default_idx"
          key by-dev/meta/root-coord/index/436365206898868255/436365206898868262
        index "_default_idx" (436365250312536146) on field "embedding" (102) of
        collection "recsys_face_8731" (436365250312536144) is named
        "_default_idx_102" after the migration, as Milvus 2.2 names indexes that are
        created without a name: change client code that uses the name "_default_idx"
          key by-dev/meta/root-coord/index/436365250312536144/436365250312536146
      notice not-loaded (2 times)
        collection "embedding_user_928" (436365181808803886) will not be loaded
        after the migration: the target cannot use its index "Idx1"
        (436365181808803890) on field "embedding" (103); drop that index and create
        another one, then load the collection
          key by-dev/meta/queryCoord-collectionMeta/436365181808803886
        collection "embedding_query_2851" (436365206898868255) will not be loaded
        after the migration: it was loaded to 39 percent only; load it again
          key by-dev/meta/queryCoord-collectionMeta/436365206898868255

    Ready: no blocking findings
      next: meta-migration migrate --endpoints http://127.0.0.1:PORT --root-path by-dev --target-version 2.2.16   # stop Milvus first, and leave etcd running
    "#);
    insta::assert_snapshot!(it.at(120, &plan, 0), @r#"
    Instance: by-dev/meta on http://127.0.0.1:PORT
    Layout: 2.1, read at revision N
    Found: 4 collections, 9 partitions, 4 indexes on 18 segments, 1 alias, 3 loaded collections
    Plan: DIGEST; collections in the database form

    OBJECTS             2.1  2.2  WHAT CHANGES
    collections           4    4  move into the database "default"
    partitions            9    9  get separate records
    indexes               4    4  get records of the 2.2 form; 2 renamed
    segments             18   18  stay as they are
    segment indexes      25   25  get records of the 2.2 form
    aliases               1    1  get records of the 2.2 form
    loaded collections    3    1  stay loaded; 2 have to be loaded again

    124 new keys, 0 rewritten, 80 deleted; 18.3 KiB to write (-v: by family)

    Findings: 1 warning, 4 notices
      warning retired-index-type
        index "Idx1" (436365181808803890) on field "embedding" (103) of collection "embedding_user_928" (436365181808803886)
        has the type RHNSW_FLAT, which does not work in Milvus 2.2.16: the collection cannot be loaded or searched with it.
        Release the collection, drop the index, create one of another type before the migration in Milvus 2.1, or
        afterwards; then load the collection
          key by-dev/meta/root-coord/index/436365181808803886/436365181808803890
      notice index-renamed (2 times)
        index "_default_idx" (436365206898868262) on field "feature" (104) of collection "embedding_query_2851"
        (436365206898868255) is named "_default_idx_104" after the migration, as Milvus 2.2 names indexes that are created
        without a name: change client code that uses the name "_default_idx"
          key by-dev/meta/root-coord/index/436365206898868255/436365206898868262
        index "_default_idx" (436365250312536146) on field "embedding" (102) of collection "recsys_face_8731"
        (436365250312536144) is named "_default_idx_102" after the migration, as Milvus 2.2 names indexes that are created
        without a name: change client code that uses the name "_default_idx"
          key by-dev/meta/root-coord/index/436365250312536144/436365250312536146
      notice not-loaded (2 times)
        collection "embedding_user_928" (436365181808803886) will not be loaded after the migration: the target cannot use
        its index "Idx1" (436365181808803890) on field "embedding" (103); drop that index and create another one, then load
        the collection
          key by-dev/meta/queryCoord-collectionMeta/436365181808803886
        collection "embedding_query_2851" (436365206898868255) will not be loaded after the migration: it was loaded to 39
        percent only; load it again
          key by-dev/meta/queryCoord-collectionMeta/436365206898868255

    Ready: no blocking findings
      next: meta-migration migrate --endpoints http://127.0.0.1:PORT --root-path by-dev --target-version 2.2.16   # stop Milvus first, and leave etcd running
    "#);
    insta::assert_snapshot!(it.json(&plan, 0), @r#"
    {
      "blocking": [],
      "bytes_put": 18767,
      "collection_form": "database",
      "delete": 80,
      "digest": "…",
      "families": [
        {
          "delete": 0,
          "name": "datacoord-meta/binlog",
          "put": 0,
          "read": 41,
          "rewrite": 0
        },
        {
          "delete": 0,
          "name": "datacoord-meta/channel-cp",
          "put": 6,
          "read": 0,
          "rewrite": 0
        },
        "… and 26 more"
      ],
      "findings": [
        {
          "code": "retired-index-type",
          "key": "by-dev/meta/root-coord/index/436365181808803886/436365181808803890",
          "message": "index \"Idx1\" (436365181808803890) on field \"embedding\" (103) of collection \"embedding_user_928\" (436365181808803886) has the type RHNSW_FLAT, which does not work in Milvus 2.2.16: the collection cannot be loaded or searched with it. Release the collection, drop the index, create one of another type before the migration in Milvus 2.1, or afterwards; then load the collection",
          "severity": "warning"
        },
        {
          "code": "index-renamed",
          "key": "by-dev/meta/root-coord/index/436365206898868255/436365206898868262",
          "message": "index \"_default_idx\" (436365206898868262) on field \"feature\" (104) of collection \"embedding_query_2851\" (436365206898868255) is named \"_default_idx_104\" after the migration, as Milvus 2.2 names indexes that are created without a name: change client code that uses the name \"_default_idx\"",
          "severity": "notice"
        },
        "… and 3 more"
      ],
      "instance": {
        "endpoints": [
          "http://127.0.0.1:PORT"
        ],
        "meta_root": "by-dev/meta"
      },
      "layout": "2.1",
      "objects": [
        {
          "found": 4,
          "kept": 4,
          "kind": "collection"
        },
        {
          "found": 9,
          "kept": 9,
          "kind": "partition"
        },
        "… and 5 more"
      ],
      "put": 124,
      "revision": "…",
      "rewrite": 0,
      "segment_form": "auto",
      "storage_roots": []
    }
    "#);
}

#[tokio::test]
async fn migrate_shows_result_backup_and_next_commands() {
    let it = Sample::new().await;
    insta::assert_snapshot!(it.at(80, &MIGRATE, 0), @r#"
    Instance: by-dev/meta on http://127.0.0.1:PORT
    Migrated
      124 new keys, 0 rewritten, 80 deleted; database form, plan DIGEST
      backup FOLDER/before-2.2.mmb (160 entries, digest DIGEST)
      verified: all keys match the plan
      N s: read N, transform N, backup N, write N, verify N

    Findings: 1 warning, 4 notices
      warning retired-index-type
        index "Idx1" (436365181808803890) on field "embedding" (103) of collection
        "embedding_user_928" (436365181808803886) has the type RHNSW_FLAT, which
        does not work in Milvus 2.2.16: the collection cannot be loaded or searched
        with it. Release the collection, drop the index, create one of another type
        before the migration in Milvus 2.1, or afterwards; then load the collection
          key by-dev/meta/root-coord/index/436365181808803886/436365181808803890
      notice index-renamed (2 times)
        index "_default_idx" (436365206898868262) on field "feature" (104) of
        collection "embedding_query_2851" (436365206898868255) is named
        "_default_idx_104" after the migration, as Milvus 2.2 names indexes that are
        created without a name: change client code that uses the name "_default_idx"
          key by-dev/meta/root-coord/index/436365206898868255/436365206898868262
        index "_default_idx" (436365250312536146) on field "embedding" (102) of
        collection "recsys_face_8731" (436365250312536144) is named
        "_default_idx_102" after the migration, as Milvus 2.2 names indexes that are
        created without a name: change client code that uses the name "_default_idx"
          key by-dev/meta/root-coord/index/436365250312536144/436365250312536146
      notice not-loaded (2 times)
        collection "embedding_user_928" (436365181808803886) will not be loaded
        after the migration: the target cannot use its index "Idx1"
        (436365181808803890) on field "embedding" (103); drop that index and create
        another one, then load the collection
          key by-dev/meta/queryCoord-collectionMeta/436365181808803886
        collection "embedding_query_2851" (436365206898868255) will not be loaded
        after the migration: it was loaded to 39 percent only; load it again
          key by-dev/meta/queryCoord-collectionMeta/436365206898868255

      next: start Milvus 2.2.16
      To roll back: meta-migration rollback --endpoints http://127.0.0.1:PORT --root-path by-dev --target-version 2.2.16 --backup-file FOLDER/before-2.2.mmb
    "#);
    insta::assert_snapshot!(it.at(120, &MIGRATE, 0), @r"
    Instance: by-dev/meta on http://127.0.0.1:PORT
    Already migrated: the metadata has the 2.2 layout; no changes
      backup FOLDER/before-2.2.mmb (160 entries, digest DIGEST)
      next: start Milvus 2.2.16
    ");
    let it = Sample::new().await;
    insta::assert_snapshot!(it.json(&MIGRATE, 0), @r#"
    {
      "backup": {
        "digest": "…",
        "entries": 160,
        "path": "FOLDER/before-2.2.mmb"
      },
      "instance": {
        "endpoints": [
          "http://127.0.0.1:PORT"
        ],
        "meta_root": "by-dev/meta"
      },
      "outcome": "migrated",
      "plan": {
        "bytes_put": 18767,
        "collection_form": "database",
        "delete": 80,
        "digest": "…",
        "families": [
          {
            "delete": 0,
            "name": "datacoord-meta/binlog",
            "put": 0,
            "read": 41,
            "rewrite": 0
          },
          {
            "delete": 0,
            "name": "datacoord-meta/channel-cp",
            "put": 6,
            "read": 0,
            "rewrite": 0
          },
          "… and 26 more"
        ],
        "findings": [
          {
            "code": "retired-index-type",
            "key": "by-dev/meta/root-coord/index/436365181808803886/436365181808803890",
            "message": "index \"Idx1\" (436365181808803890) on field \"embedding\" (103) of collection \"embedding_user_928\" (436365181808803886) has the type RHNSW_FLAT, which does not work in Milvus 2.2.16: the collection cannot be loaded or searched with it. Release the collection, drop the index, create one of another type before the migration in Milvus 2.1, or afterwards; then load the collection",
            "severity": "warning"
          },
          {
            "code": "index-renamed",
            "key": "by-dev/meta/root-coord/index/436365206898868255/436365206898868262",
            "message": "index \"_default_idx\" (436365206898868262) on field \"feature\" (104) of collection \"embedding_query_2851\" (436365206898868255) is named \"_default_idx_104\" after the migration, as Milvus 2.2 names indexes that are created without a name: change client code that uses the name \"_default_idx\"",
            "severity": "notice"
          },
          "… and 3 more"
        ],
        "layout": "2.1",
        "objects": [
          {
            "found": 4,
            "kept": 4,
            "kind": "collection"
          },
          {
            "found": 9,
            "kept": 9,
            "kind": "partition"
          },
          "… and 5 more"
        ],
        "put": 124,
        "revision": "…",
        "rewrite": 0,
        "segment_form": "auto",
        "storage_roots": []
      },
      "resumed": false,
      "seconds": "…",
      "verified": true
    }
    "#);
}

#[tokio::test]
async fn status_shows_both_layouts() {
    let it = Sample::new().await;
    let status = ["status"];
    insta::assert_snapshot!(it.text(&status, 0), @r"
    Instance: by-dev/meta on http://127.0.0.1:PORT
    Layout: 2.1
    etcd: VERSION, 1 member; database SIZE, SIZE in use, quota 2.0 GiB
    Lock: free
    Migration: none recorded
    Milvus components: none running

    FAMILY                                 KEYS      SIZE
    channelwatch                              6     642 B
    datacoord-meta/binlog                    41   7.7 KiB
    datacoord-meta/s                         18   2.9 KiB
    indexes                                  24  16.1 KiB
    queryCoord-ReplicaMeta                    7     511 B
    queryCoord-collectionMeta                 3     981 B
    queryCoord-dmChannelWatchInfo             5     795 B
    root-coord/collection-alias               1      80 B
    root-coord/collection                     4   1.9 KiB
    root-coord/credential                     9     702 B
    root-coord/dd-msg-send                    1      38 B
    root-coord/dd-operation                   1     112 B
    root-coord/index                          4     648 B
    root-coord/segment-index                 25   4.3 KiB
    session                                   1      24 B
    snapshots/root-coord/collection-alias     1     111 B
    snapshots/root-coord/collection           9   4.7 KiB
    total                                   160  42.2 KiB
    ");
    it.run("80", &MIGRATE).expect(0);
    insta::assert_snapshot!(it.text(&status, 0), @r"
    Instance: by-dev/meta on http://127.0.0.1:PORT
    Layout: 2.2
    etcd: VERSION, 1 member; database SIZE, SIZE in use, quota 2.0 GiB
    Lock: free
    Migration: done: finished; for 2.2.16, database form; TIME
      backup FOLDER/before-2.2.mmb
    Milvus components: none running

    FAMILY                                         KEYS      SIZE
    channelwatch                                      6     642 B
    datacoord-meta/binlog                            41   7.7 KiB
    datacoord-meta/channel-cp                         6     876 B
    datacoord-meta/s                                 18   2.9 KiB
    field-index                                       4     956 B
    queryCoord-dmChannelWatchInfo                     5     795 B
    querycoord-collection-loadinfo                    1     103 B
    querycoord-replica                                3     264 B
    root-coord/credential                             9     702 B
    root-coord/database/aliases                       1      92 B
    root-coord/database/collection-info               4   1.1 KiB
    root-coord/database/db-info                       1      64 B
    root-coord/fields                                25   1.7 KiB
    root-coord/partitions                             9    1011 B
    segment-index                                    25   5.2 KiB
    session                                           1      24 B
    snapshots/root-coord/database/aliases             1     123 B
    snapshots/root-coord/database/collection-info     9   3.0 KiB
    snapshots/root-coord/database/db-info             1      95 B
    snapshots/root-coord/fields                      25   2.5 KiB
    snapshots/root-coord/partitions                   9   1.3 KiB
    total                                           204  31.1 KiB
    ");
    insta::assert_snapshot!(it.json(&status, 0), @r#"
    {
      "etcd": {
        "alarms": [],
        "db_size": "…",
        "db_size_in_use": "…",
        "members": 1,
        "quota": 2147483648,
        "version": "…"
      },
      "families": [
        {
          "bytes": "…",
          "keys": 6,
          "name": "channelwatch"
        },
        {
          "bytes": "…",
          "keys": 41,
          "name": "datacoord-meta/binlog"
        },
        "… and 19 more"
      ],
      "instance": {
        "endpoints": [
          "http://127.0.0.1:PORT"
        ],
        "meta_root": "by-dev/meta"
      },
      "journal": {
        "backup": {
          "digest": "…",
          "entries": 160,
          "path": "FOLDER/before-2.2.mmb"
        },
        "capture_revision": "…",
        "cluster_id": "…",
        "collection_form": "database",
        "committed_revision": "…",
        "counts": {
          "delete": 80,
          "put": 124,
          "rewrite": 0,
          "segments": 0
        },
        "format": 1,
        "keep_extra": false,
        "keys_expected": 203,
        "keys_when_done": 203,
        "kind": "migration",
        "meta_root": "by-dev/meta",
        "on_broken_record": "fail",
        "phase": "done",
        "plan_digest": "DIGEST",
        "run": "…",
        "segment_form": "auto",
        "source_version": null,
        "staged_since": "…",
        "started_at": "TIME",
        "target_version": "2.2.16",
        "tool_version": "0.1.0",
        "updated_at": "TIME"
      },
      "layout": "2.2",
      "lock": null,
      "sessions": []
    }
    "#);
}

#[tokio::test]
async fn verify_shows_what_was_compared() {
    let it = Sample::migrated().await;
    let verify = ["verify", "--target-version", "2.2.16"];
    insta::assert_snapshot!(it.text(&verify, 0), @r"
    Instance: by-dev/meta on http://127.0.0.1:PORT
    Verified: the 2.2 metadata is complete and consistent
    ");
    let compare = [&verify[..], &["--backup-file", "before-2.2.mmb"]].concat();
    insta::assert_snapshot!(it.text(&compare, 0), @r"
    Instance: by-dev/meta on http://127.0.0.1:PORT
    Verified: matches the expected result of migrating the backup
    ");
    insta::assert_snapshot!(it.json(&compare, 0), @r#"
    {
      "different": 0,
      "extra": 0,
      "findings": [],
      "instance": {
        "endpoints": [
          "http://127.0.0.1:PORT"
        ],
        "meta_root": "by-dev/meta"
      },
      "missing": 0,
      "ok": true
    }
    "#);
}

#[tokio::test]
async fn rollback_dry_run_shows_the_complete_diff() {
    let it = Sample::migrated().await;
    let rollback = ["rollback", "--dry-run"];
    insta::assert_snapshot!(it.text(&rollback, 0), @r#"
    Instance: by-dev/meta on http://127.0.0.1:PORT
    Dry run: no changes made; would change:
      80 keys put, 124 deleted
      backup FOLDER/before-2.2.mmb (160 entries, digest DIGEST)

    FAMILY                                         ADDED  CHANGED  REMOVED
    datacoord-meta/channel-cp                          -        -        6
    field-index                                        -        -        4
    indexes                                           24        -        -
    queryCoord-ReplicaMeta                             7        -        -
    queryCoord-collectionMeta                          3        -        -
    querycoord-collection-loadinfo                     -        -        1
    querycoord-replica                                 -        -        3
    root-coord/collection-alias                        1        -        -
    root-coord/collection                              4        -        -
    root-coord/database/aliases                        -        -        1
    root-coord/database/collection-info                -        -        4
    root-coord/database/db-info                        -        -        1
    root-coord/dd-msg-send                             1        -        -
    root-coord/dd-operation                            1        -        -
    root-coord/fields                                  -        -       25
    root-coord/index                                   4        -        -
    root-coord/partitions                              -        -        9
    root-coord/segment-index                          25        -        -
    segment-index                                      -        -       25
    snapshots/root-coord/collection-alias              1        -        -
    snapshots/root-coord/collection                    9        -        -
    snapshots/root-coord/database/aliases              -        -        1
    snapshots/root-coord/database/collection-info      -        -        9
    snapshots/root-coord/database/db-info              -        -        1
    snapshots/root-coord/fields                        -        -       25
    snapshots/root-coord/partitions                    -        -        9

    COLLECTION                                   ADDED  CHANGED  REMOVED
    "news_product_4458" (436365154312257589)         3        -       22
    "embedding_user_928" (436365181808803886)       11        -       25
    "embedding_query_2851" (436365206898868255)     12        -       37
    "recsys_face_8731" (436365250312536144)         19        -       36

    - by-dev/meta/datacoord-meta/channel-cp/by-dev-rootcoord-dml_0_436365154312257589v0
    - by-dev/meta/datacoord-meta/channel-cp/by-dev-rootcoord-dml_1_436365181808803886v0
    - by-dev/meta/datacoord-meta/channel-cp/by-dev-rootcoord-dml_2_436365206898868255v0
      … and 3 more in datacoord-meta/channel-cp
    - by-dev/meta/field-index/436365181808803886/436365181808803890
    - by-dev/meta/field-index/436365206898868255/436365206898868262
    - by-dev/meta/field-index/436365250312536144/436365250312536146
      … and 1 more in field-index
    + by-dev/meta/indexes/436365250312536161
    + by-dev/meta/indexes/436365250312536178
    + by-dev/meta/indexes/436365250312536189
      … and 21 more in indexes
    + by-dev/meta/queryCoord-ReplicaMeta/436365250312536418
    + by-dev/meta/queryCoord-ReplicaMeta/436365250312536421
    + by-dev/meta/queryCoord-ReplicaMeta/436365250312536422
      … and 4 more in queryCoord-ReplicaMeta
    + by-dev/meta/queryCoord-collectionMeta/436365181808803886
    + by-dev/meta/queryCoord-collectionMeta/436365206898868255
    + by-dev/meta/queryCoord-collectionMeta/436365250312536144
    - by-dev/meta/querycoord-collection-loadinfo/436365250312536144
    - by-dev/meta/querycoord-replica/436365250312536144/436365250312536425
    - by-dev/meta/querycoord-replica/436365250312536144/436365250312536428
    - by-dev/meta/querycoord-replica/436365250312536144/436365250312536431
    + by-dev/meta/root-coord/collection-alias/alias_Book911
    + by-dev/meta/root-coord/collection/436365154312257589
    + by-dev/meta/root-coord/collection/436365181808803886
    + by-dev/meta/root-coord/collection/436365206898868255
      … and 1 more in root-coord/collection
    - by-dev/meta/root-coord/database/aliases/1/alias_Book911
    - by-dev/meta/root-coord/database/collection-info/1/436365154312257589
    - by-dev/meta/root-coord/database/collection-info/1/436365181808803886
    - by-dev/meta/root-coord/database/collection-info/1/436365206898868255
      … and 1 more in root-coord/database/collection-info
    - by-dev/meta/root-coord/database/db-info/1
    + by-dev/meta/root-coord/dd-msg-send
    + by-dev/meta/root-coord/dd-operation
    - by-dev/meta/root-coord/fields/436365154312257589/0
    - by-dev/meta/root-coord/fields/436365154312257589/1
    - by-dev/meta/root-coord/fields/436365154312257589/100
      … and 22 more in root-coord/fields
    + by-dev/meta/root-coord/index/436365181808803886/436365181808803890
    + by-dev/meta/root-coord/index/436365206898868255/436365206898868262
    + by-dev/meta/root-coord/index/436365250312536144/436365250312536146
      … and 1 more in root-coord/index
    - by-dev/meta/root-coord/partitions/436365154312257589/436365154312257592
    - by-dev/meta/root-coord/partitions/436365154312257589/436365154312257595
    - by-dev/meta/root-coord/partitions/436365181808803886/436365181808803889
      … and 6 more in root-coord/partitions
    + by-dev/meta/root-coord/segment-index/436365181808803886/436365181808803890/436365181808803889/436365250312536150
    + by-dev/meta/root-coord/segment-index/436365181808803886/436365181808803890/436365181808803889/436365250312536159
    + by-dev/meta/root-coord/segment-index/436365181808803886/436365181808803890/436365181808803889/436365250312536177
      … and 22 more in root-coord/segment-index
    - by-dev/meta/segment-index/436365181808803886/436365181808803889/436365250312536150/436365250312536160
    - by-dev/meta/segment-index/436365181808803886/436365181808803889/436365250312536159/436365250312536161
    - by-dev/meta/segment-index/436365181808803886/436365181808803889/436365250312536177/436365250312536178
      … and 22 more in segment-index
    + by-dev/meta/snapshots/root-coord/collection-alias/alias_Book911_ts436365250752413696
    + by-dev/meta/snapshots/root-coord/collection/436365154312257589_ts436365154312257539
    + by-dev/meta/snapshots/root-coord/collection/436365154312257589_ts436365169566416898
    + by-dev/meta/snapshots/root-coord/collection/436365181808803886_ts436365181808803842
      … and 6 more in snapshots/root-coord/collection
    - by-dev/meta/snapshots/root-coord/database/aliases/1/alias_Book911_ts436365250752413696
    - by-dev/meta/snapshots/root-coord/database/collection-info/1/436365154312257589_ts436365154312257539
    - by-dev/meta/snapshots/root-coord/database/collection-info/1/436365154312257589_ts436365169566416898
    - by-dev/meta/snapshots/root-coord/database/collection-info/1/436365181808803886_ts436365181808803842
      … and 6 more in snapshots/root-coord/database/collection-info
    - by-dev/meta/snapshots/root-coord/database/db-info/1_ts436365154312257539
    - by-dev/meta/snapshots/root-coord/fields/436365154312257589/0_ts436365154312257539
    - by-dev/meta/snapshots/root-coord/fields/436365154312257589/100_ts436365154312257539
    - by-dev/meta/snapshots/root-coord/fields/436365154312257589/101_ts436365154312257539
      … and 22 more in snapshots/root-coord/fields
    - by-dev/meta/snapshots/root-coord/partitions/436365154312257589/436365154312257592_ts436365154312257539
    - by-dev/meta/snapshots/root-coord/partitions/436365154312257589/436365154312257595_ts436365169566416898
    - by-dev/meta/snapshots/root-coord/partitions/436365181808803886/436365181808803889_ts436365181808803842
      … and 6 more in snapshots/root-coord/partitions
    "#);
    insta::assert_snapshot!(it.json(&rollback, 0), @r#"
    {
      "backup": {
        "digest": "…",
        "entries": 160,
        "path": "FOLDER/before-2.2.mmb"
      },
      "delete": 124,
      "diff": {
        "added": 80,
        "changed": 0,
        "collections": [
          {
            "added": 3,
            "changed": 0,
            "id": "436365154312257589",
            "name": "news_product_4458",
            "removed": 22
          },
          {
            "added": 11,
            "changed": 0,
            "id": "436365181808803886",
            "name": "embedding_user_928",
            "removed": 25
          },
          "… and 2 more"
        ],
        "equal": 79,
        "families": [
          {
            "added": 0,
            "changed": 0,
            "keys": [
              {
                "change": "removed",
                "key": "by-dev/meta/datacoord-meta/channel-cp/by-dev-rootcoord-dml_0_436365154312257589v0"
              },
              {
                "change": "removed",
                "key": "by-dev/meta/datacoord-meta/channel-cp/by-dev-rootcoord-dml_1_436365181808803886v0"
              },
              "… and 4 more"
            ],
            "name": "datacoord-meta/channel-cp",
            "removed": 6
          },
          {
            "added": 0,
            "changed": 0,
            "keys": [
              {
                "change": "removed",
                "key": "by-dev/meta/field-index/436365181808803886/436365181808803890"
              },
              {
                "change": "removed",
                "key": "by-dev/meta/field-index/436365206898868255/436365206898868262"
              },
              "… and 2 more"
            ],
            "name": "field-index",
            "removed": 4
          },
          "… and 24 more"
        ],
        "removed": 124
      },
      "instance": {
        "endpoints": [
          "http://127.0.0.1:PORT"
        ],
        "meta_root": "by-dev/meta"
      },
      "kept": 0,
      "outcome": "would-restore",
      "put": 80,
      "verified": false
    }
    "#);
    insta::assert_snapshot!(it.at(80, &["rollback", "--yes"], 0), @r"
    Instance: by-dev/meta on http://127.0.0.1:PORT
    Rolled back
      80 keys put, 124 deleted
      backup FOLDER/before-2.2.mmb (160 entries, digest DIGEST)
      verified: etcd matches the backup
      next: start Milvus 2.1
    ");
}

#[tokio::test]
async fn restore_dry_run_names_values_of_the_old_root() {
    let it = Sample::migrated().await;
    let words = "restore --backup-file before-2.2.mmb --to-root copy --dry-run";
    let restore: Vec<&str> = words.split(' ').collect();
    insta::assert_snapshot!(it.at(80, &restore, 0), @r#"
    Instance: copy/meta on http://127.0.0.1:PORT
    Dry run: no changes made; would change:
      160 keys put, 0 deleted
      backup FOLDER/before-2.2.mmb (160 entries, digest DIGEST)

    FAMILY                                 ADDED  CHANGED  REMOVED
    channelwatch                               6        -        -
    datacoord-meta/binlog                     41        -        -
    datacoord-meta/s                          18        -        -
    indexes                                   24        -        -
    queryCoord-ReplicaMeta                     7        -        -
    queryCoord-collectionMeta                  3        -        -
    queryCoord-dmChannelWatchInfo              5        -        -
    root-coord/collection-alias                1        -        -
    root-coord/collection                      4        -        -
    root-coord/credential                      9        -        -
    root-coord/dd-msg-send                     1        -        -
    root-coord/dd-operation                    1        -        -
    root-coord/index                           4        -        -
    root-coord/segment-index                  25        -        -
    session                                    1        -        -
    snapshots/root-coord/collection-alias      1        -        -
    snapshots/root-coord/collection            9        -        -

    COLLECTION                                   ADDED  CHANGED  REMOVED
    "news_product_4458" (436365154312257589)         3        -        -
    "embedding_user_928" (436365181808803886)       36        -        -
    "embedding_query_2851" (436365206898868255)     25        -        -
    "recsys_face_8731" (436365250312536144)         40        -        -

    + copy/meta/channelwatch/5/by-dev-rootcoord-dml_0_436365154312257589v0
    + copy/meta/channelwatch/5/by-dev-rootcoord-dml_4_436365250312536144v0
    + copy/meta/channelwatch/5/by-dev-rootcoord-dml_5_436365250312536144v1
      … and 3 more in channelwatch
    + copy/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536150/1
    + copy/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536150/101
    + copy/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536150/102
      … and 38 more in datacoord-meta/binlog
    + copy/meta/datacoord-meta/s/436365181808803886/436365181808803889/436365250312536150
    + copy/meta/datacoord-meta/s/436365181808803886/436365181808803889/436365250312536159
    + copy/meta/datacoord-meta/s/436365181808803886/436365181808803889/436365250312536177
      … and 15 more in datacoord-meta/s
    + copy/meta/indexes/436365250312536161
    + copy/meta/indexes/436365250312536178
    + copy/meta/indexes/436365250312536189
      … and 21 more in indexes
    + copy/meta/queryCoord-ReplicaMeta/436365250312536418
    + copy/meta/queryCoord-ReplicaMeta/436365250312536421
    + copy/meta/queryCoord-ReplicaMeta/436365250312536422
      … and 4 more in queryCoord-ReplicaMeta
    + copy/meta/queryCoord-collectionMeta/436365181808803886
    + copy/meta/queryCoord-collectionMeta/436365206898868255
    + copy/meta/queryCoord-collectionMeta/436365250312536144
    + copy/meta/queryCoord-dmChannelWatchInfo/436365181808803886/by-dev-rootcoord-dml_1_436365181808803886v0
    + copy/meta/queryCoord-dmChannelWatchInfo/436365206898868255/by-dev-rootcoord-dml_2_436365206898868255v0
    + copy/meta/queryCoord-dmChannelWatchInfo/436365206898868255/by-dev-rootcoord-dml_3_436365206898868255v1
      … and 2 more in queryCoord-dmChannelWatchInfo
    + copy/meta/root-coord/collection-alias/alias_Book911
    + copy/meta/root-coord/collection/436365154312257589
    + copy/meta/root-coord/collection/436365181808803886
    + copy/meta/root-coord/collection/436365206898868255
      … and 1 more in root-coord/collection
    + copy/meta/root-coord/credential/grantee-id/c1a4b6d2/PrivilegeSearch
    + copy/meta/root-coord/credential/grantee-privileges/reader/Collection/*
    + copy/meta/root-coord/credential/roles/admin
      … and 6 more in root-coord/credential
    + copy/meta/root-coord/dd-msg-send
    + copy/meta/root-coord/dd-operation
    + copy/meta/root-coord/index/436365181808803886/436365181808803890
    + copy/meta/root-coord/index/436365206898868255/436365206898868262
    + copy/meta/root-coord/index/436365250312536144/436365250312536146
      … and 1 more in root-coord/index
    + copy/meta/root-coord/segment-index/436365181808803886/436365181808803890/436365181808803889/436365250312536150
    + copy/meta/root-coord/segment-index/436365181808803886/436365181808803890/436365181808803889/436365250312536159
    + copy/meta/root-coord/segment-index/436365181808803886/436365181808803890/436365181808803889/436365250312536177
      … and 22 more in root-coord/segment-index
    + copy/meta/session/id
    + copy/meta/snapshots/root-coord/collection-alias/alias_Book911_ts436365250752413696
    + copy/meta/snapshots/root-coord/collection/436365154312257589_ts436365154312257539
    + copy/meta/snapshots/root-coord/collection/436365154312257589_ts436365169566416898
    + copy/meta/snapshots/root-coord/collection/436365181808803886_ts436365181808803842
      … and 6 more in snapshots/root-coord/collection
    36 values contain the old root path "by-dev" and are restored as they are.
      Channel names, for example, stay those of the old instance: do not run both
      instances on the same message queue
      copy/meta/datacoord-meta/s/436365181808803886/436365181808803889/436365250312536150
      copy/meta/datacoord-meta/s/436365181808803886/436365181808803889/436365250312536159
      copy/meta/datacoord-meta/s/436365181808803886/436365181808803889/436365250312536177
      … and 33 more
    "#);
    insta::assert_snapshot!(it.json(&restore, 0), @r#"
    {
      "backup": {
        "digest": "…",
        "entries": 160,
        "path": "FOLDER/before-2.2.mmb"
      },
      "delete": 0,
      "diff": {
        "added": 160,
        "changed": 0,
        "collections": [
          {
            "added": 3,
            "changed": 0,
            "id": "436365154312257589",
            "name": "news_product_4458",
            "removed": 0
          },
          {
            "added": 36,
            "changed": 0,
            "id": "436365181808803886",
            "name": "embedding_user_928",
            "removed": 0
          },
          "… and 2 more"
        ],
        "equal": 0,
        "families": [
          {
            "added": 6,
            "changed": 0,
            "keys": [
              {
                "change": "added",
                "key": "copy/meta/channelwatch/5/by-dev-rootcoord-dml_0_436365154312257589v0"
              },
              {
                "change": "added",
                "key": "copy/meta/channelwatch/5/by-dev-rootcoord-dml_4_436365250312536144v0"
              },
              "… and 4 more"
            ],
            "name": "channelwatch",
            "removed": 0
          },
          {
            "added": 41,
            "changed": 0,
            "keys": [
              {
                "change": "added",
                "key": "copy/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536150/1"
              },
              {
                "change": "added",
                "key": "copy/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536150/101"
              },
              "… and 18 more"
            ],
            "name": "datacoord-meta/binlog",
            "removed": 0
          },
          "… and 15 more"
        ],
        "removed": 0
      },
      "instance": {
        "endpoints": [
          "http://127.0.0.1:PORT"
        ],
        "meta_root": "copy/meta"
      },
      "kept": 0,
      "old_root": {
        "keys": [
          "copy/meta/datacoord-meta/s/436365181808803886/436365181808803889/436365250312536150",
          "copy/meta/datacoord-meta/s/436365181808803886/436365181808803889/436365250312536159",
          "… and 18 more"
        ],
        "root": "by-dev",
        "values": 36
      },
      "outcome": "would-restore",
      "put": 160,
      "verified": false
    }
    "#);
}

#[tokio::test]
async fn backup_commands_name_each_file() {
    let it = Sample::migrated().await;
    for words in [
        "backup --backup-file after-2.2.mmb",
        "backup --backup-file official.bak --backup-format official",
        "plan --target-version 2.2.16 --report plan.html",
    ] {
        it.run("80", &words.split(' ').collect::<Vec<_>>())
            .expect(0);
    }
    it.tool.file("cut.mmb", "L\0\0");
    insta::assert_snapshot!(it.text(&["backup", "list"], 0), @r"
    Backups: . of by-dev/meta
    FILE            CREATED           MILVUS  ENTRIES      SIZE  FORMAT
    after-2.2.mmb   YYYY-MM-DD HH:MM  -           204   5.3 KiB  native
    before-2.2.mmb  YYYY-MM-DD HH:MM  -           160   5.9 KiB  native
    cut.mmb         -                 -             -       3 B  not usable
    official.bak    -                 -           204  33.5 KiB  official
    not usable: cut.mmb: cut short in the header, at byte 3
    1 other file, not a backup: plan.html
    ");
    insta::assert_snapshot!(it.json(&["backup", "list"], 0), @r#"
    {
      "backups": [
        {
          "bytes": "…",
          "created_at": "TIME",
          "digest": "…",
          "entries": 204,
          "format": "native",
          "meta_root": "by-dev/meta",
          "path": "./after-2.2.mmb",
          "problem": null,
          "revision": "…",
          "source_version": null,
          "tool_version": "0.1.0",
          "valid": true
        },
        {
          "bytes": "…",
          "created_at": "TIME",
          "digest": "…",
          "entries": 160,
          "format": "native",
          "meta_root": "by-dev/meta",
          "path": "./before-2.2.mmb",
          "problem": null,
          "revision": "…",
          "source_version": null,
          "tool_version": "0.1.0",
          "valid": true
        },
        "… and 3 more"
      ],
      "folder": "."
    }
    "#);
    insta::assert_snapshot!(it.text(&["backup", "check", "before-2.2.mmb"], 0), @r"
    Backup: before-2.2.mmb
      160 entries, 5.9 KiB, native format, digest DIGEST
      shows etcd at revision N
      of by-dev/meta, layout 2.1
      created TIME by meta-migration VERSION
      all checksums match
    ");
    let diff = ["backup", "diff", "before-2.2.mmb", "etcd"];
    insta::assert_snapshot!(it.text(&diff, 6), @r#"
    Diff: from before-2.2.mmb to by-dev/meta on http://127.0.0.1:PORT
    FAMILY                                         ADDED  CHANGED  REMOVED
    datacoord-meta/channel-cp                          6        -        -
    field-index                                        4        -        -
    indexes                                            -        -       24
    queryCoord-ReplicaMeta                             -        -        7
    queryCoord-collectionMeta                          -        -        3
    querycoord-collection-loadinfo                     1        -        -
    querycoord-replica                                 3        -        -
    root-coord/collection-alias                        -        -        1
    root-coord/collection                              -        -        4
    root-coord/database/aliases                        1        -        -
    root-coord/database/collection-info                4        -        -
    root-coord/database/db-info                        1        -        -
    root-coord/dd-msg-send                             -        -        1
    root-coord/dd-operation                            -        -        1
    root-coord/fields                                 25        -        -
    root-coord/index                                   -        -        4
    root-coord/partitions                              9        -        -
    root-coord/segment-index                           -        -       25
    segment-index                                     25        -        -
    snapshots/root-coord/collection-alias              -        -        1
    snapshots/root-coord/collection                    -        -        9
    snapshots/root-coord/database/aliases              1        -        -
    snapshots/root-coord/database/collection-info      9        -        -
    snapshots/root-coord/database/db-info              1        -        -
    snapshots/root-coord/fields                       25        -        -
    snapshots/root-coord/partitions                    9        -        -

    COLLECTION                                   ADDED  CHANGED  REMOVED
    "news_product_4458" (436365154312257589)        22        -        3
    "embedding_user_928" (436365181808803886)       25        -       11
    "embedding_query_2851" (436365206898868255)     37        -       12
    "recsys_face_8731" (436365250312536144)         36        -       19

    + by-dev/meta/datacoord-meta/channel-cp/by-dev-rootcoord-dml_0_436365154312257589v0
    + by-dev/meta/datacoord-meta/channel-cp/by-dev-rootcoord-dml_1_436365181808803886v0
    + by-dev/meta/datacoord-meta/channel-cp/by-dev-rootcoord-dml_2_436365206898868255v0
      … and 3 more in datacoord-meta/channel-cp
    + by-dev/meta/field-index/436365181808803886/436365181808803890
    + by-dev/meta/field-index/436365206898868255/436365206898868262
    + by-dev/meta/field-index/436365250312536144/436365250312536146
      … and 1 more in field-index
    - by-dev/meta/indexes/436365250312536161
    - by-dev/meta/indexes/436365250312536178
    - by-dev/meta/indexes/436365250312536189
      … and 21 more in indexes
    - by-dev/meta/queryCoord-ReplicaMeta/436365250312536418
    - by-dev/meta/queryCoord-ReplicaMeta/436365250312536421
    - by-dev/meta/queryCoord-ReplicaMeta/436365250312536422
      … and 4 more in queryCoord-ReplicaMeta
    - by-dev/meta/queryCoord-collectionMeta/436365181808803886
    - by-dev/meta/queryCoord-collectionMeta/436365206898868255
    - by-dev/meta/queryCoord-collectionMeta/436365250312536144
    + by-dev/meta/querycoord-collection-loadinfo/436365250312536144
    + by-dev/meta/querycoord-replica/436365250312536144/436365250312536425
    + by-dev/meta/querycoord-replica/436365250312536144/436365250312536428
    + by-dev/meta/querycoord-replica/436365250312536144/436365250312536431
    - by-dev/meta/root-coord/collection-alias/alias_Book911
    - by-dev/meta/root-coord/collection/436365154312257589
    - by-dev/meta/root-coord/collection/436365181808803886
    - by-dev/meta/root-coord/collection/436365206898868255
      … and 1 more in root-coord/collection
    + by-dev/meta/root-coord/database/aliases/1/alias_Book911
    + by-dev/meta/root-coord/database/collection-info/1/436365154312257589
    + by-dev/meta/root-coord/database/collection-info/1/436365181808803886
    + by-dev/meta/root-coord/database/collection-info/1/436365206898868255
      … and 1 more in root-coord/database/collection-info
    + by-dev/meta/root-coord/database/db-info/1
    - by-dev/meta/root-coord/dd-msg-send
    - by-dev/meta/root-coord/dd-operation
    + by-dev/meta/root-coord/fields/436365154312257589/0
    + by-dev/meta/root-coord/fields/436365154312257589/1
    + by-dev/meta/root-coord/fields/436365154312257589/100
      … and 22 more in root-coord/fields
    - by-dev/meta/root-coord/index/436365181808803886/436365181808803890
    - by-dev/meta/root-coord/index/436365206898868255/436365206898868262
    - by-dev/meta/root-coord/index/436365250312536144/436365250312536146
      … and 1 more in root-coord/index
    + by-dev/meta/root-coord/partitions/436365154312257589/436365154312257592
    + by-dev/meta/root-coord/partitions/436365154312257589/436365154312257595
    + by-dev/meta/root-coord/partitions/436365181808803886/436365181808803889
      … and 6 more in root-coord/partitions
    - by-dev/meta/root-coord/segment-index/436365181808803886/436365181808803890/436365181808803889/436365250312536150
    - by-dev/meta/root-coord/segment-index/436365181808803886/436365181808803890/436365181808803889/436365250312536159
    - by-dev/meta/root-coord/segment-index/436365181808803886/436365181808803890/436365181808803889/436365250312536177
      … and 22 more in root-coord/segment-index
    + by-dev/meta/segment-index/436365181808803886/436365181808803889/436365250312536150/436365250312536160
    + by-dev/meta/segment-index/436365181808803886/436365181808803889/436365250312536159/436365250312536161
    + by-dev/meta/segment-index/436365181808803886/436365181808803889/436365250312536177/436365250312536178
      … and 22 more in segment-index
    - by-dev/meta/snapshots/root-coord/collection-alias/alias_Book911_ts436365250752413696
    - by-dev/meta/snapshots/root-coord/collection/436365154312257589_ts436365154312257539
    - by-dev/meta/snapshots/root-coord/collection/436365154312257589_ts436365169566416898
    - by-dev/meta/snapshots/root-coord/collection/436365181808803886_ts436365181808803842
      … and 6 more in snapshots/root-coord/collection
    + by-dev/meta/snapshots/root-coord/database/aliases/1/alias_Book911_ts436365250752413696
    + by-dev/meta/snapshots/root-coord/database/collection-info/1/436365154312257589_ts436365154312257539
    + by-dev/meta/snapshots/root-coord/database/collection-info/1/436365154312257589_ts436365169566416898
    + by-dev/meta/snapshots/root-coord/database/collection-info/1/436365181808803886_ts436365181808803842
      … and 6 more in snapshots/root-coord/database/collection-info
    + by-dev/meta/snapshots/root-coord/database/db-info/1_ts436365154312257539
    + by-dev/meta/snapshots/root-coord/fields/436365154312257589/0_ts436365154312257539
    + by-dev/meta/snapshots/root-coord/fields/436365154312257589/100_ts436365154312257539
    + by-dev/meta/snapshots/root-coord/fields/436365154312257589/101_ts436365154312257539
      … and 22 more in snapshots/root-coord/fields
    + by-dev/meta/snapshots/root-coord/partitions/436365154312257589/436365154312257592_ts436365154312257539
    + by-dev/meta/snapshots/root-coord/partitions/436365154312257589/436365154312257595_ts436365169566416898
    + by-dev/meta/snapshots/root-coord/partitions/436365181808803886/436365181808803889_ts436365181808803842
      … and 6 more in snapshots/root-coord/partitions
    124 added, 80 removed, 0 changed, 79 unchanged
    "#);
    insta::assert_snapshot!(it.json(&diff, 6), @r#"
    {
      "added": 124,
      "after": "by-dev/meta on http://127.0.0.1:PORT",
      "before": "before-2.2.mmb",
      "changed": 0,
      "collections": [
        {
          "added": 22,
          "changed": 0,
          "id": "436365154312257589",
          "name": "news_product_4458",
          "removed": 3
        },
        {
          "added": 25,
          "changed": 0,
          "id": "436365181808803886",
          "name": "embedding_user_928",
          "removed": 11
        },
        "… and 2 more"
      ],
      "differences": [
        {
          "change": "added",
          "key": "by-dev/meta/datacoord-meta/channel-cp/by-dev-rootcoord-dml_0_436365154312257589v0"
        },
        {
          "change": "added",
          "key": "by-dev/meta/datacoord-meta/channel-cp/by-dev-rootcoord-dml_1_436365181808803886v0"
        },
        "… and 202 more"
      ],
      "equal": 79,
      "families": [
        {
          "added": 6,
          "changed": 0,
          "keys": [
            {
              "change": "added",
              "key": "by-dev/meta/datacoord-meta/channel-cp/by-dev-rootcoord-dml_0_436365154312257589v0"
            },
            {
              "change": "added",
              "key": "by-dev/meta/datacoord-meta/channel-cp/by-dev-rootcoord-dml_1_436365181808803886v0"
            },
            "… and 4 more"
          ],
          "name": "datacoord-meta/channel-cp",
          "removed": 0
        },
        {
          "added": 4,
          "changed": 0,
          "keys": [
            {
              "change": "added",
              "key": "by-dev/meta/field-index/436365181808803886/436365181808803890"
            },
            {
              "change": "added",
              "key": "by-dev/meta/field-index/436365206898868255/436365206898868262"
            },
            "… and 2 more"
          ],
          "name": "field-index",
          "removed": 0
        },
        "… and 24 more"
      ],
      "removed": 80
    }
    "#);
    let prune = ["backup", "prune", ".", "--keep", "1", "--dry-run"];
    insta::assert_snapshot!(it.text(&prune, 0), @r"
    would keep ./before-2.2.mmb
    would keep ./after-2.2.mmb
    would skip ./cut.mmb: cut short in the header, at byte 3
    would skip ./official.bak: it is of the import format official
    1 other file, not a backup: plan.html
    ");
    insta::assert_snapshot!(it.json(&prune, 0), @r#"
    {
      "dry_run": true,
      "kept": [
        "./before-2.2.mmb",
        "./after-2.2.mmb"
      ],
      "removed": [],
      "untouched": [
        {
          "path": "./cut.mmb",
          "reason": "cut short in the header, at byte 3"
        },
        {
          "path": "./official.bak",
          "reason": "it is of the import format official"
        },
        "… and 1 more"
      ]
    }
    "#);
}

#[tokio::test]
async fn history_fits_80_columns() {
    let it = Sample::migrated().await;
    it.run("80", &["rollback", "--yes"]).expect(0);
    insta::assert_snapshot!(it.text(&["history"], 0), @r"
    Instance: by-dev/meta on http://127.0.0.1:PORT
    FINISHED          RESULT       TARGET  PUT  REWRITTEN  DELETED  BACKUP
    YYYY-MM-DD HH:MM  rolled back  -        80          0      124  before-2.2.mmb
    YYYY-MM-DD HH:MM  migrated     2.2.16  124          0       80  before-2.2.mmb
    ");
    insta::assert_snapshot!(it.json(&["history"], 0), @r#"
    {
      "instance": {
        "endpoints": [
          "http://127.0.0.1:PORT"
        ],
        "meta_root": "by-dev/meta"
      },
      "runs": [
        {
          "backup": {
            "digest": "…",
            "entries": 160,
            "path": "FOLDER/before-2.2.mmb"
          },
          "delete": 124,
          "finished_at": "TIME",
          "host": "operator-laptop",
          "put": 80,
          "result": "rolled-back",
          "rewrite": 0,
          "run": "…",
          "source_version": null,
          "started_at": "TIME",
          "target_version": null,
          "tool_version": "0.1.0"
        },
        {
          "backup": {
            "digest": "…",
            "entries": 160,
            "path": "FOLDER/before-2.2.mmb"
          },
          "delete": 80,
          "finished_at": "TIME",
          "host": "operator-laptop",
          "put": 124,
          "result": "migrated",
          "rewrite": 0,
          "run": "…",
          "source_version": null,
          "started_at": "TIME",
          "target_version": "2.2.16",
          "tool_version": "0.1.0"
        }
      ],
      "unfinished": null
    }
    "#);
}
