//! Options of the engine's commands, with defaults that the tests override.

use std::path::PathBuf;

use meta_backup::WriteOptions;
use meta_migrate::{
    BackupTarget, Limits, MigrateOptions, RestoreCommand, RestoreOptions, VerifyOptions, Waits,
};
use milvus_meta::keys::MetaRoot;
use milvus_meta::transform::{CollectionForm, OnBrokenRecord, Options, SegmentForm, Task};

use super::metadata::target_of;

pub(crate) fn backup_target(path: PathBuf) -> BackupTarget {
    BackupTarget {
        path,
        options: WriteOptions::default(),
        source_version: None,
        allow_ephemeral: true,
        stream: None,
    }
}

/// A migration to the oldest release that reads the form.
pub(crate) fn transform(form: CollectionForm) -> Options {
    Options {
        task: Task::Migration,
        form,
        segment_form: SegmentForm::Auto,
        on_broken_record: OnBrokenRecord::Fail,
        target: target_of(form).parse().unwrap(),
        schemas: None,
    }
}

pub(crate) fn migrate(root: MetaRoot, form: CollectionForm, backup: PathBuf) -> MigrateOptions {
    MigrateOptions {
        transform: transform(form),
        root,
        source_version: None,
        approved_plan: None,
        backup: Some(backup_target(backup)),
        waits: Waits::default(),
        limits: Limits::default(),
    }
}

pub(crate) fn rollback(root: MetaRoot) -> RestoreOptions {
    RestoreOptions {
        root,
        command: RestoreCommand::Rollback,
        expects_2_1: false,
        backup: None,
        moved_from: None,
        families: Vec::new(),
        keep_extra: false,
        accept_loss: false,
        dry_run: false,
        waits: Waits::default(),
        limits: Limits::default(),
    }
}

pub(crate) fn verify(root: MetaRoot) -> VerifyOptions {
    VerifyOptions {
        root,
        backup: None,
        options: None,
        target: None,
        limits: Limits::default(),
    }
}
