use super::*;
use crate::config::DropInCommand;
use milvus_meta::transform::{FormChoice, OnBrokenRecord, SegmentForm};

fn parse(yaml: &str) -> FileConfig {
    FileConfig::parse(Path::new("migration.yaml"), yaml).unwrap()
}

fn refused(yaml: &str) -> String {
    FileConfig::parse(Path::new("migration.yaml"), yaml)
        .unwrap_err()
        .to_string()
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

/// The file that the official pages show, with every key the tool has.
const OFFICIAL: &str = "\
cmd:
  # Option: run/backup/rollback
  type: run
  runWithBackup: true
config:
  sourceVersion: 2.1.0
  targetVersion: 2.2.0
  backupFilePath: /tmp/migration.bak
metastore:
  type: etcd
etcd:
  endpoints:
    - milvus-etcd:2379
  rootPath: by-dev
  metaSubPath: meta
  kvSubPath: kv
  use:
    embed: false
  data:
    dir: default.etcd
  log:
    level: info
    path: stdout
  ssl:
    enabled: false
    tlsCert: /path/to/etcd-client.pem
    tlsKey: /path/to/etcd-client-key.pem
    tlsCACert: /path/to/ca.pem
    tlsMinVersion: 1.3
  requestTimeout: 20000
";

#[test]
fn the_official_file_is_read_without_a_warning() {
    assert_eq!(
        parse(OFFICIAL),
        FileConfig {
            options: EtcdOptions {
                endpoints: Some(strings(&["milvus-etcd:2379"])),
                root_path: Some("by-dev".to_owned()),
                meta_sub_path: Some("meta".to_owned()),
                kv_sub_path: Some("kv".to_owned()),
                timeout: Some(Duration::from_secs(20)),
                source_version: Some("2.1.0".parse().unwrap()),
                target_version: Some("2.2.0".parse().unwrap()),
                backup_file: Some(PathBuf::from("/tmp/migration.bak")),
                ..EtcdOptions::default()
            },
            drop_in: DropIn {
                command: Some(DropInCommand::Run),
                run_with_backup: Some(true),
                ..DropIn::default()
            },
            warnings: Vec::new(),
        }
    );
}

#[test]
fn keys_are_matched_as_in_the_official_tool() {
    let config = parse(
        "CMD.TYPE: backup\nconfig_sourceVersion: v2.1.4\nConfig/BackupFilePath: /b\n\
         ETCD:\n  Root_Path: r\n  METASUBPATH: m\netcdKvSubPath: k\n",
    );
    assert_eq!(config.drop_in.command, Some(DropInCommand::Backup));
    assert_eq!(
        config.options.source_version,
        Some("2.1.4".parse().unwrap())
    );
    assert_eq!(config.options.backup_file, Some(PathBuf::from("/b")));
    assert_eq!(config.options.root_path.as_deref(), Some("r"));
    assert_eq!(config.options.meta_sub_path.as_deref(), Some("m"));
    assert_eq!(config.options.kv_sub_path.as_deref(), Some("k"));
    assert_eq!(config.warnings, strings(&[]));
}

#[test]
fn endpoints_are_a_list_a_string_or_a_comma_separated_string() {
    for yaml in [
        "etcd:\n  endpoints: [a:1, b:2]\n",
        "etcd:\n  endpoints:\n    - a:1\n    - b:2\n",
        "etcd.endpoints: 'a:1,b:2'\n",
        "etcd.endpoints: a:1 , b:2,\n",
        "etcd.endpoints: ['a:1,b:2']\n",
    ] {
        assert_eq!(
            parse(yaml).options.endpoints,
            Some(strings(&["a:1", "b:2"])),
            "{yaml}"
        );
    }
    assert_eq!(
        parse("etcd.endpoints: one:2379").options.endpoints,
        Some(strings(&["one:2379"]))
    );
}

#[test]
fn repeated_endpoints_are_joined() {
    let config =
        parse("etcd:\n  endpoints: a:1\n  endpoints: [b:2, c:3]\netcd_endpoints: d:4,e:5\n");
    let joined = strings(&["a:1", "b:2", "c:3", "d:4", "e:5"]);
    assert_eq!(config.options.endpoints, Some(joined));
    assert_eq!(config.warnings, strings(&[]));
    assert!(refused("etcd:\n  endpoints: a:1\n  endpoints: []\n").contains("line 3"));
}

#[test]
fn the_last_of_repeated_keys_counts() {
    let config = parse("etcd:\n  rootPath: x\n  rootPath: y\n  rootPath: z\n");
    assert_eq!(config.options.root_path.as_deref(), Some("z"));
    assert!(
        config.warnings[0].contains("etcd.rootPath is given 3 times"),
        "{:?}",
        config.warnings
    );
    let same = parse("etcd:\n  rootPath: x\n  rootPath: x\netcd.root_path: x\n");
    assert_eq!(same.options.root_path.as_deref(), Some("x"));
    assert_eq!(same.warnings, strings(&[]));
}

/// A template whose value is missing writes `""`; a key without a value takes the default.
#[test]
fn an_empty_path_is_rejected() {
    for key in ["rootPath", "metaSubPath", "kvSubPath"] {
        for value in ["\"\"", "' '", "/", "./"] {
            let message = refused(&format!("etcd:\n  {key}: {value}\n"));
            assert!(
                message.contains(&format!("line 2: etcd.{key}")),
                "{message}"
            );
        }
        parse(&format!("etcd:\n  {key}:\n"));
    }
}

#[test]
fn empty_endpoints_do_not_become_the_default() {
    for yaml in [
        "etcd:\n  endpoints:\n",
        "etcd.endpoints: []\n",
        "etcd.endpoints: ','\n",
    ] {
        assert!(refused(yaml).contains("etcd.endpoints"), "{yaml}");
    }
}

#[test]
fn another_metastore_is_refused() {
    assert!(refused("metastore:\n  type: mysql\n").contains("\"mysql\""));
    parse("metastore:\n  type: Etcd\n");
    parse("metastore:\n  type:\n");
}

#[test]
fn d21_the_request_timeout_is_honoured() {
    assert_eq!(
        parse("etcd.requestTimeout: 2500").options.timeout,
        Some(Duration::from_millis(2500))
    );
    for bad in ["soon", "0", "-1", "10s"] {
        let message = refused(&format!("a: 1\netcd:\n  requestTimeout: {bad}\n"));
        assert!(message.contains("line 3: etcd.requestTimeout"), "{message}");
    }
}

#[test]
fn d23_user_and_password_are_taken_when_auth_is_enabled() {
    let config =
        parse("etcd:\n  auth:\n    enabled: true\n    userName: root\n    password: 0123\n");
    assert_eq!(config.options.user.as_deref(), Some("root"));
    // As written: a number would lose the zero.
    assert_eq!(config.options.password.unwrap().expose(), "0123");

    let off = parse("etcd:\n  auth:\n    enabled: false\n    userName: root\n");
    assert_eq!(off.options, EtcdOptions::default());
    assert!(off.warnings[0].contains("etcd.auth.enabled"));
    assert_eq!(
        parse("etcd.auth: {enabled: false, userName: '', password: ''}").warnings,
        strings(&[])
    );
}

#[test]
fn d25_an_embedded_etcd_is_refused_with_a_message() {
    let message = refused("etcd:\n  rootPath: x\n  use:\n    embed: true\n");
    assert!(message.contains("line 4: etcd.use.embed"), "{message}");
    assert!(message.contains("cannot be reached"), "{message}");
}

#[test]
fn d51_versions_may_start_with_v_and_wrong_ones_name_key_and_line() {
    assert_eq!(
        parse("config.targetVersion: v2.2.0").options.target_version,
        Some("2.2.0".parse().unwrap())
    );
    let message = refused("config:\n  sourceVersion: 2.1\n");
    assert!(
        message.contains("migration.yaml, line 2: config.sourceVersion"),
        "{message}"
    );
}

#[test]
fn an_unknown_command_is_reported() {
    let message = refused("cmd:\n  type: migrate\n");
    assert!(message.contains("cmd.type: \"migrate\" is not run, backup or rollback"));
}

#[test]
fn tls_settings_count_only_when_enabled() {
    let tls = "tlsCert: /c\n    tlsKey: /k\n    tlsCACert: /a\n    tlsServerName: n\n";
    let on = parse(&format!("etcd:\n  ssl:\n    enabled: true\n    {tls}"));
    assert_eq!(
        on.options,
        EtcdOptions {
            is_tls_enabled: true,
            cacert: Some("/a".into()),
            cert: Some("/c".into()),
            tls_key: Some("/k".into()),
            tls_server_name: Some("n".to_owned()),
            ..EtcdOptions::default()
        }
    );
    let off = parse(&format!("etcd:\n  ssl:\n    enabled: false\n    {tls}"));
    assert_eq!(off.options, EtcdOptions::default());
    assert!(refused("etcd.ssl.tlsMinVersion: 1.4").contains("tlsMinVersion"));
}

#[test]
fn own_keys_are_optional_and_typed() {
    let config = parse(
        "config:\n  collectionForm: database\n  segmentForm: inline\n  onBrokenRecord: skip\n  waitSessions: 2m\n  \
         waitLock: 45\n",
    );
    assert_eq!(config.drop_in.collection_form, Some(FormChoice::Database));
    assert_eq!(config.drop_in.segment_form, Some(SegmentForm::Inline));
    assert!(refused("config.segmentForm: split").contains("auto or inline"));
    assert_eq!(config.drop_in.on_broken_record, Some(OnBrokenRecord::Skip));
    assert_eq!(config.drop_in.wait_sessions, Some(Duration::from_secs(120)));
    assert_eq!(config.drop_in.wait_lock, Some(Duration::from_secs(45)));
    assert!(refused("config.collectionForm: round").contains("auto, split"));
    assert!(refused("config.waitLock: later").contains("not a duration"));
}

#[test]
fn unknown_keys_are_named_once_and_ignored() {
    let config = parse("cmd.type: run\nminio:\n  address: x\nlists:\n  - a: 1\n");
    assert_eq!(
        config.warnings,
        strings(&["unknown in migration.yaml and ignored: minio.address (line 3), lists (line 5)"])
    );
}

#[test]
fn a_switch_that_is_neither_true_nor_false_is_refused() {
    assert_eq!(
        parse("cmd.runWithBackup: True").drop_in.run_with_backup,
        Some(true)
    );
    assert_eq!(
        parse("cmd.runWithBackup: 'no'").drop_in.run_with_backup,
        Some(false)
    );
    assert_eq!(parse("cmd.runWithBackup:").drop_in.run_with_backup, None);
    assert!(refused("cmd.runWithBackup: perhaps").contains("neither true nor false"));
}

#[test]
fn invalid_yaml_is_reported_with_its_line() {
    let message = refused("cmd:\n  type: run\n config: [\n");
    assert!(message.starts_with("migration.yaml, line "), "{message}");
    assert!(message.contains("invalid YAML"), "{message}");
}
