//! The commands that follow a run, for hints.

use std::path::Path;

use super::connecting;
use super::mount_hints::mount_hints;
use super::options::EtcdOptions;
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::output::outcome;
use super::{invoked, signals, unused};
use crate::config::Config;
use meta_backup::{BackupError, FormatError};
use meta_migrate::{EngineError, EngineErrorKind, ErrorClass, Hint, NextCommand, RunKind};
use meta_report::shell::quoted;
use meta_store::{ConnectProblem, StoreErrorKind};

/// Builds the next commands, with the options of this run.
#[derive(Debug, Clone)]
pub(in crate::cli) struct NextSteps {
    program: String,
    again: String,
    options: String,
    /// The options of commands that read a file instead of etcd.
    file_options: String,
    /// The given releases by the option's id.
    versions: Vec<(&'static str, String)>,
    backup: Option<String>,
    kind: RunKind,
    /// Further options with which `plan` makes the same plan.
    planning: Vec<String>,
}

impl NextSteps {
    pub(in crate::cli) fn new(etcd: &EtcdOptions, config: &Config) -> Self {
        let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
        let program = quoted(&words.next().unwrap_or_else(|| "meta-migration".to_owned()));
        let words: Vec<String> = words.collect();
        let options = etcd.as_flags(config);
        Self {
            again: again(&program, words, &options),
            program,
            options: joined(&options),
            file_options: joined(&etcd.root_flags()),
            versions: etcd.versions(),
            backup: config
                .backup_file
                .as_ref()
                .map(|path| path.display().to_string()),
            kind: RunKind::Migrate,
            planning: Vec::new(),
        }
    }

    /// Sets the options with which `plan` makes the plan of this run.
    pub(in crate::cli) fn set_planning(&mut self, words: Vec<String>) {
        self.planning = words;
    }

    /// Sets the kind of this run.
    pub(in crate::cli) fn set_kind(&mut self, kind: RunKind) {
        self.kind = kind;
    }

    /// Returns the command line of this run.
    pub(in crate::cli) fn again(&self) -> &str {
        &self.again
    }

    /// Returns the command line of another command on the same metadata.
    pub(in crate::cli) fn command(&self, name: &str) -> String {
        self.command_with(name, &self.options)
    }

    fn command_with(&self, name: &str, options: &str) -> String {
        let mut command = format!("{} {name}{options}", self.program);
        for (id, release) in &self.versions {
            if unused::uses(name, id) {
                command.push_str(&format!(" --{} {}", id.replace('_', "-"), quoted(release)));
            }
        }
        command
    }

    /// Returns the command that rolls back to a backup.
    pub(in crate::cli) fn rollback(&self, backup: Option<&str>) -> String {
        self.with_backup("rollback", backup)
    }

    /// Returns the command that finishes an interrupted restore of a backup.
    pub(in crate::cli) fn restore(&self, backup: &str) -> String {
        self.with_backup("restore", Some(backup))
    }

    fn with_backup(&self, name: &str, backup: Option<&str>) -> String {
        let mut command = self.command(name);
        if let Some(path) = backup.or(self.backup.as_deref()) {
            command.push_str(" --backup-file ");
            command.push_str(&quoted(path));
        }
        command
    }

    /// Turns the engine's error into a failure with hints.
    pub(in crate::cli) fn failure(&self, error: EngineError) -> Failure {
        let mut failure = Failure::from_error(exit(error.kind()), &*error.failure);
        let changed = error.changed(self.kind);
        failure.changed = match &error.diff {
            Some(found) => {
                let found = outcome::difference(found);
                format!("{changed}; the command would change: {found}").into()
            }
            None => changed.into(),
        };
        failure.backup = error
            .backup
            .as_ref()
            .map(|backup| backup.path.as_str().into());
        failure.hints = self.hints(&error);
        if let EngineErrorKind::Store { source, .. } = &*error.failure {
            failure.unreachable = source.is_unreachable();
        }
        if let EngineErrorKind::Findings(plan) = *error.failure {
            failure.findings = plan.findings.into();
        } else if let EngineErrorKind::Verification(report)
        | EngineErrorKind::StagedDiffers(report) = *error.failure
        {
            failure.findings = report.findings.into();
        }
        failure
    }

    /// Returns the engine's hints as commands of this program, after hints for options.
    fn hints(&self, error: &EngineError) -> Vec<String> {
        let mut by_option = None;
        if let EngineErrorKind::Backup(error) = &*error.failure {
            if let BackupError::Ephemeral { path, why } = error {
                return mount_hints(path, *why);
            }
            by_option = self.another_backup(error);
        }
        if let EngineErrorKind::Store { source, .. } = &*error.failure
            && source.kind == StoreErrorKind::Denied
            && source.problems.contains(&ConnectProblem::Login)
        {
            return vec![connecting::LOGIN.to_owned()];
        }
        let hints = error.hints(self.kind).into_iter();
        by_option
            .into_iter()
            .chain(hints.map(|hint| self.hint(hint)))
            .collect()
    }

    fn hint(&self, Hint { command, text }: Hint) -> String {
        match command.map(|command| self.line(command)) {
            None => text,
            Some(line) if text.is_empty() => line,
            Some(line) => format!("{line}   # {text}"),
        }
    }

