//! Errors of a run: what happened, and the state it leaves.

use std::path::PathBuf;

use crate::journal::{JournalError, Phase};
use meta_backup::BackupError;
use meta_report::{BackupRef, RestoreReport, SessionReport, VerifyReport};
use meta_store::{StoreError, StoreErrorKind};
use milvus_meta::entry::{Entry, printable};
use milvus_meta::keys::MetaRoot;
use milvus_meta::plural::{agree, counted, listed};
use milvus_meta::transform::{FormError, PlanReport};

use crate::shutdown::{CancelToken, Signal};

mod changed;
mod hint;

pub use changed::NOTHING_CHANGED;
pub use hint::{Hint, NextCommand, RunKind};

/// The meta roots with Milvus metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instances {
    /// The meta roots, printable, ordered by depth.
    pub roots: Vec<String>,
    /// Whether all of etcd was searched.
    pub is_complete: bool,
}

/// What makes a commit too large for one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitSize {
    /// The size of its operations.
    #[error("has about {0} bytes (--max-request-bytes of the server)")]
    Bytes(usize),
    /// The number of operations or comparisons, whichever is larger.
    #[error("needs {0} operations (--max-txn-ops of the server)")]
    Operations(usize),
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum EngineErrorKind {
    /// A request to etcd failed, also after retries.
    #[error("{action} failed")]
    Store {
        /// What was being done.
        action: String,
        /// Why it failed.
        #[source]
        source: StoreError,
    },
    /// Milvus components are registered.
    #[error("Milvus is not stopped: {}", list_sessions(.0))]
    Sessions(Vec<SessionReport>),
    /// A Milvus component registered during the run.
    #[error("a Milvus component registered during the run: {}", list_sessions(.0))]
    ComponentStarted(Vec<SessionReport>),
    /// Another run holds the lock.
    #[error("another migration holds the lock {} ({}, {})", .0.key, .0.address, .0.ending())]
    Locked(SessionReport),
    /// Another task is unfinished.
    #[error(
        "a {recorded} is unfinished ({phase}): run meta-migration {command} to resume it, or meta-migration rollback"
    )]
    OtherTask {
        /// The unfinished task.
        recorded: &'static str,
        /// The command that resumes it.
        command: &'static str,
        /// The phase it has reached.
        phase: &'static str,
    },
    /// This run lost the lock.
    #[error("the lock {key} was lost during the run")]
    LockLost {
        /// The lock's key.
        key: String,
    },
    /// Another program wrote the journal.
    #[error("the journal {key} was changed by a concurrent writer")]
    JournalChanged {
        /// The journal's key.
        key: String,
    },
    /// The journal cannot be used.
    #[error("the journal {key} cannot be used")]
    Journal {
        /// The journal's key.
        key: String,
        /// Why.
        #[source]
        source: JournalError,
    },
    /// The history cannot be read.
    #[error("the history {key} cannot be read: {why}")]
    History {
        /// The history's key.
        key: String,
        /// Why.
        why: String,
    },
    /// The metadata cannot be migrated as it is.
    #[error("the metadata cannot be migrated as it is: {}", counted(error_count(.0), "error"))]
    Findings(Box<PlanReport>),
    /// There is no key below the meta root.
    #[error("no Milvus metadata under {root}")]
    NoMetadata {
        /// The meta root of this run.
        root: MetaRoot,
        /// Other meta roots in etcd; `None` if the user may not read it.
        instances: Option<Instances>,
    },
    /// The plan differs from the one that an unfinished run has staged.
    #[error("an unfinished run staged another plan (digest {recorded}, now {now})")]
    PlanChanged {
        /// The digest in the journal.
        recorded: String,
        /// The digest of the plan made now.
        now: String,
    },
    /// The plan is not the one that was approved.
    #[error("the plan is not the approved one: it is {now}, and --plan says {approved} ({what})")]
    PlanNotApproved {
        /// The digest that was approved.
        approved: String,
        /// The digest of the plan made now.
        now: String,
        /// The changes of the plan, and the last write to the metadata.
        what: String,
    },
    /// A source key changed after it was read.
    #[error("the metadata changed after it was read at revision {revision}: {what}")]
    SourceChanged {
        /// The revision of the capture.
        revision: i64,
        /// What changed.
        what: String,
    },
    /// The staged keys differ from the plan.
    #[error("the staged keys differ from the plan")]
    StagedDiffers(Box<VerifyReport>),
    /// etcd has too little free space.
    #[error(
        "not enough free space in etcd: about {needed} bytes are needed (for a migration including its rollback); \
            {in_use} of {quota} bytes are in use, the database file has {db_size}{}",
        without_logs(*.log_keys)
    )]
    NoRoom {
        /// Estimated bytes that the command adds; for a migration including its rollback.
        needed: u64,
        /// Bytes in use on the fullest member.
        in_use: u64,
        /// Size of the largest database file; etcd rejects writes when it reaches the quota.
        db_size: u64,
        /// The quota in bytes.
        quota: u64,
        /// How many of the keys are segment logs, which can stay in the segment records.
        log_keys: u64,
    },
    /// An alarm is raised.
    #[error("etcd has raised the alarm {}", .0.join(", "))]
    Alarm(Vec<String>),
    /// An entry is larger than the server accepts.
    #[error("the entry {} of {bytes} bytes is larger than etcd's request limit", printable(.key))]
    EntryTooLarge {
        /// The key.
        key: Vec<u8>,
        /// Bytes of its key and value.
        bytes: usize,
    },
    /// The commit exceeds a limit of etcd.
    #[error("etcd rejects the commit as one transaction: it {0}")]
    CommitTooLarge(CommitSize),
    /// The backup could not be written or read.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// No backup was specified or recorded.
    #[error("no backup to roll back to is known")]
    NoBackup,
    /// The backup belongs to another meta root.
    #[error("the backup {} is of {found}, not of {wanted}", .path.display())]
    WrongRoot {
        /// The file.
        path: PathBuf,
        /// The meta root in the backup.
        found: String,
        /// The meta root of this run.
        wanted: String,
    },
    /// The file at the path of the migration's backup has other content.
    #[error(
        "{} is not the backup that was saved there: its content has the digest {found}, the journal says {recorded}",
        .path.display()
    )]
    OtherBackup {
        /// The file.
        path: PathBuf,
        /// The digest in the journal.
        recorded: String,
        /// The digest of the file's content.
        found: String,
    },
    /// The origin of keys that are not in the backup is unknown.
    #[error(
        "{why}, so it is unknown what was written since the backup: {}, such as {}. The rollback would lose them",
        unlike_backup(*.extra, *.different), .examples.join(", ")
    )]
    UnknownLoss {
        /// Why it is unknown.
        why: &'static str,
        /// Number of keys that are not in the backup.
        extra: u64,
        /// Number of keys with another value in the backup.
        different: u64,
        /// Examples of both.
        examples: Vec<String>,
    },
    /// The current 2.1 metadata gives another plan than the staged one.
    #[error(
        "the 2.1 metadata is not what the staged keys were made from (plan digest {recorded}, now {now}): it was \
         changed since"
    )]
    StagedFromOther {
        /// The digest in the journal.
        recorded: String,
        /// The digest of the plan made now.
        now: String,
    },
    /// The new families contain keys that the migration did not stage.
    #[error(
        "{} of the 2.2 layout {} not what this migration staged, such as {}: another program wrote {it}, and the \
         rollback would delete {it}",
        counted(*.keys, "key"), agree(*.keys, "is", "are"), .examples.join(", "), it = agree(*.keys, "it", "them")
    )]
    NotStaged {
        /// How many.
        keys: u64,
        /// Some of them.
        examples: Vec<String>,
    },
    /// A restore would leave keys of an unfinished migration.
    #[error(
        "an unfinished migration staged keys here, and they would remain without the journal that records them: {why}"
    )]
    StagedWouldStay {
        /// Why the restore would not delete them.
        why: &'static str,
    },
    /// Another program wrote while a backup was partly restored.
    #[error(
        "{} written since the interrupted restore started {} from its backup: resuming would lose {}",
        counted(*.keys, "key"), agree(*.keys, "differs", "differ"), agree(*.keys, "it", "them")
    )]
    ChangedWhileRestoring {
        /// How many.
        keys: u64,
    },
    /// The given backup is not the one that the migration saved.
    #[error(
        "{path} is not the backup that the migration saved ({recorded}): a rollback to it loses the \
         differences"
    )]
    NotSaved {
        /// The given backup.
        path: String,
        /// The backup in the journal.
        recorded: String,
    },
    /// The metadata changed after the migration had finished.
    #[error("the metadata changed after the migration was finished: {what}")]
    WouldLose {
        /// What would be lost.
        what: String,
    },
    /// The journal's revisions are from another etcd.
    #[error("cannot determine what was written since the migration: {why}")]
    OtherEtcd {
        /// The evidence.
        why: String,
    },
    /// Verification found differences.
    #[error("verification found differences: {} missing, {} different, {} extra", .0.missing, .0.different, .0.extra)]
    Verification(Box<VerifyReport>),
    /// The run was asked to end.
    #[error("ended by {}", .0.name())]
    Interrupted(Signal),
    /// The user declined.
    #[error("not confirmed")]
    Declined,
    /// The options contradict each other or the metadata.
    #[error("{0}")]
    Usage(String),
    /// The collection form does not suit the target.
    #[error("the collection form does not suit the target")]
    Form(#[source] FormError),
    /// A worker thread died.
    #[error("a worker ended unexpectedly: {0}")]
    Worker(String),
}

