use std::error::Error;

use super::*;

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn with_causes(error: &ConfigError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn resolve(options: EtcdOptions) -> Result<Config, ConfigError> {
    Config::resolve(options, EtcdOptions::default())
}

fn refused(options: EtcdOptions) -> String {
    with_causes(&resolve(options).unwrap_err())
}

fn endpoints(text: &str) -> Option<Vec<String>> {
    Some(split_list(text))
}

#[test]
fn without_settings_milvus_defaults_apply() {
    let config = resolve(EtcdOptions::default()).unwrap();
    assert_eq!(config.connection.endpoints, ["http://localhost:2379"]);
    assert_eq!(config.root.meta_root(), "by-dev/meta");
    assert_eq!(config.root.kv_root(), "by-dev/kv");
    assert_eq!(config.connection.request_timeout, Duration::from_secs(10));
    assert_eq!(config.connection.tls, None);
    assert_eq!(config.connection.user, None);
    assert_eq!(config.connection.password, None);
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_defaults() {
    let files = Files::new();
    let file = files.write(
        "c.yaml",
        "etcd:\n  endpoints: file:1\n  rootPath: file\n  requestTimeout: 7000\n\
         config:\n  sourceVersion: 2.1.1\n  targetVersion: 2.2.1\n  backupFilePath: /file\n",
    );
    let from_file = resolve(EtcdOptions {
        config: Some(file.clone()),
        ..EtcdOptions::default()
    })
    .unwrap();
    assert_eq!(from_file.connection.endpoints, ["http://file:1"]);
    assert_eq!(from_file.root.meta_root(), "file/meta");
    assert_eq!(from_file.connection.request_timeout, Duration::from_secs(7));
    assert_eq!(from_file.backup_file, Some(PathBuf::from("/file")));

    let from_flags = resolve(EtcdOptions {
        config: Some(file),
        endpoints: endpoints("flag:2,flag:3"),
        root_path: Some("flag".to_owned()),
        timeout: Some(Duration::from_secs(1)),
        target_version: Some("2.2.2".parse().unwrap()),
        ..EtcdOptions::default()
    })
    .unwrap();
    assert_eq!(
        from_flags.connection.endpoints,
        ["http://flag:2", "http://flag:3"]
    );
    assert_eq!(from_flags.root.meta_root(), "flag/meta");
    assert_eq!(
        from_flags.connection.request_timeout,
        Duration::from_secs(1)
    );
    assert_eq!(from_flags.source_version, Some("2.1.1".parse().unwrap()));
    assert_eq!(from_flags.target_version, Some("2.2.2".parse().unwrap()));
}

#[test]
fn endpoints_get_scheme_and_port() {
    for (given, expected) in [
        ("localhost", "http://localhost:2379"),
        ("etcd:1234", "http://etcd:1234"),
        ("http://etcd:1234/", "http://etcd:1234"),
        ("[::1]", "http://[::1]:2379"),
        ("[::1]:9", "http://[::1]:9"),
    ] {
        assert_eq!(resolve_endpoint(given, false).as_deref(), Ok(expected));
    }
    assert_eq!(
        resolve_endpoint("etcd:1", true).as_deref(),
        Ok("https://etcd:1")
    );
    for wrong in [
        "etcd:",
        "etcd:0",
        "etcd:70000",
        ":2379",
        "::1",
        "a b:1",
        "ftp://a:1",
        "a:1/b",
    ] {
        assert!(resolve_endpoint(wrong, false).is_err(), "{wrong}");
    }
    assert!(resolve_endpoint("http://etcd:1", true).is_err());
}

#[test]
fn a_password_inside_an_endpoint_is_refused_without_being_shown() {
    let message = refused(EtcdOptions {
        endpoints: endpoints("http://root:hunter2@etcd:2379"),
        ..EtcdOptions::default()
    });
    assert!(message.contains("--password-file"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn d22_a_certificate_authority_alone_is_enough() {
    let files = Files::new();
    let config = resolve(EtcdOptions {
        cacert: Some(files.write("ca.pem", include_str!("../../testdata/tls/p224-ca.pem"))),
        tls_server_name: Some("etcd.local".to_owned()),
        endpoints: endpoints("etcd:2379"),
        ..EtcdOptions::default()
    })
    .unwrap();
    let tls = config.connection.tls.unwrap();
    assert_eq!(tls.ca_cert, Some(files.folder.path().join("ca.pem")));
    assert_eq!((tls.cert, tls.key), (None, None));
    assert_eq!(tls.server_name.as_deref(), Some("etcd.local"));
    assert_eq!(config.connection.endpoints, ["https://etcd:2379"]);

    let https = resolve(EtcdOptions {
        endpoints: endpoints("https://etcd:2379"),
        ..EtcdOptions::default()
    })
    .unwrap();
    assert_eq!(https.connection.tls, Some(Tls::default()));
}

#[test]
fn a_client_certificate_requires_its_key() {
    let files = Files::new();
    let cert = include_str!("../../testdata/tls/p224-server.pem");
    let cert = files.write("cert.pem", cert);
    let key = include_str!("../../testdata/tls/p224-server.key");
    for (cert, key) in [(Some(cert.clone()), None), (None, Some(cert.clone()))] {
        let message = refused(EtcdOptions {
            cert,
            tls_key: key,
            ..EtcdOptions::default()
        });
        assert!(message.contains("without"), "{message}");
    }
    let mutual = resolve(EtcdOptions {
        cert: Some(cert),
        tls_key: Some(files.write("key.pem", key)),
        ..EtcdOptions::default()
    })
    .unwrap();
    let tls = mutual.connection.tls.as_ref().unwrap();
    assert!(tls.cert.is_some() && tls.key.is_some());
    assert!(!format!("{mutual:?}").contains("PRIVATE KEY"));
}

#[test]
fn errors_about_files_name_the_file_and_the_reason() {
    let files = Files::new();
    let missing = PathBuf::from("/nowhere/at/all");
    for (options, what) in [
        (
            EtcdOptions {
                config: Some(missing.clone()),
                ..EtcdOptions::default()
            },
            "configuration file /nowhere/at/all: No such file",
        ),
        (
            EtcdOptions {
                password_file: Some(missing.clone()),
                user: Some("u".to_owned()),
                ..EtcdOptions::default()
            },
            "password file /nowhere/at/all: No such file",
        ),
        (
            EtcdOptions {
                cacert: Some(missing),
                ..EtcdOptions::default()
            },
            "CA certificate file /nowhere/at/all: No such file",
        ),
        (
            EtcdOptions {
                cacert: Some(files.write("no.pem", "hello")),
                ..EtcdOptions::default()
            },
            "no.pem contains no certificate in PEM format",
        ),
        (
            EtcdOptions {
                user: Some("u".to_owned()),
                password_file: Some(files.write("empty", "\n")),
                ..EtcdOptions::default()
            },
            "empty is empty",
        ),
    ] {
        let message = refused(options);
        assert!(message.contains(what), "{message}");
    }
}

#[test]
fn d23_the_password_comes_from_file_or_environment_and_never_shows() {
    let files = Files::new();
    let yaml = files.write(
        "c.yaml",
        "etcd.auth: {enabled: true, userName: yaml, password: yaml-secret}",
    );
    let resolved = |user: Option<&str>, environment: Option<&str>, file: Option<&str>| {
        resolve(EtcdOptions {
            config: Some(yaml.clone()),
            user: user.map(str::to_owned),
            password: environment.map(Password::new),
            password_file: file.map(|text| files.write("password", text)),
            ..EtcdOptions::default()
        })
        .unwrap()
    };
    for (config, user, password) in [
        (resolved(None, None, None), "yaml", "yaml-secret"),
        (
            resolved(None, Some("env-secret"), None),
            "yaml",
            "env-secret",
        ),
        (
            resolved(Some("flag"), Some("env-secret"), Some("file-secret\r\n")),
            "flag",
            "file-secret",
        ),
    ] {
        let shown = format!("{config:?} {config:#?}");
        assert!(!shown.contains("secret"), "{shown}");
        assert_eq!(config.connection.user.as_deref(), Some(user));
        let found = config.connection.password.unwrap();
        assert_eq!(found.expose(), password);
    }
}

#[test]
fn a_user_and_a_password_require_each_other() {
    let user = refused(EtcdOptions {
        user: Some("root".to_owned()),
        ..EtcdOptions::default()
    });
    assert!(user.contains("META_MIGRATION_PASSWORD"), "{user}");
    let password = refused(EtcdOptions {
        password: Some(Password::new("hunter2")),
        ..EtcdOptions::default()
    });
    assert!(password.contains("--user"), "{password}");
    assert!(!password.contains("hunter2"), "{password}");
}

#[test]
fn an_empty_root_path_and_sub_path_are_refused() {
    let message = refused(EtcdOptions {
        root_path: Some(String::new()),
        meta_sub_path: Some(String::new()),
        ..EtcdOptions::default()
    });
    assert!(message.contains("both empty"), "{message}");
}
