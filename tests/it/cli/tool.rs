//! The real binary with a clean environment.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The program with an empty environment, in a temporary folder.
pub(super) struct Tool {
    command: Command,
    folder: tempfile::TempDir,
}

/// The result of a run, which must be checked.
#[must_use]
pub(super) struct Ended {
    pub(super) code: i32,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Tool {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_meta-migration"));
        command
            .env_clear()
            // The tests themselves may run in a container.
            .env("META_MIGRATION_ALLOW_EPHEMERAL_BACKUP", "true")
            // There is no terminal for a prompt.
            .env("META_MIGRATION_YES", "true")
            .current_dir(folder.path())
            .stdin(Stdio::null());
        Self { command, folder }
    }

    pub(super) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// The command, for tests that use its streams directly.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.command.get_program());
        command
            .env_clear()
            .envs(
                self.command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .current_dir(self.path())
            .stdin(Stdio::null())
            .args(arguments);
        command
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(&mut self.command(arguments))
    }

    /// Starts the program, to be observed while it runs.
    pub(super) fn start(&self, arguments: &[&str]) -> Running {
        let mut child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Running {
            child,
            stderr,
            stderr_text: String::new(),
        }
    }
}

/// A program that is running.
pub(super) struct Running {
    child: Child,
    stderr: BufReader<std::process::ChildStderr>,
    stderr_text: String,
}

impl Running {
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads standard error until a line contains the text.
    pub(super) fn wait_for_line(&mut self, text: &str) {
        let begin = self.stderr_text.len();
        while !self.stderr_text[begin..].contains(text) {
            let read = self.stderr.read_line(&mut self.stderr_text).unwrap();
            assert_ne!(read, 0, "{text:?} was not printed:\n{}", self.stderr_text);
        }
    }

    pub(super) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args([format!("-{name}"), id]).status();
        assert!(sent.unwrap().success());
    }

    pub(super) fn end(self) -> Ended {
        let Self {
            child,
            mut stderr,
            mut stderr_text,
        } = self;
        std::io::Read::read_to_string(&mut stderr, &mut stderr_text).unwrap();
        let output = child.wait_with_output().unwrap();
        Ended {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: stderr_text,
        }
    }
}

impl Ended {
    pub(super) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub(super) fn expect(&self, code: i32) -> &Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// Fails unless standard error contains the text.
    #[track_caller]
    pub(super) fn says(&self, text: &str) -> &Self {
        assert!(
            self.stderr.contains(text),
            "{text:?} not in:\n{}",
            self.stderr
        );
        self
    }

    /// Fails unless standard output contains the text.
    #[track_caller]
    pub(super) fn shows(&self, text: &str) -> &Self {
        assert!(
            self.stdout.contains(text),
            "{text:?} not in:\n{}",
            self.stdout
        );
        self
    }

    #[track_caller]
    pub(super) fn hides(&self, secret: &str) -> &Self {
        assert!(!self.stdout.contains(secret) && !self.stderr.contains(secret));
        self
    }

    /// Standard output parsed as a single JSON document.
    #[track_caller]
    pub(super) fn document(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}:\n{}\n{}", self.stdout, self.stderr))
    }
}

/// Fails if an operation took longer than a user would wait.
#[track_caller]
pub(super) fn within(limit: Duration, since: Instant) {
    assert!(since.elapsed() < limit, "took {:?}", since.elapsed());
}

/// The names of a JSON object's members, sorted.
pub(super) fn members(object: &Value) -> Vec<&str> {
    object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}