fn list_sessions(sessions: &[SessionReport]) -> String {
    let sessions = sessions.iter();
    listed(sessions.map(|session| format!("{} ({})", session.key, session.ending())))
}

fn error_count(plan: &PlanReport) -> usize {
    let findings = plan.findings.iter();
    findings.filter(|finding| finding.is_error()).count()
}

/// What this run has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WriteState {
    /// Only the lock.
    Nothing,
    /// Keys of the new layout; the old layout is intact.
    Staged,
    /// The commit was sent and etcd did not answer: `status` shows whether it was applied.
    InDoubt,
    /// The migration is committed: 2.2 can start.
    Committed,
    /// A backup was restored; partly if the journal says `restoring`.
    Restoring,
    /// An interrupted restore of an earlier run was finished, and nothing was written after it.
    Restored,
}

/// The class of a failure, which determines the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Nothing was changed.
    Failed,
    /// Wrong options; nothing was changed.
    Usage,
    /// Live sessions or the lock of another run; nothing was changed.
    Refused,
    /// Findings of severity error; nothing was changed.
    Unmigratable,
    /// Stopped after some writes.
    PartWay,
    /// Verification found differences.
    Differs,
    /// Ended by a signal.
    Interrupted(Signal),
}

/// A failed run.
#[derive(Debug, thiserror::Error)]
#[error("{failure}")]
pub struct EngineError {
    /// What went wrong.
    #[source]
    pub failure: Box<EngineErrorKind>,
    /// What this run had written.
    pub written: WriteState,
    /// The last phase in the journal, if known.
    pub phase: Option<Phase>,
    /// The backup of this run or of the journal.
    pub backup: Option<BackupRef>,
    /// The changes of a rollback or restore that was rejected because of a loss, if they were
    /// computed.
    pub diff: Option<Box<RestoreReport>>,
}

