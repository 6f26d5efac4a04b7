//! `show`: real metadata at two widths and as documents.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use milvus_meta::entry::Entry;
use milvus_meta::proto::v2_2::etcd::{CollectionInfo, DatabaseInfo};
use milvus_meta::proto::v2_2::schema::CollectionSchema;
use prost::Message as _;
use serde_json::{Value, json};

use super::instance::Instance;
use super::tool::{Ended, Tool};
use crate::support::dump::read_dump;
use crate::support::snapshot::redact;

/// Metadata of a real Milvus 2.1.4.
fn demo() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/demo/milvus-2.1.4.bak")
}

fn show(columns: &str, arguments: &[&str]) -> Ended {
    let demo = demo();
    let from = ["show", "--from", demo.to_str().unwrap()];
    let tool = Tool::new().env("COLUMNS", columns);
    tool.run(&[&from[..], arguments].concat())
}

fn seen(columns: &str, arguments: &[&str]) -> String {
    let ended = show(columns, arguments);
    ended.expect(0);
    let widest = ended.stdout.lines().map(|line| line.chars().count()).max();
    assert!(widest <= columns.parse().ok(), "{}", ended.stdout);
    redact(&ended.stdout)
}

#[test]
fn collections_fit_in_80_columns() {
    insta::assert_snapshot!(seen("80", &["collections"]), @r"
NAME                  ID                       ROWS  LOADED      CREATED
embedding_query_2851  436365206898868255  4,848,730  collection  2022-10-01
embedding_user_928    436365181808803886  5,887,419  collection  2022-10-01
news_product_4458     436365154312257589          0  -           2022-10-01
recsys_face_8731      436365250312536144  7,855,503  collection  2022-10-01
47 values cannot be decoded, such as
  by-dev/meta/channelwatch/5/by-dev-rootcoord-dml_0_436365154312257589v0 (-o
  json lists all)
");
}

#[test]
fn collections_use_120_columns() {
    insta::assert_snapshot!(seen("120", &["collections"]), @r"
NAME                  ID                  PARTITIONS  INDEXES  SEGMENTS       ROWS  SIZE  LOADED      CREATED
embedding_query_2851  436365206898868255           5        1         4  4,848,730     -  collection  2022-10-01
embedding_user_928    436365181808803886           1        1         7  5,887,419     -  collection  2022-10-01
news_product_4458     436365154312257589           2        0         0          0   0 B  -           2022-10-01
recsys_face_8731      436365250312536144           1        2         7  7,855,503     -  collection  2022-10-01
47 values cannot be decoded, such as by-dev/meta/channelwatch/5/by-dev-rootcoord-dml_0_436365154312257589v0 (-o json
  lists all)
");
}

#[test]
fn wide_collections_show_everything() {
    let ended = show("300", &["collections", "-o", "wide"]);
    ended.expect(0);
    insta::assert_snapshot!(ended.stdout, @r"
NAME                  ID                  DATABASE  STATE    FORM      FIELDS  PARTITIONS  INDEXES  SEGMENTS       ROWS  SIZE  LOADED      SHARDS  CONSISTENCY  CREATED     ALIASES        DESCRIPTION
embedding_query_2851  436365206898868255  default   created  embedded       7           5        1         4  4,848,730     -  collection       2  Strong       2022-10-01  -              collection of query
embedding_user_928    436365181808803886  default   created  embedded       6           1        1         7  5,887,419     -  collection       1  Bounded      2022-10-01  -              collection of item
news_product_4458     436365154312257589  default   created  embedded       7           2        0         0          0   0 B  -                1  Bounded      2022-10-01  -              collection of item
recsys_face_8731      436365250312536144  default   created  embedded       5           1        2         7  7,855,503     -  collection       2  Eventually   2022-10-01  alias_Book911  -
47 values cannot be decoded, such as by-dev/meta/channelwatch/5/by-dev-rootcoord-dml_0_436365154312257589v0 (-o json lists all)
");
}

#[test]
fn a_collection_fits_in_80_columns() {
    insta::assert_snapshot!(seen("80", &["collection", "embedding_query_2851"]), @r#"
Collection "embedding_query_2851" (436365206898868255)
  Database:    default
  State:       created
  Created:     TIME UTC
  Stored:      2.1 layout, fields and partitions in the record
  Holds:       4,848,730 rows in 4 segments
  Shards:      2
  Consistency: Strong
  Auto id:     no
  Loaded:      collection, 2 replicas
  Aliases:     none
  Description: collection of query

Fields
FIELD       ID  TYPE         PARAMETERS        NOTES
RowID        0  Int64        -                 system
Timestamp    1  Int64        -                 system
id         100  Int64        -                 primary key
price_0    101  Int8         -                 -
tag_1      102  VarChar      max_length=55371  -
price_2    103  Int8         -                 -
feature    104  FloatVector  dim=640           -

Partitions
NAME          ID                  SEGMENTS       ROWS
_default      436365206898868257         1     17,045
part_3_face   436365206898868258         0          0
part_2_face   436365206898868260         1    909,275
part_1_audio  436365206898868261         2  3,922,410
late_user     436365206898868264         0          0

Indexes
NAME          FIELD    TYPE  METRIC  SEGMENTS
_default_idx  feature  HNSW  IP      3/4, 1 in progress

Segments
STATE    SEGMENTS       ROWS  SIZE  ALL INDEXES BUILT
Flushed         1     17,045     -                  0
Growing         2  3,922,410     -                  2
Sealed          1    909,275     -                  1

Load state
LOADED      STATUS  REPLICAS
collection  39 %         2/2

Channels
CHANNEL                                      STATE  DATA NODE
by-dev-rootcoord-dml_2_436365206898868255v0  -      -
by-dev-rootcoord-dml_3_436365206898868255v1  -      -

Migration to 2.2.16
  record:          moved to
                   root-coord/database/collection-info/1/436365206898868255
  fields:          7, each under a separate key
  partitions:      5, each under a separate key
  indexes:         1 carried over
  segment indexes: 4 carried over
  aliases:         none
  load state:      lost: load the collection again; see the findings
  segments:        4 records under the same keys
Findings about this collection: 2 notices
  notice index-renamed
    index "_default_idx" (436365206898868262) on field "feature" (104) of
    collection "embedding_query_2851" (436365206898868255) is named
    "_default_idx_104" after the migration, as Milvus 2.2 names indexes that are
    created without a name: change client code that uses the name "_default_idx"
      key by-dev/meta/root-coord/index/436365206898868255/436365206898868262
  notice not-loaded
    collection "embedding_query_2851" (436365206898868255) will not be loaded
    after the migration: it was loaded to 39 percent only; load it again
      key by-dev/meta/queryCoord-collectionMeta/436365206898868255
11 values cannot be decoded, such as
  by-dev/meta/channelwatch/7/by-dev-rootcoord-dml_2_436365206898868255v0 (-o
  json lists all)
"#);
}

#[test]
fn a_collection_uses_120_columns() {
    insta::assert_snapshot!(seen("120", &["collection", "alias_Book911"]), @r#"
Collection "recsys_face_8731" (436365250312536144)
  Database:    default
  State:       created
  Created:     TIME UTC
  Stored:      2.1 layout, fields and partitions in the record
  Holds:       7,855,503 rows in 7 segments
  Shards:      2
  Consistency: Eventually
  Auto id:     no
  Loaded:      collection, 3 replicas
  Aliases:     alias_Book911

Fields
FIELD       ID  TYPE         PARAMETERS  NOTES        DESCRIPTION
RowID        0  Int64        -           system       row id
Timestamp    1  Int64        -           system       time stamp
pk         100  Int64        -           primary key  -
tag_0      101  Int64        -           -            -
embedding  102  FloatVector  dim=432     -            -

Partitions
NAME      ID                  SEGMENTS       ROWS  SIZE  CREATED
_default  436365250312536145         7  7,855,503     -  TIME

Indexes
NAME          ID                  FIELD      TYPE      METRIC  PARAMETERS                 SEGMENTS            ROWS
_default_idx  436365250312536146  embedding  FLAT      IP      params={"nlist": "42099"}  6/7, 1 failed  6,976,646
scalar_idx    436365250312536148  tag_0      STL_SORT  -       -                          7/7            7,855,503

Segments
STATE    SEGMENTS       ROWS  SIZE  ALL INDEXES BUILT
Flushed         2  2,640,063     -                  1
Growing         2  2,478,616     -                  2
Sealed          3  2,736,824     -                  3

Load state
LOADED      STATUS  REPLICAS  NODES
collection  100 %        3/3  -

Channels
CHANNEL                                      STATE  DATA NODE  CHECKPOINT
by-dev-rootcoord-dml_4_436365250312536144v0  -      -          -
by-dev-rootcoord-dml_5_436365250312536144v1  -      -          -

Migration to 2.2.16
  record:          moved to root-coord/database/collection-info/1/436365250312536144
  fields:          5, each under a separate key
  partitions:      1, each under a separate key
  indexes:         2 carried over
  segment indexes: 14 carried over
  aliases:         1 carried over
  load state:      stays loaded
  segments:        7 records under the same keys
Findings about this collection: 1 notice
  notice index-renamed
    index "_default_idx" (436365250312536146) on field "embedding" (102) of collection "recsys_face_8731"
    (436365250312536144) is named "_default_idx_102" after the migration, as Milvus 2.2 names indexes that are created
    without a name: change client code that uses the name "_default_idx"
      key by-dev/meta/root-coord/index/436365250312536144/436365250312536146
16 values cannot be decoded, such as by-dev/meta/channelwatch/5/by-dev-rootcoord-dml_4_436365250312536144v0 (-o json
  lists all)
"#);
}

#[test]
fn the_lists_of_a_collection_use_120_columns() {
    let kinds = [
        "partitions",
        "indexes",
        "segments",
        "aliases",
        "loads",
        "channels",
    ];
    let lists = kinds.map(|kind| seen("120", &[kind, "embedding_query_2851"]));
    insta::assert_snapshot!(lists.join("\n"), @r#"
NAME          ID                  SEGMENTS       ROWS  SIZE  CREATED
_default      436365206898868257         1     17,045     -  TIME
part_3_face   436365206898868258         0          0   0 B  TIME
part_2_face   436365206898868260         1    909,275     -  TIME
part_1_audio  436365206898868261         2  3,922,410     -  TIME
late_user     436365206898868264         0          0   0 B  TIME
11 values cannot be decoded, such as by-dev/meta/channelwatch/7/by-dev-rootcoord-dml_2_436365206898868255v0 (-o json
  lists all)

NAME          ID                  FIELD    TYPE  METRIC  PARAMETERS                        SEGMENTS                 ROWS
_default_idx  436365206898868262  feature  HNSW  IP      params={"M":19,"efConstruction":  3/4, 1 in progress  4,831,685
                                                         372}
11 values cannot be decoded, such as by-dev/meta/channelwatch/7/by-dev-rootcoord-dml_2_436365206898868255v0 (-o json
  lists all)

PARTITION     ID                  STATE         ROWS  SIZE  DELETES  INDEXED  POSITION
_default      436365250312536390  Flushed     17,045     -        0  0/1      -
part_2_face   436365250312536307  Sealed     909,275     -        0  1/1      -
part_1_audio  436365250312536186  Growing  1,977,250     -        0  1/1      -
part_1_audio  436365250312536295  Growing  1,945,160     -        0  1/1      -
11 values cannot be decoded, such as by-dev/meta/channelwatch/7/by-dev-rootcoord-dml_2_436365206898868255v0 (-o json
  lists all)

None.
11 values cannot be decoded, such as by-dev/meta/channelwatch/7/by-dev-rootcoord-dml_2_436365206898868255v0 (-o json
  lists all)

LOADED      STATUS  REPLICAS  NODES
collection  39 %         2/2  -
11 values cannot be decoded, such as by-dev/meta/channelwatch/7/by-dev-rootcoord-dml_2_436365206898868255v0 (-o json
  lists all)

CHANNEL                                      STATE  DATA NODE  CHECKPOINT
by-dev-rootcoord-dml_2_436365206898868255v0  -      -          -
by-dev-rootcoord-dml_3_436365206898868255v1  -      -          -
11 values cannot be decoded, such as by-dev/meta/channelwatch/7/by-dev-rootcoord-dml_2_436365206898868255v0 (-o json
  lists all)
"#);
}

#[test]
fn ids_are_text_in_json_and_yaml() {
    let json = show("80", &["aliases", "-o", "json"]);
    let yaml = show("80", &["loads", "embedding_query_2851", "-o", "yaml"]);
    let shown = format!("{}\n{}", json.expect(0).stdout, yaml.expect(0).stdout);
    insta::assert_snapshot!(shown, @r#"
{"aliases":[{"collection":"recsys_face_8731","collection_id":"436365250312536144","created":null,"database":"default","name":"alias_Book911","origin":"2.1"}],"layout":"2.1","unreadable":[{"key":"by-dev/meta/channelwatch/5/by-dev-rootcoord-dml_0_436365154312257589v0","reason":"not a v2_2.data.ChannelWatchInfo: failed to decode Protobuf message: ChannelWatchInfo.vchan: invalid wire type: ThirtyTwoBit (expected LengthDelimited)"},{"key":"by-dev/meta/channelwatch/5/by-dev-rootcoord-dml_4_436365250312536144v0","reason":"not a v2_2.data.ChannelWatchInfo: failed to decode Protobuf message: invalid key value: 17686649157"},{"key":"by-dev/meta/channelwatch/5/by-dev-rootcoord-dml_5_436365250312536144v1","reason":"not a v2_2.data.ChannelWatchInfo: failed to decode Protobuf message: buffer underflow"},{"key":"by-dev/meta/channelwatch/6/by-dev-rootcoord-dml_1_436365181808803886v0","reason":"not a v2_2.data.ChannelWatchInfo: failed to decode Protobuf message: buffer underflow"},{"key":"by-dev/meta/channelwatch/7/by-dev-rootcoord-dml_2_436365206898868255v0","reason":"not a v2_2.data.ChannelWatchInfo: failed to decode Protobuf message: invalid wire type value: 6"},{"key":"by-dev/meta/channelwatch/7/by-dev-rootcoord-dml_3_436365206898868255v1","reason":"not a v2_2.data.ChannelWatchInfo: failed to decode Protobuf message: invalid wire type value: 7"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536150/1","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536150/101","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536150/102","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536159/0","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536159/100","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536159/102","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536159/103","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536177/0","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536177/101","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536257/100","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536257/102","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536269/101","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536269/103","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536279/0","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536279/102","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536279/103","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536380/1","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365181808803886/436365181808803889/436365250312536380/101","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868257/436365250312536390/1","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868257/436365250312536390/102","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868257/436365250312536390/104","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868260/436365250312536307/100","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868261/436365250312536186/1","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868261/436365250312536186/101","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868261/436365250312536186/104","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868261/436365250312536295/103","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868261/436365250312536295/104","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365250312536144/436365250312536145/436365250312536200/0","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365250312536144/436365250312536145/436365250312536200/101","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365250312536144/436365250312536145/436365250312536220/100","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365250312536144/436365250312536145/436365250312536220/102","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365250312536144/436365250312536145/436365250312536242/0","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365250312536144/436365250312536145/436365250312536242/102","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365250312536144/436365250312536145/436365250312536318/0","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365250312536144/436365250312536145/436365250312536338/1","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365250312536144/436365250312536145/436365250312536338/100","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365250312536144/436365250312536145/436365250312536338/101","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365250312536144/436365250312536145/436365250312536338/102","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365250312536144/436365250312536145/436365250312536362/0","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365250312536144/436365250312536145/436365250312536403/0","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"},{"key":"by-dev/meta/datacoord-meta/binlog/436365250312536144/436365250312536145/436365250312536403/102","reason":"not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"}]}

layout: "2.1"
loads:
- collection: embedding_query_2851
  collection_id: "436365206898868255"
  kind: collection
  origin: "2.1"
  partitions: []
  released_partitions: []
  replica_number: 2
  replicas:
  - id: "436365250312536422"
    nodes: []
    resource_group: ""
  - id: "436365250312536423"
    nodes: []
    resource_group: ""
  status: 39 %
unreadable:
- key: by-dev/meta/channelwatch/7/by-dev-rootcoord-dml_2_436365206898868255v0
  reason: "not a v2_2.data.ChannelWatchInfo: failed to decode Protobuf message: invalid wire type value: 6"
- key: by-dev/meta/channelwatch/7/by-dev-rootcoord-dml_3_436365206898868255v1
  reason: "not a v2_2.data.ChannelWatchInfo: failed to decode Protobuf message: invalid wire type value: 7"
- key: >-
    by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868257/436365250312536390/1
  reason: "not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"
- key: >-
    by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868257/436365250312536390/102
  reason: "not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"
- key: >-
    by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868257/436365250312536390/104
  reason: "not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"
- key: >-
    by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868260/436365250312536307/100
  reason: "not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"
- key: >-
    by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868261/436365250312536186/1
  reason: "not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"
- key: >-
    by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868261/436365250312536186/101
  reason: "not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"
- key: >-
    by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868261/436365250312536186/104
  reason: "not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"
- key: >-
    by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868261/436365250312536295/103
  reason: "not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"
- key: >-
    by-dev/meta/datacoord-meta/binlog/436365206898868255/436365206898868261/436365250312536295/104
  reason: "not a v2_2.data.FieldBinlog: failed to decode Protobuf message: FieldBinlog.binlogs: invalid wire type value: 6"
"#);
}

/// Collections without the members that differ between the layouts.
fn collections(tool: &Tool, file: &str) -> Value {
    let ended = tool.run(&["show", "collections", "--from", file, "-o", "json"]);
    ended.expect(0);
    let mut list = ended.document()["collections"].take();
    for collection in list.as_array_mut().unwrap() {
        let collection = collection.as_object_mut().unwrap();
        // A partly loaded collection is not loaded after the migration.
        collection.remove("loaded").unwrap();
        let form = collection.remove("form").unwrap();
        assert!(["embedded", "split", "database"].contains(&form.as_str().unwrap()));
    }
    list
}

#[test]
fn all_layouts_and_forms_show_the_same() {
    let tool = Tool::new();
    let demo = demo();
    let before = collections(&tool, demo.to_str().unwrap());
    assert_eq!(before.as_array().unwrap().len(), 4);
    for form in ["embedded", "split", "database"] {
        let file = format!("{form}.mmb");
        let ended = tool.run(&[
            "migrate",
            "--from",
            demo.to_str().unwrap(),
            "--to",
            &file,
            "--target-version=2.2.16",
            "--collection-form",
            form,
        ]);
        ended.expect(0);
        assert_eq!(collections(&tool, &file), before, "{form}");
        let one = ["show", "collection", "alias_Book911", "--from", &file];
        tool.run(&one).expect(0).shows("Verified for 2.2.16");
    }
}

/// Writes entries as a file of `inspect --raw`.
fn raw(tool: &Tool, name: &str, entries: impl IntoIterator<Item = Entry>) {
    let below = entries
        .into_iter()
        .filter(|it| it.lease == 0 && it.key.starts_with(b"by-dev/meta/"));
    let lines: BTreeMap<_, _> = below
        .map(|entry| {
            let [key, value] = [&entry.key, &entry.value].map(|it| STANDARD.encode(it));
            (entry.key.clone(), json!({"key": key, "value": value}))
        })
        .collect();
    let mut file: String = lines.values().map(|line| format!("{line}\n")).collect();
    let end = json!({"entries": lines.len(), "revision": 1, "meta_root": "by-dev/meta", "complete": true});
    file += &json!({ "end": end }).to_string();
    tool.file(name, &file);
}

#[test]
fn collections_of_several_databases_show_theirs() {
    let tool = Tool::new();
    let in_database = |(id, name): (i64, &str)| {
        let database = DatabaseInfo {
            name: name.into(),
            id,
            state: 1,
            ..Default::default()
        };
        let collection = CollectionInfo {
            id: 10 + id,
            schema: Some(CollectionSchema {
                name: "books".into(),
                ..Default::default()
            }),
            db_id: id,
            ..Default::default()
        };
        let root = "by-dev/meta/root-coord/database";
        let collection_key = format!("{root}/collection-info/{id}/{}", 10 + id);
        [
            Entry::new(format!("{root}/db-info/{id}"), database.encode_to_vec()),
            Entry::new(collection_key, collection.encode_to_vec()),
        ]
    };
    let databases = [(1, "default"), (7, "sales")];
    raw(
        &tool,
        "several",
        databases.into_iter().flat_map(in_database),
    );
    let ended = tool.run(&["show", "collections", "--from", "several"]);
    ended.expect(0).shows("DATABASE").shows("sales");
}

/// The finding itself names the first collections only.
#[test]
fn an_embedded_collection_shows_its_finding() {
    let tool = Tool::new();
    raw(&tool, "official", read_dump("medium/out.jsonl"));
    let list = collections(&tool, "official");
    let last = list.as_array().unwrap().last().unwrap()["name"].clone();
    let one = [
        "show",
        "collection",
        last.as_str().unwrap(),
        "--from",
        "official",
    ];
    tool.run(&one).expect(0).shows("warning embedded-form");
}

#[test]
fn a_collection_in_both_layouts_shows_its_migration() {
    let tool = Tool::new();
    let both = ["base/in.jsonl", "unicode/out-database.jsonl"];
    raw(&tool, "mixed", both.into_iter().flat_map(read_dump));
    let one = ["show", "collection", "news_product_4458", "--from", "mixed"];
    tool.run(&one)
        .expect(0)
        .shows("Migration to 2.2.16")
        .shows("2, each under a separate key");
}

#[test]
fn an_unknown_collection_suggests_a_similar_name() {
    let ended = show("80", &["collection", "embeding_query_285"]);
    ended.expect(1);
    insta::assert_snapshot!(ended.stderr, @r#"
error: no collection is named "embeding_query_285" or has this alias or id
  next: did you mean "embedding_query_2851" or "embedding_user_928"?
"#);
    assert_eq!(ended.stdout, "");
}

#[test]
fn sessions_belong_to_no_collection() {
    show("80", &["sessions", "x"])
        .expect(2)
        .says("belong to no collection");
}

#[tokio::test]
async fn sessions_come_from_etcd() {
    let it = Instance::small().await;
    let session = json!({"ServerID": 7, "ServerName": "proxy", "Address": "10.0.0.9:19530", "Version": "2.1.4"});
    it.put("session/proxy-7", session.to_string().as_bytes())
        .await;
    let tool = it.tool().env("COLUMNS", "80");
    let ended = tool.run(&["show", "sessions"]);
    ended.expect(0);
    insta::assert_snapshot!(ended.stdout, @r"
COMPONENT  SERVER ID  ADDRESS         VERSION  LEASE
proxy              7  10.0.0.9:19530  2.1.4    -
");
    let credentials = tool.run(&["show", "collections", "-o", "json"]);
    credentials.expect(0).hides("password");
}

#[tokio::test]
async fn an_etcd_without_metadata_is_rejected() {
    let it = Instance::empty().await;
    it.tool().run(&["show", "collections"]).expect(4);
}