    /// Returns a command line, ready to paste.
    fn line(&self, command: NextCommand) -> String {
        let accepting = |line: String, accept_loss| match accept_loss {
            true => line + " --accept-loss",
            false => line,
        };
        match command {
            NextCommand::Again => self.again.clone(),
            NextCommand::AgainAcceptingLoss => {
                accepting(self.again.replace(" --dry-run", ""), true)
            }
            NextCommand::Named(name) => self.command(name),
            NextCommand::Plan => self.plan_command(),
            NextCommand::VerifyBackup => format!("{} --backup FILE", self.command("verify")),
            NextCommand::DeleteStaged { accept_loss } => {
                accepting(self.command("rollback"), accept_loss)
            }
            NextCommand::Rollback {
                backup,
                accept_loss,
            } => accepting(self.rollback(backup.as_deref()), accept_loss),
            NextCommand::Restore {
                backup,
                accept_loss,
            } => accepting(self.restore(&backup), accept_loss),
        }
    }

    /// Returns a hint for reading another backup, or for writing it to another path.
    fn another_backup(&self, error: &BackupError) -> Option<String> {
        if let Some(hint) = self.usable_file(error) {
            return Some(hint);
        }
        if error.is_reading() {
            let is_missed = self.kind == RunKind::Restore && error.is_missing();
            return is_missed.then(|| {
                "name its current path with --backup-file or config.backupFilePath".to_owned()
            });
        }
        matches!(
            error,
            BackupError::File { .. } | BackupError::DiskFull { .. }
        )
        .then(|| {
            "choose another path with --backup-file (with --from: --to; in a YAML file: config.backupFilePath)"
                .to_owned()
        })
    }

    /// Returns how to read a rejected backup file, or how to get one that can be read.
    pub(in crate::cli) fn usable_file(&self, error: &BackupError) -> Option<String> {
        let (BackupError::Invalid { path, .. } | BackupError::Changed(path)) = error else {
            return None;
        };
        let fixed = match error.format_error() {
            Some(FormatError::NoHash) => {
                "--skip-hash-check   # reads it: the checksums inside the database are still checked"
            }
            Some(FormatError::Partial(_)) => {
                "--allow-partial   # reads what is there; where entries are missing, restore also needs --keep-extra"
            }
            Some(FormatError::PrintedKeys) => {
                "etcdctl get \"\" --prefix -w json >dump.json   # writes a dump that can be read, while etcd still has \
                 the metadata"
            }
            Some(FormatError::NewerFormat { .. }) => {
                "use the release of meta-migration that wrote the file, or a newer one"
            }
            Some(FormatError::NoRoot | FormatError::NothingBelowRoot(_)) => {
                "--root-path PATH   # names the root path of the Milvus instance in the file"
            }
            Some(FormatError::SeveralRoots(_)) => return None,
            Some(_) | None => {
                let folder = path.parent().filter(|folder| *folder != Path::new(""));
                let folder = folder.unwrap_or(Path::new(".")).display().to_string();
                return Some(format!(
                    "{} backup list {}   # lists the valid backups in the folder of the file",
                    self.program,
                    quoted(&folder)
                ));
            }
        };
        Some(fixed.to_owned())
    }

    /// Returns the command that shows the plan of this run.
    fn plan_command(&self) -> String {
        let name = match self.kind {
            RunKind::Repair => "repair --dry-run",
            RunKind::Migrate | RunKind::Restore => "plan",
        };
        let words = self.planning.iter();
        let words = words.map(|word| format!(" {}", quoted(word)));
        let options = match self.planning.iter().any(|word| word == "--from") {
            true => &self.file_options,
            false => &self.options,
        };
        self.command_with(name, options) + &words.collect::<String>()
    }
}

fn joined(options: &[[String; 2]]) -> String {
    let words = options.iter().flatten();
    words.map(|word| format!(" {}", quoted(word))).collect()
}

/// Returns the call of this run, with the options of the instance from the environment and the YAML file. They are left
/// out if a file is read instead of etcd.
fn again(program: &str, words: Vec<String>, options: &[[String; 2]]) -> String {
    let has = |words: &[String], option: &str| {
        // The official tool's flag has one dash.
        let mut names = words.iter().filter(|word| word.starts_with('-'));
        names.any(|word| {
            let name = word.split_once('=').map_or(word.as_str(), |(name, _)| name);
            name.trim_start_matches('-') == option.trim_start_matches('-')
        })
    };
    let mut call = words;
    call.extend(invoked::from_environment().iter().cloned());
    // `repair --from` reads etcd as well.
    let reads_etcd = !has(&call, "--from") || call.iter().any(|word| word == "repair");
    if reads_etcd {
        let missing = options.iter().filter(|[option, _]| !has(&call, option));
        let missing: Vec<String> = missing.flatten().cloned().collect();
        call.extend(missing);
    }
    let words = call.iter().map(|word| quoted(word));
    std::iter::once(program.to_owned())
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

fn exit(kind: ErrorClass) -> Exit {
    match kind {
        ErrorClass::Failed => Exit::Failed,
        ErrorClass::Usage => Exit::Usage,
        ErrorClass::Refused => Exit::Refused,
        ErrorClass::Unmigratable => Exit::NotMigratable,
        ErrorClass::PartWay => Exit::PartWay,
        ErrorClass::Differs => Exit::Differences,
        ErrorClass::Interrupted(signal) => signals::exit(signal),
    }
}
