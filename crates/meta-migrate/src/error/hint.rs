//! Hints after a failed run: the remedy of the cause, then the commands that resume or roll back.
//!
//! A command is given by its purpose; the command line that prints it adds the current options.
//! Remedies for failed connections and unusable backup files are options of the command line and
//! defined there.

use crate::error::{CommitSize, EngineError, EngineErrorKind, Instances, WriteState};
use crate::journal::Phase;
use meta_report::shell::{option_text, quoted};
use meta_store::StoreErrorKind;
use milvus_meta::finding::Finding;
use milvus_meta::keys::{MetaRoot, root_options};
use milvus_meta::transform::PlanReport;

/// The remedy of the alarm NOSPACE.
const MAKE_ROOM: &str = "free space: etcdctl compact (the revision is in etcdctl endpoint status), etcdctl defrag, \
                         or raise --quota-backend-bytes; then etcdctl alarm disarm";

const NO_BACKUP: &str = "the migration was made without a backup and cannot be rolled back";

const STOP_MILVUS: &str = "stop all Milvus components, but not etcd; their sessions end within a minute, and \
                           --wait-sessions 90s waits for them";

const WAIT_FOR_LOCK: &str = "wait until that run has ended; the lock of a killed run expires with its lease, and \
                             --wait-lock waits for it";

const REPAIR_UNFINISHED: &str = "do not start Milvus 2.3.18+ or 2.4.5+ before the repair is done: it would overwrite \
                                 moved collections";

/// The task of the failed run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunKind {
    /// Migrate, or only read.
    Migrate,
    /// Repair metadata in the 2.2 layout.
    Repair,
    /// Roll back or restore: such a run can only be resumed.
    Restore,
}

/// What the user can do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// The command, if any.
    pub command: Option<NextCommand>,
    /// What the command does, or the instruction itself; may be empty next to a command.
    pub text: String,
}

/// A command, without the options that name etcd and the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextCommand {
    /// The same command again.
    Again,
    /// The same command with `--accept-loss` and without `--dry-run`.
    AgainAcceptingLoss,
    /// The command with this name.
    Named(&'static str),
    /// The command that shows the plan of this run.
    Plan,
    /// Verification against a backup file that the user must specify.
    VerifyBackup,
    /// Deletion of staged keys by a rollback, which needs no backup.
    DeleteStaged {
        /// Whether other keys in the new families may be deleted.
        accept_loss: bool,
    },
    /// A rollback.
    Rollback {
        /// The backup; the configured one if `None`.
        backup: Option<String>,
        /// Whether metadata that is not in the backup may be lost.
        accept_loss: bool,
    },
    /// A restore.
    Restore {
        /// The backup.
        backup: String,
        /// Whether metadata that is not in the backup may be lost.
        accept_loss: bool,
    },
}

impl Hint {
    fn text(text: impl Into<String>) -> Self {
        Self {
            command: None,
            text: text.into(),
        }
    }

    fn run(command: NextCommand, text: impl Into<String>) -> Self {
        Self {
            command: Some(command),
            text: text.into(),
        }
    }
}

impl EngineError {
    /// Returns what to do next, starting with the remedy of the cause.
    #[must_use]
    pub fn hints(&self, kind: RunKind) -> Vec<Hint> {
        let remedy = self.failure.remedy(self.phase);
        remedy.into_iter().chain(self.next(kind)).collect()
    }

    fn backup_path(&self) -> Option<String> {
        self.backup.as_ref().map(|backup| backup.path.clone())
    }

    fn rollback(&self, accept_loss: bool) -> NextCommand {
        NextCommand::Rollback {
            backup: self.backup_path(),
            accept_loss,
        }
    }

    /// Returns the commands that resume or roll back.
    fn next(&self, kind: RunKind) -> Vec<Hint> {
        use EngineErrorKind as E;
        use NextCommand as C;
        if matches!(*self.failure, E::StagedWouldStay { .. }) {
            return vec![Hint::run(C::Again, "then")];
        }
        if let E::OtherTask { command, .. } = &*self.failure {
            return vec![
                Hint::run(C::Named(command), "resumes"),
                Hint::run(self.rollback(false), "rolls back"),
            ];
        }
        if self.failure.is_other_staging() {
            return self.past_staging();
        }
        // The same command would be rejected again.
        if self.failure.is_loss() {
            let saved = matches!(*self.failure, E::NotSaved { .. });
            let saved = saved.then(|| Hint::run(self.rollback(false), "restores what was saved"));
            return saved
                .into_iter()
                .chain([self.accepting_loss(kind)])
                .collect();
        }
        if self.is_taken_over() {
            return vec![Hint::run(
                C::Named("status"),
                "shows the state and who holds the lock",
            )];
        }
        self.by_progress(kind)
    }

