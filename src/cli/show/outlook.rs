//! The effect of the next command on one collection: `migrate` for 2.1 metadata, `verify` for 2.2 metadata.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::context::CommandContext;
use super::super::options::TransformOptions;
use super::super::output::failure::Failure;
use super::super::output::units::{count, counted};
use super::super::target::Target;
use milvus_meta::catalog::{Catalog, Collection, Form, Owner};
use milvus_meta::entry::Entry;
use milvus_meta::finding::Finding;
use milvus_meta::keys::{Family, MetaRoot};
use milvus_meta::layout::Layout;
use milvus_meta::model::CollectionId;
use milvus_meta::release::Release;
use milvus_meta::transform::{CollectionForm, FormChoice, Migration, Options, Source, Task};
use milvus_meta::verify::{Checker, Context};

/// The next command for a collection and its result.
#[derive(Debug, Serialize)]
pub(super) struct Outlook {
    /// `migrate`, `verify` or `none`.
    pub(super) command: &'static str,
    /// The release that reads the result.
    pub(super) target: String,
    /// The effect on each kind of object.
    pub(super) changes: Vec<Change>,
    /// Findings about the collection.
    pub(super) findings: Vec<Finding>,
}

/// The effect on one kind of object.
#[derive(Debug, Serialize)]
pub(super) struct Change {
    pub(super) object: &'static str,
    pub(super) becomes: String,
}

/// Reads the entries that determine an [`Outlook`].
pub(super) struct OutlookReader {
    root: MetaRoot,
    target: Release,
    /// `None` if the target reads the 2.1 layout.
    source: Option<Source>,
    checker: Checker,
}

impl OutlookReader {
    /// Creates a reader for the target release of the configuration, by default the newest one.
    pub(super) fn new(context: &CommandContext, root: &MetaRoot) -> Result<Self, Failure> {
        let options = match &context.config.target_version {
            Some(_) => Target::of(context, &TransformOptions::default())?,
            None => Target::Migrate(newest()?),
        };
        let target = context.config.target_version.clone();
        let target = target.unwrap_or(Release::LATEST_2_2);
        let source = match options {
            Target::Migrate(options) => Some(Source::new(root.clone(), options)),
            Target::NothingToDo => None,
        };
        let reader = Context {
            target: Some(target.clone()),
            ..Context::default()
        };
        Ok(Self {
            checker: Checker::within(root.clone(), reader),
            root: root.clone(),
            target,
            source,
        })
    }

    pub(super) fn push(&mut self, entry: &Entry) {
        if let Some(source) = &mut self.source {
            source.push(entry);
        }
        self.checker.push(entry);
    }

    pub(super) fn finish(self, catalog: &Catalog, id: CollectionId) -> Outlook {
        let mut outlook = Outlook {
            command: "none",
            target: self.target.to_string(),
            changes: Vec::new(),
            findings: Vec::new(),
        };
        let findings = match (catalog.layout, self.source) {
            (Layout::V2_1 | Layout::Staged | Layout::Mixed, Some(source)) => {
                let migration = source.finish();
                outlook.command = "migrate";
                outlook.changes = changes(&migration, &self.root, catalog, id);
                migration.findings.clone()
            }
            (Layout::V2_2, _) => {
                outlook.command = "verify";
                self.checker.finish()
            }
            (Layout::V2_1 | Layout::Staged | Layout::Mixed | Layout::Empty, _) => Vec::new(),
        };
        let findings = findings.into_iter();
        let mut all = catalog.collections.iter();
        let form = all.find(|collection| collection.id == id).map(|it| it.form);
        let is_about =
            |finding: &Finding| is_about(finding, &self.root, id) || is_of_form(finding, form);
        outlook.findings = findings.filter(is_about).collect();
        outlook
    }
}

fn newest() -> Result<Options, Failure> {
    let form = FormChoice::Auto.resolve(&Release::LATEST_2_2);
    let form = form.map_err(|error| Failure::usage(error.to_string()))?;
    Ok(Options {
        task: Task::Migration,
        form,
        segment_form: Default::default(),
        on_broken_record: Default::default(),
        schemas: None,
        target: Release::LATEST_2_2,
    })
}

/// Whether the key or the message of a finding names the collection.
fn is_about(finding: &Finding, root: &MetaRoot, id: CollectionId) -> bool {
    let key = finding.key.as_bytes();
    let owner = root.strip(key).map(|relative| Owner::of(relative, b""));
    owner.is_some_and(|owner| owner.collection == Some(id))
        || finding.message.contains(&id.to_string())
}

