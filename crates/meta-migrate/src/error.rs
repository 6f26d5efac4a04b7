//! How a run fails: what happened, and what that leaves behind.

use std::path::PathBuf;

use crate::journal::{JournalError, Phase};
use meta_backup::BackupError;
use meta_report::{BackupRef, RestoreReport, SessionReport, VerifyReport};
use meta_store::{StoreError, StoreErrorKind};
use milvus_meta::entry::printable;
use milvus_meta::keys::MetaRoot;
use milvus_meta::plural::{agree, counted};
use milvus_meta::transform::FormError;
use milvus_meta::transform::PlanReport;

use crate::shutdown::{CancelToken, Signal};

mod changed;
mod hint;

pub use changed::NOTHING_CHANGED;
pub use hint::{Hint, NextCommand, RunKind};

/// Meta roots that hold Milvus metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instances {
    /// The meta roots, printable, in the order of their depth.
    pub roots: Vec<String>,
    /// Whether all of etcd was searched.
    pub is_complete: bool,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum EngineErrorKind {
    /// A request to etcd failed for good.
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
    Intruder(Vec<SessionReport>),
    /// Somebody else holds the lock.
    #[error("another migration holds the lock {} ({}, {})", .0.key, .0.address, .0.ending())]
    Locked(SessionReport),
    /// Another task is unfinished.
    #[error(
        "a {recorded} is unfinished ({phase}): run meta-migration {command} to resume it, or meta-migration rollback"
    )]
    OtherTask {
        /// What is unfinished.
        recorded: &'static str,
        /// The command that resumes it.
        command: &'static str,
        /// How far it has come.
        phase: &'static str,
    },
    /// Our lock is gone.
    #[error("the lock {key} was lost during the run")]
    LockLost {
        /// The lock's key.
        key: String,
    },
    /// Somebody else wrote the journal.
    #[error("the journal {key} was changed by a concurrent writer")]
    JournalChanged {
        /// The journal's key.
        key: String,
    },
    /// The journal cannot be acted on.
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
        /// Where it was looked for.
        root: MetaRoot,
        /// What else is in etcd; `None` where the user may not read it.
        instances: Option<Instances>,
    },
    /// The source gives another plan than the one that was started.
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
        /// What the plan does, and what was written last.
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
    /// What was staged is not what was planned.
    #[error("the staged keys differ from the plan")]
    StagedDiffers(Box<VerifyReport>),
    /// etcd has too little room left.
    #[error(
        "not enough free space in etcd: about {needed} bytes are needed (for a migration including its rollback); \
            {in_use} of {quota} bytes are in use, the database file has {db_size}{}",
        without_logs(*.log_keys)
    )]
    NoRoom {
        /// Estimated bytes that the command adds, and after a migration its rollback.
        needed: u64,
        /// Bytes in use on the fullest member.
        in_use: u64,
        /// Bytes of the largest database file; etcd refuses to write when it reaches the quota.
        db_size: u64,
        /// The quota in bytes.
        quota: u64,
        /// How many of the keys are logs of segments, which can stay in the segment records.
        log_keys: u64,
    },
    /// An alarm is raised.
    #[error("etcd has raised the alarm {}", .0.join(", "))]
    Alarm(Vec<String>),
    /// One entry is larger than the server takes.
    #[error("the entry {} of {bytes} bytes is larger than etcd's request limit", printable(.key))]
    EntryTooLarge {
        /// The key.
        key: Vec<u8>,
        /// Bytes of its key and value.
        bytes: usize,
    },
    /// The commit does not fit into one transaction.
    #[error(
        "etcd rejects the commit as one transaction: it needs {operations} operations (--max-txn-ops of the server)"
    )]
    CommitTooLarge {
        /// Operations or comparisons that it needs, whichever are more.
        operations: usize,
    },
    /// The backup could not be written or read.
    #[error(transparent)]
    Backup(BackupError),
    /// No backup is known.
    #[error("no backup to roll back to is known")]
    NoBackup,
    /// The backup belongs to another meta root.
    #[error("the backup {} is of {found}, not of {wanted}", .path.display())]
    WrongRoot {
        /// The file.
        path: PathBuf,
        /// The meta root in the backup.
        found: String,
        /// The meta root asked for.
        wanted: String,
    },
    /// The file where the migration's backup should be holds something else.
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
    /// It is unknown who wrote what the backup does not hold.
    #[error(
        "{why}, so it is unknown what was written since the backup: {}, such as {}. The rollback would lose them",
        unlike_backup(*.extra, *.different), .examples.join(", ")
    )]
    UnknownLoss {
        /// Why it is unknown.
        why: &'static str,
        /// Keys that the backup does not hold.
        extra: u64,
        /// Keys that have another value in the backup.
        different: u64,
        /// Some of both.
        examples: Vec<String>,
    },
    /// The 2.1 metadata gives another plan than the one whose keys are staged.
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
    /// The new families hold keys that the migration did not stage.
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
    /// A restore would leave behind what an unfinished migration staged.
    #[error(
        "an unfinished migration staged keys here, and they would remain without the journal that records them: {why}"
    )]
    StagedWouldStay {
        /// What keeps them.
        why: &'static str,
    },
    /// Another program wrote while a backup was only partly restored.
    #[error(
        "{} written since the interrupted restore started {} from its backup: resuming would lose {}",
        counted(*.keys, "key"), agree(*.keys, "differs", "differ"), agree(*.keys, "it", "them")
    )]
    ChangedWhileRestoring {
        /// How many.
        keys: u64,
    },
    /// The metadata changed after the migration was done.
    #[error("the metadata changed after the migration was finished: {what}")]
    WouldLose {
        /// What would be lost.
        what: String,
    },
    /// The journal's revisions are those of another etcd.
    #[error("cannot determine what was written since the migration: {why}")]
    OtherEtcd {
        /// What shows it.
        why: String,
    },
    /// Reading back found differences.
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
    const SHOWN: usize = 5;
    let mut text = sessions
        .iter()
        .take(SHOWN)
        .map(|session| format!("{} ({})", session.key, session.ending()))
        .collect::<Vec<_>>()
        .join(", ");
    if sessions.len() > SHOWN {
        text.push_str(&format!(" and {} more", sessions.len() - SHOWN));
    }
    text
}

