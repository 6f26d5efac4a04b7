//! Configuration errors. Each names the option, key or file; none shows a secret.

use std::io;
use std::path::{Path, PathBuf};

use super::version_check::VersionError;
use milvus_meta::keys::RootError;

/// A configuration that no command can use.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file is not YAML.
    #[error("{}, line {line}: invalid YAML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The parser's message.
        message: String,
    },
    /// A setting has an invalid value.
    #[error("{}, line {line}: {key}: {problem}", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key as the documentation spells it.
        key: &'static str,
        /// What is wrong, and what is expected.
        problem: String,
    },
    /// The file lacks a key that the command requires.
    #[error("{key} is missing in {}: {purpose}", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The key as the documentation spells it.
        key: &'static str,
        /// Why it is required.
        purpose: &'static str,
    },
    /// The command requires an option that is not given.
    #[error("{option} is missing: {purpose}")]
    MissingOption {
        /// The option.
        option: &'static str,
        /// Why it is required.
        purpose: &'static str,
    },
    /// The list of endpoints is empty.
    #[error("--endpoints (etcd.endpoints) is empty: expected host:port, such as etcd:2379")]
    NoEndpoint,
    /// An endpoint is invalid. Its text is not shown, because it may contain a password.
    #[error("invalid endpoint {position}: {problem}")]
    Endpoint {
        /// The position in the list, counted from 1.
        position: usize,
        /// What is wrong, and what is expected.
        problem: &'static str,
    },
    /// The root path and its sub-paths contradict each other.
    #[error("the root path and its sub-paths conflict")]
    Root(#[source] RootError),
    /// A file named by an option or key cannot be read.
    #[error("cannot read the {what} {}", path.display())]
    ReadNamedFile {
        /// The purpose of the file, for example `password file`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file named by an option or key has unusable content.
    #[error("the {what} {} {problem}", path.display())]
    UselessFile {
        /// The purpose of the file.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// One of two options that require each other is missing.
    #[error("{given} is given without {missing}")]
    Incomplete {
        /// The given option.
        given: &'static str,
        /// The missing option.
        missing: &'static str,
    },
    /// A user in the form of etcdctl, with the password. It is not printed.
    #[error(
        "the etcd user (--user, etcd.auth.userName) contains a colon: give only the name there, and the password with \
         --password-file, META_MIGRATION_PASSWORD or etcd.auth.password"
    )]
    PasswordInUser,
    /// A user without a password.
    #[error(
        "the etcd user {0:?} (--user, etcd.auth.userName) is given without a password (--password-file, \
         META_MIGRATION_PASSWORD, etcd.auth.password)"
    )]
    NoPassword(String),
    /// Reading the password from the terminal failed.
    #[error("cannot ask for the password at the terminal")]
    AskPassword(#[source] io::Error),
    /// The given versions are not a migration from 2.1 to 2.2.
    #[error(transparent)]
    Version(#[from] VersionError),
}

impl ConfigError {
    pub(super) fn unreadable_file(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::ReadNamedFile {
            what,
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn useless_file(what: &'static str, path: &Path, problem: &'static str) -> Self {
        Self::UselessFile {
            what,
            path: path.to_owned(),
            problem,
        }
    }
}