fn without_logs(keys: u64) -> String {
    if keys == 0 {
        return String::new();
    }
    format!(
        ". {keys} of the new keys are logs of segments: with --segment-form inline they are not written, but \
         Milvus 2.3 and later lose the logs, and the rows, of every segment that they alter, and 2.4.0 alters \
         all of them within a minute of its first start"
    )
}

impl EngineError {
    /// Creates the error for a failure before the first write.
    #[must_use]
    pub fn before_writing(failure: EngineErrorKind) -> Self {
        Self {
            failure: Box::new(failure),
            written: WriteState::Nothing,
            phase: None,
            backup: None,
            diff: None,
        }
    }

    /// Returns the class of the failure.
    #[must_use]
    pub fn kind(&self) -> ErrorClass {
        match &*self.failure {
            EngineErrorKind::Interrupted(signal) => ErrorClass::Interrupted(*signal),
            EngineErrorKind::Verification(_) => ErrorClass::Differs,
            _ if self.written != WriteState::Nothing => ErrorClass::PartWay,
            EngineErrorKind::PlanChanged { .. } | EngineErrorKind::StagedDiffers(_) => {
                ErrorClass::PartWay
            }
            EngineErrorKind::Sessions(_)
            | EngineErrorKind::ComponentStarted(_)
            | EngineErrorKind::Locked(_)
            | EngineErrorKind::OtherTask { .. }
            | EngineErrorKind::LockLost { .. }
            | EngineErrorKind::JournalChanged { .. }
            | EngineErrorKind::PlanNotApproved { .. }
            | EngineErrorKind::UnknownLoss { .. }
            | EngineErrorKind::StagedFromOther { .. }
            | EngineErrorKind::NotStaged { .. }
            | EngineErrorKind::ChangedWhileRestoring { .. }
            | EngineErrorKind::NotSaved { .. }
            | EngineErrorKind::WouldLose { .. }
            | EngineErrorKind::OtherEtcd { .. }
            | EngineErrorKind::Backup(BackupError::Ephemeral { .. }) => ErrorClass::Refused,
            EngineErrorKind::Backup(error) if error.is_wrong_path() => ErrorClass::Usage,
            EngineErrorKind::Findings(_)
            | EngineErrorKind::NoMetadata { .. }
            | EngineErrorKind::EntryTooLarge { .. } => ErrorClass::Unmigratable,
            EngineErrorKind::Usage(_)
            | EngineErrorKind::Form(_)
            | EngineErrorKind::NoBackup
            | EngineErrorKind::StagedWouldStay { .. }
            | EngineErrorKind::WrongRoot { .. } => ErrorClass::Usage,
            EngineErrorKind::Store { .. }
            | EngineErrorKind::Journal { .. }
            | EngineErrorKind::History { .. }
            | EngineErrorKind::SourceChanged { .. }
            | EngineErrorKind::NoRoom { .. }
            | EngineErrorKind::CommitTooLarge(_)
            | EngineErrorKind::Alarm(_)
            | EngineErrorKind::Backup(_)
            | EngineErrorKind::OtherBackup { .. }
            | EngineErrorKind::Declined
            | EngineErrorKind::Worker(_) => ErrorClass::Failed,
        }
    }
}

