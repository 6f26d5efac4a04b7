//! Errors in the configuration. Each names the option, key or file; none shows a secret.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::gate::GateError;
use milvus_meta::keys::RootError;

/// A configuration with which no command can start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The configuration file is not YAML.
    #[error("{}, line {line}: invalid YAML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A setting has a value that it cannot have.
    #[error("{}, line {line}: {key}: {problem}", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key as the documentation spells it.
        key: &'static str,
        /// What is wrong and what is expected.
        problem: String,
    },
    /// A key without which the command cannot work.
    #[error("{key} is missing in {}: {purpose}", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The key as the documentation spells it.
        key: &'static str,
        /// What it is needed for.
        purpose: &'static str,
    },
    /// An option without which the command cannot work.
    #[error("{option} is missing: {purpose}")]
    MissingOption {
        /// The option.
        option: &'static str,
        /// What it is needed for.
        purpose: &'static str,
    },
    /// An invalid endpoint. The text is left out: it may hold a password.
    #[error("invalid endpoint {position}: {problem}")]
    Endpoint {
        /// Its place in the list, counted from 1.
        position: usize,
        /// What is wrong and what is expected.
        problem: &'static str,
    },
    /// The root path and its sub-paths do not work together.
    #[error("the root path and its sub-paths conflict")]
    Root(#[source] RootError),
    /// A file that an option or key names cannot be read.
    #[error("cannot read the {what} {}", path.display())]
    ReadNamedFile {
        /// What the file is for, for example `password file`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that an option or key names cannot be used.
    #[error("the {what} {} {problem}", path.display())]
    UselessFile {
        /// What the file is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Options that only make sense together.
    #[error("{given} is given without {missing}")]
    Incomplete {
        /// What is there.
        given: &'static str,
        /// What should be there as well.
        missing: &'static str,
    },
    /// A user without a password.
    #[error(
        "the etcd user {user:?} (--user, etcd.auth.userName) is given without a password (--password-file, \
         META_MIGRATION_PASSWORD, etcd.auth.password)"
    )]
    NoPassword {
        /// The user.
        user: String,
    },
    /// The password cannot be asked for.
    #[error("cannot ask for the password at the terminal")]
    AskPassword {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The versions do not ask for a migration from 2.1 to 2.2.
    #[error(transparent)]
    Gate(#[from] GateError),
}

impl ConfigError {
    /// A file that an option or key names cannot be read.
    pub(crate) fn named_file(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::ReadNamedFile {
            what,
            path: path.to_owned(),
            source,
        }
    }
}
