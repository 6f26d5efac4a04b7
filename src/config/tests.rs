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

fn whole(error: &ConfigError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn refused(overrides: Overrides) -> String {
    whole(&Config::resolve(overrides).unwrap_err())
}

fn endpoints(text: &str) -> Option<Vec<String>> {
    Some(split_list(text))
}

#[test]
fn without_any_word_the_defaults_of_milvus_hold() {
    let config = Config::resolve(Overrides::default()).unwrap();
    assert_eq!(config.connection.endpoints, ["http://localhost:2379"]);
    assert_eq!(config.root.meta_root(), "by-dev/meta");
    assert_eq!(config.root.kv_root(), "by-dev/kv");
    assert_eq!(config.connection.timeout, Duration::from_secs(10));
    assert_eq!(config.connection.tls, None);
    assert_eq!(config.connection.login, None);
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_defaults() {
    let files = Files::new();
    let file = files.write(
        "c.yaml",
        "etcd:\n  endpoints: file:1\n  rootPath: file\n  requestTimeout: 7000\n\
         config:\n  sourceVersion: 2.1.1\n  targetVersion: 2.2.1\n  backupFilePath: /file\n",
    );
    let from_file = Config::resolve(Overrides {
        config: Some(file.clone()),
        ..Overrides::default()
    })
    .unwrap();
    assert_eq!(from_file.connection.endpoints, ["http://file:1"]);
    assert_eq!(from_file.root.meta_root(), "file/meta");
    assert_eq!(from_file.connection.timeout, Duration::from_secs(7));
    assert_eq!(from_file.backup_file, Some(PathBuf::from("/file")));

    let from_flags = Config::resolve(Overrides {
        config: Some(file),
        endpoints: endpoints("flag:2,flag:3"),
        root_path: Some("flag".to_owned()),
        timeout: Some(Duration::from_secs(1)),
        target_version: Some("2.2.2".parse().unwrap()),
        ..Overrides::default()
    })
    .unwrap();
    assert_eq!(
        from_flags.connection.endpoints,
        ["http://flag:2", "http://flag:3"]
    );
    assert_eq!(from_flags.root.meta_root(), "flag/meta");
    assert_eq!(from_flags.connection.timeout, Duration::from_secs(1));
    assert_eq!(from_flags.source_version, Some("2.1.1".parse().unwrap()));
    assert_eq!(from_flags.target_version, Some("2.2.2".parse().unwrap()));
}

#[test]
fn endpoints_get_scheme_and_port_or_a_reason() {
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
    let message = refused(Overrides {
        endpoints: endpoints("http://root:hunter2@etcd:2379"),
        ..Overrides::default()
    });
    assert!(message.contains("--password-file"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn d22_a_certificate_authority_alone_is_enough() {
    let files = Files::new();
    let config = Config::resolve(Overrides {
        ca_cert: Some(files.write("ca.pem", include_str!("../../testdata/tls/p224-ca.pem"))),
        tls_server_name: Some("etcd.local".to_owned()),
        endpoints: endpoints("etcd:2379"),
        ..Overrides::default()
    })
    .unwrap();
    let tls = config.connection.tls.unwrap();
    assert_eq!(tls.ca_cert, Some(files.folder.path().join("ca.pem")));
    assert_eq!(tls.identity, None);
    assert_eq!(tls.server_name.as_deref(), Some("etcd.local"));
    assert_eq!(config.connection.endpoints, ["https://etcd:2379"]);

    let https = Config::resolve(Overrides {
        endpoints: endpoints("https://etcd:2379"),
        ..Overrides::default()
    })
    .unwrap();
    assert_eq!(https.connection.tls, Some(Tls::default()));
}

#[test]
fn a_client_certificate_and_its_key_come_together() {
    let files = Files::new();
    let cert = include_str!("../../testdata/tls/p224-server.pem");
    let cert = files.write("cert.pem", cert);
    let key = include_str!("../../testdata/tls/p224-server.key");
    for (cert, key) in [(Some(cert.clone()), None), (None, Some(cert.clone()))] {
        let message = refused(Overrides {
            cert,
            key,
            ..Overrides::default()
        });
        assert!(message.contains("without"), "{message}");
    }
    let mutual = Config::resolve(Overrides {
        cert: Some(cert),
        key: Some(files.write("key.pem", key)),
        ..Overrides::default()
    })
    .unwrap();
    assert!(mutual.connection.tls.as_ref().unwrap().identity.is_some());
    assert!(!format!("{mutual:?}").contains("PRIVATE KEY"));
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_reason() {
    let files = Files::new();
    let missing = PathBuf::from("/nowhere/at/all");
    for (overrides, what) in [
        (
            Overrides {
                config: Some(missing.clone()),
                ..Overrides::default()
            },
            "configuration file /nowhere/at/all: No such file",
        ),
        (
            Overrides {
                password_file: Some(missing.clone()),
                user: Some("u".to_owned()),
                ..Overrides::default()
            },
            "password file /nowhere/at/all: No such file",
        ),
        (
            Overrides {
                ca_cert: Some(missing),
                ..Overrides::default()
            },
            "CA certificate file /nowhere/at/all: No such file",
        ),
        (
            Overrides {
                ca_cert: Some(files.write("no.pem", "hello")),
                ..Overrides::default()
            },
            "no.pem contains no certificate in PEM format",
        ),
        (
            Overrides {
                user: Some("u".to_owned()),
                password_file: Some(files.write("empty", "\n")),
                ..Overrides::default()
            },
            "empty is empty",
        ),
    ] {
        let message = refused(overrides);
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
    let resolve = |user: Option<&str>, environment: Option<&str>, file: Option<&str>| {
        Config::resolve(Overrides {
            config: Some(yaml.clone()),
            user: user.map(str::to_owned),
            password: environment.map(Password::new),
            password_file: file.map(|text| files.write("password", text)),
            ..Overrides::default()
        })
        .unwrap()
    };
    for (config, user, password) in [
        (resolve(None, None, None), "yaml", "yaml-secret"),
        (
            resolve(None, Some("env-secret"), None),
            "yaml",
            "env-secret",
        ),
        (
            resolve(Some("flag"), Some("env-secret"), Some("file-secret\r\n")),
            "flag",
            "file-secret",
        ),
    ] {
        let shown = format!("{config:?} {config:#?}");
        assert!(!shown.contains("secret"), "{shown}");
        let login = config.connection.login.unwrap();
        assert_eq!(login.user, user);
        assert_eq!(login.password.expose(), password);
    }
}

#[test]
fn a_user_without_a_password_is_refused_and_so_is_the_reverse() {
    let user = refused(Overrides {
        user: Some("root".to_owned()),
        ..Overrides::default()
    });
    assert!(user.contains("META_MIGRATION_PASSWORD"), "{user}");
    let password = refused(Overrides {
        password: Some(Password::new("hunter2")),
        ..Overrides::default()
    });
    assert!(password.contains("--user"), "{password}");
    assert!(!password.contains("hunter2"), "{password}");
}

#[test]
fn a_root_path_that_cannot_work_is_refused() {
    let message = refused(Overrides {
        root_path: Some(String::new()),
        meta_sub_path: Some(String::new()),
        ..Overrides::default()
    });
    assert!(message.contains("both empty"), "{message}");
}
