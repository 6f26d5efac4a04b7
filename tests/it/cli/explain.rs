//! `explain`: codes of findings, exit codes, and keys.

use super::instance::Instance;
use super::tool::Tool;

fn demo() -> String {
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/testdata/demo/milvus-2.1.4.bak"
    )
    .to_owned()
}

fn explained(arguments: &[&str]) -> String {
    let tool = Tool::new().env("COLUMNS", "80");
    let ended = tool.run(&[&["explain"], arguments].concat());
    ended.expect(0);
    ended.stdout
}

#[test]
fn the_code_of_a_finding_is_explained() {
    insta::assert_snapshot!(explained(&["index-file-path"]), @r"
index-file-path

The files of an index are not where Milvus 2.2 looks for them. It does not find
them, and its garbage collection deletes them.
Copy the files before 2.2 starts, or build the index again.
");
}

#[test]
fn an_exit_code_is_explained() {
    insta::assert_snapshot!(explained(&["5"]), @r"
5

Stopped part-way. The message says what is written and where the backup is.
Run the command again to resume, or rollback. Do not start Milvus before, unless
the message says that it can.
");
}

#[test]
fn a_key_is_explained_without_etcd() {
    let key = "prod/meta/snapshots/root-coord/fields/447/100_ts436365154312257591";
    insta::assert_snapshot!(explained(&[key]), @r"
snapshots/root-coord/fields/447/100_ts436365154312257591

  collection: 447
  field:      100
  time:       2022-10-01T05:09:20.969Z

snapshots/root-coord/fields/<collection>/<field>_ts<time>
A value of root-coord/fields at a time. Milvus 2.2.3 and later read only these
at their start.
Migration: Written with the history of the 2.1 collection or alias.
");
}

#[test]
fn a_key_is_shown_with_its_value_from_a_file() {
    let key = "root-coord/collection-alias/alias_Book911";
    insta::assert_snapshot!(explained(&[key, "--from", &demo()]), @r#"
root-coord/collection-alias/alias_Book911

  alias:      alias_Book911

root-coord/collection-alias/<alias>
An alias of 2.1, as a collection record with only an id and a name.
Migration: Becomes root-coord/aliases or root-coord/database/aliases. Deleted in
the commit, because Milvus 2.2 would take it for a collection.

Value
{
  "ID": "436365250312536144",
  "schema": {
    "name": "alias_Book911"
  }
}
"#);
}

#[tokio::test]
async fn a_key_is_shown_with_its_value_from_etcd() {
    let it = Instance::small().await;
    let ended = it.tool().run(&["explain", "root-coord/index/1/7"]);
    ended.expect(0).shows("\"indexID\": \"7\"");
}

#[test]
fn a_key_that_does_not_exist_is_an_error() {
    let demo = demo();
    let arguments = ["explain", "root-coord/collection/9", "--from", &demo];
    let ended = Tool::new().run(&arguments);
    ended
        .expect(1)
        .says("there is no key \"by-dev/meta/root-coord/collection/9\"");
}

#[test]
fn an_unknown_code_suggests_similar_codes() {
    let ended = Tool::new().run(&["explain", "index-file-paht"]);
    ended.expect(1);
    let said = ended
        .stderr
        .replace(env!("CARGO_BIN_EXE_meta-migration"), "meta-migration");
    insta::assert_snapshot!(said, @r#"
error: "index-file-paht" is neither a key nor the code of a finding
  next: did you mean "index-file-path" or "index-replaced" or "index-field-missing"?
  next: meta-migration explain   # lists all codes
"#);
}

#[test]
fn without_an_argument_all_codes_are_listed() {
    let list = explained(&[]);
    for text in ["Exit codes", "Kubernetes", "live-session", "helm-drift"] {
        assert!(list.contains(text), "{list}");
    }
}