    fn by_progress(&self, kind: RunKind) -> Vec<Hint> {
        use NextCommand as C;
        let (written, phase) = (self.written, self.phase);
        let resume = Hint::run(C::Again, "resumes");
        let is_restore = kind == RunKind::Restore;
        let restoring = written == WriteState::Restoring || phase == Some(Phase::Restoring);
        if let Some(backup) = self.backup_path().filter(|_| restoring && !is_restore) {
            let restore = C::Restore {
                backup,
                accept_loss: false,
            };
            return vec![Hint::run(
                restore,
                "finishes the restore; migrate also finishes it before it starts",
            )];
        }
        if restoring || (is_restore && written != WriteState::Nothing) {
            return vec![resume];
        }
        if written == WriteState::InDoubt {
            return vec![
                Hint::run(C::Named("status"), "shows the state"),
                Hint::run(C::Again, "resumes from there"),
                Hint::run(self.rollback(false), "rolls back from there"),
            ];
        }
        if written == WriteState::Staged || phase.is_some_and(Phase::is_before_commit) {
            let delete = C::DeleteStaged { accept_loss: false };
            return vec![
                resume,
                Hint::run(delete, "rolls back: deletes the staged keys"),
            ];
        }
        if written == WriteState::Committed
            || matches!(phase, Some(Phase::Committed | Phase::Tidying))
        {
            if is_restore {
                // Without the backup the same command fails again.
                let is_unread = matches!(*self.failure, EngineErrorKind::Backup(_));
                let again = (!is_unread).then(|| Hint::run(C::Again, "rolls back"));
                return again.into_iter().collect();
            }
            let warning = (kind == RunKind::Repair).then(|| Hint::text(REPAIR_UNFINISHED));
            let back = match self.backup {
                Some(_) => Hint::run(self.rollback(false), "rolls back"),
                None => Hint::text(NO_BACKUP),
            };
            return warning.into_iter().chain([resume, back]).collect();
        }
        Vec::new()
    }

    /// Returns how to continue or roll back if the recorded plan does not explain the staged keys.
    fn past_staging(&self) -> Vec<Hint> {
        let accept_loss = true;
        let restore = self.backup_path().map(|backup| {
            Hint::run(
                NextCommand::Restore {
                    backup,
                    accept_loss,
                },
                "restores the 2.1 metadata as it was saved; with --dry-run it only shows the diff",
            )
        });
        let rollback = Hint::run(
            NextCommand::DeleteStaged { accept_loss },
            "keeps the current 2.1 metadata and deletes all keys of the 2.2 layout",
        );
        restore.into_iter().chain([rollback]).collect()
    }

    /// Returns the command that rolls back in spite of the loss.
    fn accepting_loss(&self, kind: RunKind) -> Hint {
        let command = match self.backup_path() {
            _ if kind == RunKind::Restore => NextCommand::AgainAcceptingLoss,
            // The unfinished restore may be partial or of the 2.2 layout, which rollback does not
            // support.
            Some(backup) if self.phase == Some(Phase::Restoring) => NextCommand::Restore {
                backup,
                accept_loss: true,
            },
            Some(_) => self.rollback(true),
            None => return Hint::text(NO_BACKUP),
        };
        Hint::run(
            command,
            "rolls back anyway: metadata of objects created since is lost",
        )
    }
}

impl EngineErrorKind {
    /// Returns whether the staged keys do not match the recorded plan.
    fn is_other_staging(&self) -> bool {
        matches!(
            self,
            Self::StagedFromOther { .. } | Self::NotStaged { .. } | Self::PlanChanged { .. }
        )
    }

    /// Returns whether the run was rejected because metadata in etcd would be lost.
    fn is_loss(&self) -> bool {
        matches!(
            self,
            Self::UnknownLoss { .. }
                | Self::ChangedWhileRestoring { .. }
                | Self::NotSaved { .. }
                | Self::WouldLose { .. }
                | Self::OtherEtcd { .. }
        )
    }

    fn remedy(&self, phase: Option<Phase>) -> Vec<Hint> {
        let by_command = self.remedy_by_command(phase);
        match self.remedy_by_hand() {
            Some(text) => vec![Hint::text(text)],
            None => by_command,
        }
    }

    fn remedy_by_command(&self, phase: Option<Phase>) -> Vec<Hint> {
        use NextCommand as C;
        const SAVE: &str = "saves the current metadata";
        if self.is_loss() || self.is_other_staging() {
            // An unfinished state never matches the result of a migration, so only `done` is
            // compared.
            let done = matches!(self, Self::OtherEtcd { .. }) && phase == Some(Phase::Done);
            let compare = done.then(|| {
                Hint::run(
                    C::VerifyBackup,
                    "compares with the result of migrating that backup: without differences nothing would be lost",
                )
            });
            let save = Hint::run(C::Named("backup"), SAVE);
            return compare.into_iter().chain([save]).collect();
        }
        let (command, text) = if let Self::Findings(plan) = self {
            (C::Plan, all_findings(plan))
        } else if matches!(self, Self::PlanNotApproved { .. }) {
            let text = "shows the current plan; pass its digest to --plan when it is approved";
            (C::Plan, text)
        } else if matches!(self, Self::StagedWouldStay { .. }) {
            let delete = C::DeleteStaged { accept_loss: false };
            (delete, "deletes the staged keys and nothing else")
        } else if matches!(self, Self::Verification(_)) {
            (C::Named("verify"), "")
        } else {
            return Vec::new();
        };
        vec![Hint::run(command, text)]
    }