/// Wraps a store error with the failed action. A lack of space is always reported as an alarm.
pub(super) fn while_doing(action: impl Into<String>) -> impl FnOnce(StoreError) -> EngineErrorKind {
    let action = action.into();
    move |source| {
        if source.kind == StoreErrorKind::NoSpace {
            EngineErrorKind::Alarm(vec!["NOSPACE".to_owned()])
        } else {
            EngineErrorKind::Store { action, source }
        }
    }
}

/// Describes when an entry was last written.
pub(super) fn written_at(entry: &Entry) -> String {
    let key = printable(&entry.key);
    format!("{key} was written at revision {}", entry.mod_revision)
}

/// Fails if the user declined before the first write, or if a signal arrived.
pub(super) fn agreed(stop: &CancelToken, yes: bool) -> Result<(), EngineErrorKind> {
    match stop.requested() {
        Some(signal) => Err(EngineErrorKind::Interrupted(signal)),
        None if yes => Ok(()),
        None => Err(EngineErrorKind::Declined),
    }
}

/// Describes the differences between etcd and a backup.
fn unlike_backup(extra: u64, different: u64) -> String {
    format!(
        "{} {} not in the backup and {} another value there",
        counted(extra, "key"),
        agree(extra, "is", "are"),
        match different {
            1 => "1 key has".to_owned(),
            keys => format!("{} have", counted(keys, "key")),
        }
    )
}