fn error_count(plan: &PlanReport) -> usize {
    plan.findings
        .iter()
        .filter(|finding| finding.severity == milvus_meta::finding::Severity::Error)
        .count()
}

/// What this run has written so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum WriteState {
    /// Nothing but the lock.
    Nothing,
    /// Keys of the new layout beside the old one, which is intact.
    Staged,
    /// The commit was sent and etcd never answered: `status` tells whether it was committed.
    InDoubt,
    /// The migration is committed: 2.2 can start.
    Committed,
    /// A backup was restored; completely, unless the journal still says `restoring`.
    Restoring,
    /// A restore that an earlier run began was finished: what its backup holds is intact, and nothing
    /// was written after it.
    Restored,
}

/// What a caller does with a failure: the exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Nothing was changed.
    Failed,
    /// Wrong options; nothing was changed.
    Usage,
    /// Live sessions or a held lock; nothing was changed.
    Refused,
    /// Findings of severity error; nothing was changed.
    Unmigratable,
    /// Stopped part-way.
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
    /// What this run wrote before.
    pub written: WriteState,
    /// What the journal said last, where it is known.
    pub phase: Option<Phase>,
    /// The backup that this run or the journal knows of.
    pub backup: Option<BackupRef>,
    /// What a rollback or restore would do that is refused because of a loss, where that was found out.
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
    /// A failure before anything was written.
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

    /// What a caller does with it.
    #[must_use]
    pub fn kind(&self) -> ErrorClass {
        match (&*self.failure, self.written) {
            (EngineErrorKind::Interrupted(signal), _) => ErrorClass::Interrupted(*signal),
            (EngineErrorKind::Verification(_), _) => ErrorClass::Differs,
            (
                _,
                WriteState::Staged
                | WriteState::InDoubt
                | WriteState::Committed
                | WriteState::Restoring
                | WriteState::Restored,
            ) => ErrorClass::PartWay,
            (
                EngineErrorKind::PlanChanged { .. } | EngineErrorKind::StagedDiffers(_),
                WriteState::Nothing,
            ) => ErrorClass::PartWay,
            (
                EngineErrorKind::Sessions(_)
                | EngineErrorKind::Intruder(_)
                | EngineErrorKind::Locked(_)
                | EngineErrorKind::OtherTask { .. }
                | EngineErrorKind::LockLost { .. }
                | EngineErrorKind::JournalChanged { .. }
                | EngineErrorKind::PlanNotApproved { .. }
                | EngineErrorKind::UnknownLoss { .. }
                | EngineErrorKind::StagedFromOther { .. }
                | EngineErrorKind::NotStaged { .. }
                | EngineErrorKind::ChangedWhileRestoring { .. }
                | EngineErrorKind::WouldLose { .. }
                | EngineErrorKind::OtherEtcd { .. },
                WriteState::Nothing,
            ) => ErrorClass::Refused,
            (EngineErrorKind::Backup(BackupError::Ephemeral { .. }), WriteState::Nothing) => {
                ErrorClass::Refused
            }
            (EngineErrorKind::Backup(error), WriteState::Nothing) if error.is_wrong_path() => {
                ErrorClass::Usage
            }
            (
                EngineErrorKind::Findings(_)
                | EngineErrorKind::NoMetadata { .. }
                | EngineErrorKind::EntryTooLarge { .. },
                WriteState::Nothing,
            ) => ErrorClass::Unmigratable,
            (
                EngineErrorKind::Usage(_)
                | EngineErrorKind::Form(_)
                | EngineErrorKind::NoBackup
                | EngineErrorKind::StagedWouldStay { .. }
                | EngineErrorKind::WrongRoot { .. },
                WriteState::Nothing,
            ) => ErrorClass::Usage,
            (
                EngineErrorKind::Store { .. }
                | EngineErrorKind::Journal { .. }
                | EngineErrorKind::History { .. }
                | EngineErrorKind::SourceChanged { .. }
                | EngineErrorKind::NoRoom { .. }
                | EngineErrorKind::CommitTooLarge { .. }
                | EngineErrorKind::Alarm(_)
                | EngineErrorKind::Backup(_)
                | EngineErrorKind::OtherBackup { .. }
                | EngineErrorKind::Declined
                | EngineErrorKind::Worker(_),
                WriteState::Nothing,
            ) => ErrorClass::Failed,
        }
    }
}

/// Wraps a store error with what was being done. That there is no space is an alarm, whatever was.
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

/// Fails where the user declined before the first write. A signal meanwhile is an answer, too.
pub(super) fn agreed(stop: &CancelToken, yes: bool) -> Result<(), EngineErrorKind> {
    match stop.requested() {
        Some(signal) => Err(EngineErrorKind::Interrupted(signal)),
        None if yes => Ok(()),
        None => Err(EngineErrorKind::Declined),
    }
}

/// What etcd holds that a backup does not.
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
