//! The commands that follow a run, for hints.

use std::path::Path;

use super::connecting;
use super::mount_hints::mount_hints;
use super::options::EtcdOptions;
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::output::outcome;
use super::{invoked, signals, unused};
use crate::config::{Config, ConfigError};
use meta_backup::{BackupError, FormatError};
use meta_migrate::{EngineError, EngineErrorKind, ErrorClass, Hint, NextCommand, RunKind};
use meta_report::shell::{option, option_text, quoted};
use meta_store::{ConnectProblem, StoreErrorKind};
use milvus_meta::release::Release;

/// Builds the next commands, with the options of this run.
#[derive(Debug, Clone)]
pub(in crate::cli) struct NextSteps {
    program: String,
    /// The arguments of this run.
    call: Vec<String>,
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
        let words = std::env::args_os().skip(1);
        let words: Vec<String> = words
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        let program = invoked::program();
        let options = etcd.as_flags(config);
        Self {
            call: call(words, &options),
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
    pub(in crate::cli) fn again(&self) -> String {
        self.with_call(&self.call)
    }

    fn with_call(&self, call: &[String]) -> String {
        let words = call.iter().map(|word| quoted(word));
        let words = std::iter::once(self.program.clone()).chain(words);
        words.collect::<Vec<_>>().join(" ")
    }

    /// Returns the command line of this run on an instance with another root path, and sub-path if that is not `meta`.
    pub(in crate::cli) fn again_at(&self, root_path: &str, sub_path: &str) -> String {
        let mut call = without(&without(&self.call, "--root-path"), "--meta-sub-path");
        call.extend(option("--root-path", root_path));
        if sub_path != "meta" {
            call.extend(option("--meta-sub-path", sub_path));
        }
        self.with_call(&call)
    }

    /// Returns the command line of this run with an option for reading the backup, or a restore with that option.
    fn reading(&self, option: &str, backup: &Path) -> String {
        let command = match invoked::has_option(option) {
            true => self.again(),
            false => self.restore(&backup.display().to_string()),
        };
        format!("{command} {option}")
    }

    /// Returns the failure of a run that requires an option, with this run's command line as hint.
    pub(in crate::cli) fn missing_option(
        &self,
        option: &'static str,
        purpose: &'static str,
        example: &str,
    ) -> Failure {
        Failure::from(ConfigError::MissingOption { option, purpose })
            .hint(format!("{} {option} {example}", self.again()))
    }

    /// The failure of a run without the release that will read the metadata.
    pub(in crate::cli) fn missing_target(&self) -> Failure {
        let purpose = "the form of collections depends on the release that will be started";
        let example = format!("{}   # or another release", Release::LATEST_2_2);
        self.missing_option("--target-version", purpose, &example)
    }

    /// Returns the command that migrates a backup file to another file in its folder.
    pub(in crate::cli) fn migrate_file(&self, from: &Path) -> String {
        let name = from.file_stem().unwrap_or_default().to_string_lossy();
        let to = from.with_file_name(format!("{name}-migrated.mmb"));
        let files = [from, &to].map(|path| quoted(&path.display().to_string()));
        let migrate = self.command_with("migrate", &self.file_options);
        format!("{migrate} --from {} --to {}", files[0], files[1])
    }

    /// Returns the command that lists the backups in a folder.
    pub(in crate::cli) fn list_backups(&self, folder: &Path) -> String {
        format!(
            "{} backup list {}",
            self.program,
            quoted(&folder.display().to_string())
        )
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
            command.push_str(&option_text("--backup-file", path));
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
            failure.unreachable = source.is_transient();
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
            NextCommand::Again => self.again(),
            NextCommand::AgainAcceptingLoss => {
                accepting(self.again().replace(" --dry-run", ""), true)
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
                let command = self.reading("--skip-hash-check", path);
                format!("{command}   # still checks the checksums inside the database")
            }
            Some(FormatError::Partial(_)) => {
                let command = self.reading("--allow-partial", path);
                format!(
                    "{command}   # reads what is there; where entries are missing, restore also needs --keep-extra"
                )
            }
            Some(FormatError::PrintedKeys) => {
                "etcdctl get \"\" --prefix -w json >dump.json   # writes a dump that can be read, while etcd still has \
                 the metadata"
                    .to_owned()
            }
            Some(FormatError::NewerFormat { .. }) => {
                "use the release of meta-migration that wrote the file, or a newer one".to_owned()
            }
            Some(FormatError::NoRoot | FormatError::NothingBelowRoot(_)) => {
                let command = self.again_at("PATH", "meta");
                format!("{command}   # with the root path of the Milvus instance in the file")
            }
            Some(FormatError::SeveralRoots(_)) => return None,
            Some(_) | None => {
                let folder = path.parent().filter(|folder| *folder != Path::new(""));
                let list = self.list_backups(folder.unwrap_or(Path::new(".")));
                return Some(format!(
                    "{list}   # lists the valid backups in the folder of the file"
                ));
            }
        };
        Some(fixed)
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
    let options = options.iter();
    options
        .map(|[name, value]| option_text(name, value))
        .collect()
}

/// Returns the arguments without an option and its value.
fn without(call: &[String], option: &str) -> Vec<String> {
    let joined = format!("{option}=");
    let mut words = call.iter();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == option {
            words.next();
        } else if !word.starts_with(&joined) {
            kept.push(word.clone());
        }
    }
    kept
}

/// Returns the arguments of this run, with the options of the instance from the environment and the YAML file. They are
/// left out if only files are read.
fn call(words: Vec<String>, options: &[[String; 2]]) -> Vec<String> {
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
    let reads_etcd = match invoked::name() {
        "check" => false,
        "diff" => call.iter().any(|word| word == "etcd"),
        // `repair --from` reads etcd as well.
        "repair" => true,
        _ => !has(&call, "--from"),
    };
    if reads_etcd {
        let is_missing = |name: &str| {
            // With `--to-root`, the other option selects an instance in the file.
            let is_in_file = name == "--root-path" && has(&call, "--to-root");
            !has(&call, name) && !is_in_file
        };
        let missing = options.iter().filter(|[name, _]| is_missing(name));
        let missing: Vec<String> = missing
            .flat_map(|[name, value]| option(name, value))
            .collect();
        call.extend(missing);
    }
    call
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