/// Whether a finding is about all collections of a form, of which it names only the first.
fn is_of_form(finding: &Finding, form: Option<Form>) -> bool {
    match form {
        Some(Form::Embedded) => finding.code == "embedded-form",
        Some(Form::Database) => finding.code == "database-form",
        Some(Form::Split) | None => false,
    }
}

/// Counts the keys that a migration puts for a collection, by family.
fn staged_keys(migration: &Migration, root: &MetaRoot, id: CollectionId) -> BTreeMap<Family, u64> {
    let mut put = BTreeMap::new();
    for staged in migration.staged() {
        let relative = root.strip(&staged.key).unwrap_or_default();
        if Owner::of(relative, &staged.value).collection == Some(id) {
            *put.entry(Family::of(relative)).or_default() += 1;
        }
    }
    put
}

/// Returns the effect of the migration on each kind of object of a collection.
fn changes(
    migration: &Migration,
    root: &MetaRoot,
    catalog: &Catalog,
    id: CollectionId,
) -> Vec<Change> {
    let put = staged_keys(migration, root, id);
    let of = |families: &[Family]| -> u64 { families.iter().filter_map(|it| put.get(it)).sum() };
    let collection = catalog.collection(id);
    let found = |number: fn(&Collection) -> u64| collection.map_or(0, number);
    let carried = |families: &[Family], all| carried_over(of(families), all);
    let indexes = catalog.indexes.iter().filter(|it| it.collection_id == id);
    let builds: u64 = indexes.flat_map(|it| it.builds.values()).sum();
    let logs = of(&[Family::Binlog, Family::Deltalog, Family::Statslog]);
    let aliases = [Family::Alias, Family::DatabaseAlias];
    let loads = of(&[Family::CollectionLoadInfo, Family::PartitionLoadInfo]);
    let rows = [
        (
            "record",
            record(migration.form, of(&[Family::DatabaseCollection]), id),
        ),
        (
            "fields",
            own_keys(of(&[Family::Field]), found(|it| it.fields.len() as u64)),
        ),
        (
            "partitions",
            own_keys(of(&[Family::Partition]), found(|it| it.partitions)),
        ),
        (
            "indexes",
            carried(&[Family::FieldIndex], found(|it| it.indexes)),
        ),
        ("segment indexes", carried(&[Family::SegmentIndex], builds)),
        (
            "aliases",
            carried(&aliases, found(|it| it.aliases.len() as u64)),
        ),
        ("load state", load(catalog, id, loads)),
        ("segments", segments(found(|it| it.segments), logs)),
    ];
    rows.map(|(object, becomes)| Change { object, becomes })
        .into()
}

fn carried_over(kept: u64, all: u64) -> String {
    match (kept, all) {
        (0, 0) => "none".to_owned(),
        (kept, all) if kept == all => format!("{} carried over", count(kept)),
        (kept, all) => format!(
            "{} of {} carried over; see the findings",
            count(kept),
            count(all)
        ),
    }
}

fn record(form: CollectionForm, moved: u64, id: CollectionId) -> String {
    match form {
        CollectionForm::Database if moved > 0 => {
            format!("moved to root-coord/database/collection-info/1/{id}")
        }
        CollectionForm::Database => "not carried over; see the findings".to_owned(),
        CollectionForm::Split => "rewritten without its fields and partitions".to_owned(),
        CollectionForm::Embedded => "rewritten without its list of indexes".to_owned(),
    }
}

fn own_keys(written: u64, all: u64) -> String {
    match (written, all) {
        (0, all) => format!("{} in the record, as before", count(all)),
        (written, all) if written == all => format!("{}, each under a separate key", count(all)),
        (written, all) => format!(
            "{} of {} under separate keys; see the findings",
            count(written),
            count(all)
        ),
    }
}

fn load(catalog: &Catalog, id: CollectionId, written: u64) -> String {
    let is_loaded = catalog.collection(id).is_some_and(|it| it.loaded.is_some());
    match (is_loaded, written) {
        (false, 0) => "not loaded, as before".to_owned(),
        (true, 0) => "lost: load the collection again; see the findings".to_owned(),
        (_, _) => "stays loaded".to_owned(),
    }
}

fn segments(live: u64, logs: u64) -> String {
    let records = format!("{} under the same keys", counted(live, "record"));
    match logs {
        0 => records,
        logs => format!(
            "{records}; {} under separate keys",
            counted(logs, "log record")
        ),
    }
}