    /// Returns what the user can do in Milvus, in etcd or with an option.
    pub(crate) fn remedy_by_hand(&self) -> Option<String> {
        Some(match self {
            Self::Sessions(found) => {
                delete_by_hand(found, "no Milvus").unwrap_or_else(|| STOP_MILVUS.to_owned())
            }
            Self::ComponentStarted(found) => delete_by_hand(found, "no Milvus")
                .unwrap_or_else(|| "stop that component, then resume".to_owned()),
            Self::Locked(holder) => delete_by_hand(std::slice::from_ref(holder), "no migration")
                .unwrap_or_else(|| WAIT_FOR_LOCK.to_owned()),
            Self::NoMetadata { root, instances } => other_instances(root, instances.as_ref()),
            Self::SourceChanged { .. } => "stop the program that writes to the metadata".to_owned(),
            Self::NoRoom { .. } => {
                "free space: compact and defragment etcd, or raise --quota-backend-bytes".to_owned()
            }
            Self::Alarm(_) => MAKE_ROOM.to_owned(),
            Self::EntryTooLarge { .. } | Self::CommitTooLarge(CommitSize::Bytes(_)) => {
                "raise --max-request-bytes of etcd".to_owned()
            }
            Self::CommitTooLarge(CommitSize::Operations(operations)) => {
                format!("start etcd with --max-txn-ops={operations} or more")
            }
            Self::NoBackup => "name the backup file with --backup-file".to_owned(),
            Self::OtherBackup { .. } => {
                "name the backup that the migration saved: rollback --backup-file FILE".to_owned()
            }
            Self::WrongRoot { found, .. } => format!(
                "the backup is of {found:?}: use --root-path with that root to restore it in place, or restore \
                 --to-root to move it"
            ),
            Self::Store { source, .. } if source.kind == StoreErrorKind::Denied => {
                "check --root-path; the etcd user needs to read and write everything below it"
                    .to_owned()
            }
            Self::Journal { key, source } => source.remedy(key),
            Self::Store { .. }
            | Self::OtherTask { .. }
            | Self::LockLost { .. }
            | Self::JournalChanged { .. }
            | Self::History { .. }
            | Self::Findings(_)
            | Self::PlanChanged { .. }
            | Self::PlanNotApproved { .. }
            | Self::StagedDiffers(_)
            | Self::Backup(_)
            | Self::UnknownLoss { .. }
            | Self::StagedFromOther { .. }
            | Self::NotStaged { .. }
            | Self::StagedWouldStay { .. }
            | Self::ChangedWhileRestoring { .. }
            | Self::NotSaved { .. }
            | Self::WouldLose { .. }
            | Self::OtherEtcd { .. }
            | Self::Verification(_)
            | Self::Interrupted(_)
            | Self::Declined
            | Self::Usage(_)
            | Self::Form(_)
            | Self::Worker(_) => return None,
        })
    }
}

/// Describes the command that shows all findings.
fn all_findings(plan: &PlanReport) -> &'static str {
    if plan.findings.iter().any(Finding::is_broken_record) {
        "shows all findings; -o json lists every key. Use --on-broken-record skip to migrate \
         without the broken records"
    } else {
        "shows all findings; -o json lists every key"
    }
}

/// Returns how to delete sessions or locks without a lease, which never expire; `None` if each has
/// one.
fn delete_by_hand(sessions: &[meta_report::SessionReport], absent: &str) -> Option<String> {
    let stay = sessions.iter().filter(|session| session.never_expires());
    let commands: Vec<_> = stay
        .map(|session| format!("etcdctl del {}", quoted(&session.key)))
        .collect();
    (!commands.is_empty()).then(|| {
        format!(
            "a key without a lease never expires: make sure that {absent} runs, then run {}",
            commands.join(" && ")
        )
    })
}

/// Lists the roots that contain metadata.
fn other_instances(root: &MetaRoot, instances: Option<&Instances>) -> String {
    const NEW: &str =
        "if the instance is new, use --allow-empty (in a YAML file config.allowEmpty: true)";
    const SHOWN: usize = 10;
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
    let hidden = match instances.roots.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let options = instances.roots.iter().take(SHOWN).map(|found| {
        let (path, last) = root_options(found);
        let mut options = option_text("--root-path", path);
        if last != sub_path {
            options.push_str(&option_text("--meta-sub-path", last));
        }
        match last {
            "" => "at the top level".to_owned(),
            _ => format!("{found} ({})", options.trim_start()),
        }
    });
    format!(
        "Milvus metadata was found under {}{hidden}{limit}: run the command again with the root path of this \
         instance (in a YAML file etcd.rootPath); {NEW}",
        options.collect::<Vec<_>>().join(", ")
    )
}
