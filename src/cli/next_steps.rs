//! The next commands after a failed run.

use std::path::Path;

use super::connecting;
use super::mount_hints::mount_hints;
use super::options::EtcdOptions;
use super::output::exit::Exit;
use super::output::failure::{Failure, NOTHING_CHANGED};
use super::output::outcome;
use super::quoted::quoted;
use super::reading;
use super::{invoked, signals, unused};
use crate::config::Config;
use meta_backup::BackupError;
use meta_migrate::journal::{JournalError, Phase};
use meta_migrate::{EngineError, ErrorClass, Instances, WriteState};
use meta_store::{ConnectProblem, StoreError, StoreErrorKind};
use milvus_meta::finding::Finding;
use milvus_meta::keys::MetaRoot;
use milvus_meta::transform::PlanReport;

/// After the alarm NOSPACE.
const MAKE_ROOM: &str = "free space: etcdctl compact (the revision is in etcdctl endpoint status), etcdctl defrag, \
                         or raise --quota-backend-bytes; then etcdctl alarm disarm";

const NO_WAY_BACK: &str = "the migration was made without a backup and cannot be rolled back";

/// The commands that lead on, with the options that this run was given.
#[derive(Debug, Clone)]
pub(in crate::cli) struct NextSteps {
    program: String,
    again: String,
    options: String,
    /// The options of commands that read a file instead of etcd.
    file_options: String,
    /// The releases that were given, by the option's id.
    versions: Vec<(&'static str, String)>,
    backup: Option<String>,
    goes_back: bool,
    /// What `plan` needs besides, to plan the same.
    planning: Vec<String>,
    /// The command that shows the plan.
    shows_plan: &'static str,
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
            options: options
                .iter()
                .flatten()
                .map(|word| format!(" {}", quoted(word)))
                .collect(),
            file_options: etcd
                .root_flags()
                .map(|word| format!(" {}", quoted(&word)))
                .collect(),
            versions: etcd.versions(),
            backup: config
                .backup_file
                .as_ref()
                .map(|path| path.display().to_string()),
            goes_back: false,
            planning: Vec::new(),
            shows_plan: "plan",
        }
    }

    /// Sets the options with which `plan` plans the same migration.
    pub(in crate::cli) fn planned_with(&mut self, words: Vec<String>) {
        self.planning = words;
    }

    /// This run makes another plan, which a command shows.
    pub(in crate::cli) fn planned_as(&mut self, command: &'static str) {
        self.shows_plan = command;
    }

    /// Marks the run as a rollback or restore, which can only be resumed.
    pub(in crate::cli) fn going_back(&mut self) {
        self.goes_back = true;
    }

    /// The same call once more.
    pub(in crate::cli) fn again(&self) -> &str {
        &self.again
    }

    /// Another command on the same metadata.
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

    /// The command that goes back to a backup.
    pub(in crate::cli) fn back(&self, backup: Option<&str>) -> String {
        self.back_with("rollback", backup)
    }

    fn back_with(&self, name: &str, backup: Option<&str>) -> String {
        let mut command = self.command(name);
        if let Some(path) = backup.or(self.backup.as_deref()) {
            command.push_str(" --backup-file ");
            command.push_str(&quoted(path));
        }
        command
    }

    /// A failed run as the user sees it.
    pub(in crate::cli) fn failure(&self, error: EngineError) -> Failure {
        let mut told = Failure::from_error(exit(error.kind()), &*error.failure);
        told.changed = match &error.diff {
            Some(found) => format!(
                "{}; the rollback would change: {}",
                self.changed(&error),
                outcome::difference(found)
            )
            .into(),
            None => self.changed(&error).into(),
        };
        if let meta_migrate::EngineErrorKind::Store { source, .. } = &*error.failure {
            told.unreachable = source.is_unreachable();
        }
        let backup = error.backup.as_ref().map(|backup| backup.path.as_str());
        told.backup = backup.map(Into::into);
        self.lead_on(&error, backup, &mut told);
        let failure = *error.failure;
        if let meta_migrate::EngineErrorKind::Findings(plan) = failure {
            told.findings = plan.findings.into();
        } else if let meta_migrate::EngineErrorKind::Verification(report)
        | meta_migrate::EngineErrorKind::StagedDiffers(report) = failure
        {
            told.findings = report.findings.into();
        }
        told
    }

    /// What next.
    fn lead_on(&self, error: &EngineError, backup: Option<&str>, told: &mut Failure) {
        let mut hint = |text: String| told.hints.push(text);
        if let meta_migrate::EngineErrorKind::Backup(BackupError::Ephemeral { path, why }) =
            &*error.failure
        {
            mount_hints(path, *why).into_iter().for_each(&mut hint);
            return;
        }
        if let Some(text) = self.cure(&error.failure, error.phase) {
            hint(text);
        }
        if matches!(
            *error.failure,
            meta_migrate::EngineErrorKind::StagedWouldStay { .. }
        ) {
            hint(format!("{}   # then", self.again));
            return;
        }
        if is_other_staging(&error.failure) {
            told.hints.extend(self.past_staging(backup));
            return;
        }
        if let meta_migrate::EngineErrorKind::OtherTask { command, .. } = &*error.failure {
            hint(format!("{}   # resumes", self.command(command)));
            hint(format!("{}   # rolls back", self.back(backup)));
            return;
        }
        // The same again would be refused again.
        if is_loss(&error.failure) {
            hint(self.back_all_the_same(error.phase, backup));
            return;
        }
        if is_taken_over(error) {
            hint(format!(
                "{}   # shows the state and who holds the lock",
                self.command("status")
            ));
            return;
        }
        let phase = error.phase;
        let staged =
            error.written == WriteState::Staged || phase.is_some_and(Phase::is_before_commit);
        let switched = error.written == WriteState::Committed
            || matches!(phase, Some(Phase::Committed | Phase::Tidying));
        let restoring = error.written == WriteState::Restoring || phase == Some(Phase::Restoring);
        if restoring && !self.goes_back && backup.is_some() {
            hint(format!(
                "{}   # finishes the restore; migrate also finishes it before it starts",
                self.back_with("restore", backup)
            ));
        } else if restoring || (self.goes_back && error.written != WriteState::Nothing) {
            hint(format!("{}   # resumes", self.again));
        } else if error.written == WriteState::InDoubt {
            hint(format!("{}   # shows the state", self.command("status")));
            hint(format!("{}   # resumes from there", self.again));
            hint(format!("{}   # rolls back from there", self.back(backup)));
        } else if staged {
            hint(format!("{}   # resumes", self.again));
            hint(format!(
                "{}   # rolls back: deletes the staged keys",
                self.command("rollback")
            ));
        } else if switched {
            self.until_done().into_iter().for_each(&mut hint);
            hint(format!("{}   # resumes", self.again));
            match backup {
                Some(path) => hint(format!("{}   # rolls back", self.back(Some(path)))),
                None => hint(NO_WAY_BACK.to_owned()),
            }
        }
    }

    /// What must not start between the commit of a repair and its end.
    fn until_done(&self) -> Option<String> {
        (self.shows_plan != "plan").then(|| {
            "do not start Milvus 2.3.18+ or 2.4.5+ before the repair is done: it would overwrite moved collections"
                .to_owned()
        })
    }

    /// Both next_steps on from staged keys that the recorded plan does not explain.
    fn past_staging(&self, backup: Option<&str>) -> Vec<String> {
        let restore = backup.map(|path| {
            format!(
                "{} --accept-loss   # restores the 2.1 metadata as it was saved; with --dry-run it only shows the \
                    diff",
                self.back_with("restore", Some(path))
            )
        });
        let rollback = format!(
            "{} --accept-loss   # keeps the current 2.1 metadata and deletes all keys of the 2.2 layout",
            self.command("rollback")
        );
        restore.into_iter().chain([rollback]).collect()
    }

    /// The rollback although something is lost.
    fn back_all_the_same(&self, phase: Option<Phase>, backup: Option<&str>) -> String {
        let back = match (self.goes_back, backup) {
            (true, _) => self.again.replace(" --dry-run", ""),
            // Whatever is restored: a part of the metadata, or the 2.2 layout, is none of rollback's.
            (false, Some(_)) if phase == Some(Phase::Restoring) => {
                self.back_with("restore", backup)
            }
            (false, Some(_)) => self.back(backup),
            (false, None) => return NO_WAY_BACK.to_owned(),
        };
        format!(
            "{back} --accept-loss   # rolls back anyway: metadata of objects created since is lost"
        )
    }

    /// Where another backup is, or may go.
    fn another_backup(&self, error: &BackupError) -> Option<String> {
        if let Some(hint) = reading::hint(error) {
            return Some(hint);
        }
        if let BackupError::Invalid { path, .. } | BackupError::Changed { path } = error {
            let folder = path.parent().filter(|folder| *folder != Path::new(""));
            let folder = folder.unwrap_or(Path::new(".")).display().to_string();
            return self.goes_back.then(|| {
                format!(
                    "{} backup list {}   # lists valid backups",
                    self.program,
                    quoted(&folder)
                )
            });
        }
        if error.is_reading() {
            let is_missed = self.goes_back && error.is_missing();
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

    /// The command that shows all findings.
    fn all_findings(&self, plan: &PlanReport) -> String {
        let way = if plan.findings.iter().any(Finding::is_broken_record) {
            ". Use --on-broken-record skip to leave out the records that cannot be migrated"
        } else {
            ""
        };
        format!(
            "{}   # shows all findings; -o json lists every key{way}",
            self.plan_command()
        )
    }

    /// The command that shows the plan of this run.
    fn plan_command(&self) -> String {
        let words = self.planning.iter();
        let words = words.map(|word| format!(" {}", quoted(word)));
        let options = match self.planning.iter().any(|word| word == "--from") {
            true => &self.file_options,
            false => &self.options,
        };
        self.command_with(self.shows_plan, options) + &words.collect::<String>()
    }

    /// The command that compares where revisions are not meaningful.
    fn tells_losses(&self) -> String {
        format!(
            "{} --backup FILE   # compares with the result of migrating that backup: without differences nothing \
                would be lost; otherwise save the current metadata first: {}",
            self.command("verify"),
            self.command("backup")
        )
    }

    /// What helps against this failure in particular.
    fn cure(
        &self,
        failure: &meta_migrate::EngineErrorKind,
        phase: Option<Phase>,
    ) -> Option<String> {
        use meta_migrate::EngineErrorKind as F;
        if let Some(text) = cure_by_hand(failure) {
            return Some(text);
        }
        Some(match failure {
            F::Sessions(_) => STOP_MILVUS.to_owned(),
            F::Intruder(_) => "stop that component, then resume".to_owned(),
            F::Locked(_) => WAIT_FOR_LOCK.to_owned(),
            F::Findings(plan) => self.all_findings(plan),
            F::PlanNotApproved { .. } => format!(
                "{}   # shows the current plan; pass its digest to --plan when it is approved",
                self.plan_command()
            ),
            F::NoMetadata { root, instances } => where_else(root, instances.as_ref()),
            F::SourceChanged { .. } => "stop the program that writes to the metadata".to_owned(),
            F::NoRoom { .. } => {
                "free space: compact and defragment etcd, or raise --quota-backend-bytes".to_owned()
            }
            F::Alarm(_) => MAKE_ROOM.to_owned(),
            F::EntryTooLarge { .. } => "raise --max-request-bytes of etcd".to_owned(),
            F::CommitTooLarge { operations } => {
                format!("start etcd with --max-txn-ops={operations} or more")
            }
            F::Backup(error) => return self.another_backup(error),
            F::NoBackup => "name the backup file with --backup-file".to_owned(),
            F::StagedWouldStay { .. } => format!(
                "{}   # deletes the staged keys and nothing else",
                self.command("rollback")
            ),
            F::OtherBackup { .. } => {
                "name the backup that the migration saved: rollback --backup-file FILE".to_owned()
            }
            F::WrongRoot { found, .. } => format!(
                "the backup is of {found:?}: use --root-path with that root to restore it in place, or restore \
                    --to-root to move it"
            ),
            F::OtherEtcd { .. } if phase == Some(Phase::Done) => self.tells_losses(),
            // What is unfinished is not as a migration makes it, whoever wrote since.
            F::UnknownLoss { .. }
            | F::NotStaged { .. }
            | F::StagedFromOther { .. }
            | F::PlanChanged { .. }
            | F::ChangedWhileRestoring { .. }
            | F::WouldLose { .. }
            | F::OtherEtcd { .. } => {
                format!("{}   # saves the current metadata", self.command("backup"))
            }
            F::Verification(_) => self.command("verify"),
            F::Store { source, .. } if source.kind == StoreErrorKind::NoSpace => {
                MAKE_ROOM.to_owned()
            }
            F::Store { source, .. } if source.kind == StoreErrorKind::Denied => {
                denied(source).to_owned()
            }
            F::Journal { key, source } => unusable_journal(key, source),
            F::Store { .. }
            | F::LockLost { .. }
            | F::JournalChanged { .. }
            | F::StagedDiffers(_)
            | F::Interrupted(_)
            | F::Declined
            | F::Usage(_)
            | F::Form(_)
            | F::OtherTask { .. }
            | F::History { .. }
            | F::Worker(_) => return None,
        })
    }
}

/// The same call with what the environment and the YAML file said about the instance. One that reads a file
/// instead of etcd is complete.
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
    if !has(&call, "--from") {
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

/// Where there is metadata instead.
fn where_else(root: &MetaRoot, instances: Option<&Instances>) -> String {
    const NEW: &str =
        "if the instance is new, use --allow-empty (in a YAML file config.allowEmpty: true)";
    let Some(instances) = instances else {
        return format!(
            "the roots of other instances could not be listed, because the etcd user may not read them: compare \
             --root-path with etcd.rootPath of Milvus; {NEW}"
        );
    };
    let limit = if instances.is_complete {
        ""
    } else {
        " (not all of etcd was searched)"
    };
    if instances.roots.is_empty() {
        return format!(
            "no Milvus instance was found in this etcd{limit}: check --endpoints; {NEW}"
        );
    }
    let sub_path = root.meta_root().strip_prefix(root.root_path());
    let sub_path = sub_path.unwrap_or_default().trim_start_matches('/');
    const SHOWN: usize = 10;
    let hidden = match instances.roots.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let options = instances.roots.iter().take(SHOWN).map(|found| {
        let parts = found.rsplit_once('/').unwrap_or(("", found));
        match parts {
            ("", "") => "at the top level".to_owned(),
            ("", _) => format!("{found} (empty etcd.rootPath)"),
            (path, last) if last == sub_path => format!("{found} (--root-path {})", quoted(path)),
            (path, last) => format!(
                "{found} (--root-path {} --meta-sub-path {})",
                quoted(path),
                quoted(last)
            ),
        }
    });
    format!(
        "Milvus metadata was found under {}{hidden}{limit}: run the command again with the root path of this \
            instance \
         (in a YAML file etcd.rootPath); {NEW}",
        options.collect::<Vec<_>>().join(", ")
    )
}

const STOP_MILVUS: &str = "stop all Milvus components, but not etcd; their sessions end within a minute, and \
    --wait-sessions 90s waits for them";
const WAIT_FOR_LOCK: &str = "wait until that run has ended; the lock of a killed run expires with its lease, and \
    --wait-lock waits for it";

/// Removes sessions and locks without a lease: they never expire.
fn cure_by_hand(failure: &meta_migrate::EngineErrorKind) -> Option<String> {
    use meta_migrate::EngineErrorKind as F;
    let (sessions, nobody) = if let F::Sessions(found) | F::Intruder(found) = failure {
        (found.as_slice(), "no Milvus")
    } else if let F::Locked(holder) = failure {
        (std::slice::from_ref(holder), "no migration")
    } else {
        return None;
    };
    let stay = sessions.iter().filter(|session| session.stays());
    let commands: Vec<_> = stay
        .map(|session| format!("etcdctl del {}", quoted(&session.key)))
        .collect();
    (!commands.is_empty()).then(|| {
        format!(
            "a key without a lease never expires: make sure that {nobody} runs, then run {}",
            commands.join(" && ")
        )
    })
}

/// What helps a user whom etcd denies something.
fn denied(error: &StoreError) -> &'static str {
    if error.problems.contains(&ConnectProblem::Login) {
        connecting::LOGIN
    } else {
        "the etcd user needs to read and write everything below the root path"
    }
}

/// A journal that this program cannot go by.
fn unusable_journal(key: &str, why: &JournalError) -> String {
    match why {
        JournalError::Newer { .. } => {
            "use the newer version that wrote it, to resume as well as to roll back".to_owned()
        }
        JournalError::OtherRoot { .. } => format!(
            "if etcd was copied from that cluster and no migration was unfinished, delete the copy: etcdctl del \
                {}; otherwise finish the migration or roll it back in the original cluster, and copy again",
            quoted(key)
        ),
        JournalError::Unreadable { .. } => format!(
            "save the value (etcdctl get {key}) and find out what wrote it; restore works on a complete backup, \
                and only after the journal is deleted (etcdctl del {key})"
        ),
    }
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

/// Whether what is staged is not what the recorded plan makes of the metadata.
fn is_other_staging(failure: &meta_migrate::EngineErrorKind) -> bool {
    use meta_migrate::EngineErrorKind as F;
    matches!(
        failure,
        F::StagedFromOther { .. } | F::NotStaged { .. } | F::PlanChanged { .. }
    )
}

/// Whether it was refused because something would be lost.
fn is_loss(failure: &meta_migrate::EngineErrorKind) -> bool {
    use meta_migrate::EngineErrorKind as F;
    matches!(
        failure,
        F::UnknownLoss { .. }
            | F::NotStaged { .. }
            | F::StagedFromOther { .. }
            | F::ChangedWhileRestoring { .. }
            | F::WouldLose { .. }
            | F::OtherEtcd { .. }
    )
}

/// Whether another program may have continued since this run wrote last, so that what it knows is old.
fn is_taken_over(error: &EngineError) -> bool {
    matches!(
        *error.failure,
        meta_migrate::EngineErrorKind::LockLost { .. }
            | meta_migrate::EngineErrorKind::JournalChanged { .. }
    )
}

impl NextSteps {
    /// What was changed, and what is in etcd now.
    fn changed(&self, error: &EngineError) -> &'static str {
        let is_repair = self.shows_plan != "plan" && !is_taken_over(error);
        let of_repair = is_repair.then(|| changed_by_repair(error)).flatten();
        of_repair.unwrap_or_else(|| changed_by_migration(error))
    }
}

/// What an unfinished repair changed.
fn changed_by_repair(error: &EngineError) -> Option<&'static str> {
    Some(match (error.written, error.phase) {
        (WriteState::Staged, _) => {
            "the repair's new keys are partly staged; no key that was there is changed"
        }
        (WriteState::InDoubt, _) => {
            "the repair's new keys are staged and the commit was sent, but etcd did not answer: the commit took effect \
                entirely or not at all"
        }
        (WriteState::Committed, _) => {
            "the repair is committed and not finished: do not start Milvus until it is"
        }
        (WriteState::Nothing, Some(Phase::Staging | Phase::Staged)) => {
            "this run changed nothing; an earlier run staged the repair's new keys"
        }
        (WriteState::Nothing, Some(Phase::Committed | Phase::Tidying)) => {
            "this run changed nothing; an earlier run committed the repair: do not start Milvus until it is finished"
        }
        (WriteState::Nothing | WriteState::Restoring | WriteState::Restored, _) => return None,
    })
}

/// What a migration or a restore changed.
fn changed_by_migration(error: &EngineError) -> &'static str {
    if error.written != WriteState::Nothing && is_taken_over(error) {
        return "this run wrote to etcd, then lost its lock or its journal: another run may have changed etcd \
            since. Run status";
    }
    let is_other_plan = matches!(
        *error.failure,
        meta_migrate::EngineErrorKind::StagedFromOther { .. }
            | meta_migrate::EngineErrorKind::PlanChanged { .. }
    );
    if error.written == WriteState::Nothing && is_other_plan {
        return "this run changed nothing; an earlier run staged 2.2 keys. It is unknown whether the 2.1 metadata \
            is intact: Milvus 2.1 or another program changed it since";
    }
    match (error.written, error.phase) {
        (WriteState::Staged, _) => {
            "2.2 keys partly staged; 2.1 untouched: Milvus 2.1 can start, 2.2 must not"
        }
        (WriteState::InDoubt, _) => {
            "the 2.2 keys are staged and the commit was sent, but etcd did not answer: the commit took effect \
                entirely or not at all"
        }
        (WriteState::Committed, _) => {
            "the migration is committed: Milvus 2.2 can start, 2.1 must not; cleanup or verification is not finished"
        }
        (WriteState::Restoring, _) => {
            "the backup is partly restored: do not start any Milvus component until the restore is finished"
        }
        (WriteState::Restored, _) => {
            "the unfinished restore of an earlier run was finished: etcd matches its backup, and nothing else was \
                changed"
        }
        (WriteState::Nothing, Some(Phase::Staging | Phase::Staged)) => {
            "this run changed nothing; an earlier run staged 2.2 keys, 2.1 is untouched: Milvus 2.1 can start, \
                2.2 must not"
        }
        (WriteState::Nothing, Some(Phase::Committed | Phase::Tidying)) => {
            "this run changed nothing; an earlier run committed the migration: Milvus 2.2 can start, 2.1 must not"
        }
        (WriteState::Nothing, Some(Phase::Restoring)) => {
            "this run changed nothing; an earlier run partly restored a backup: do not start any Milvus component"
        }
        (WriteState::Nothing, Some(Phase::Done) | None) => NOTHING_CHANGED,
    }
}
