//! Checks whether the metadata in etcd is complete 2.2 metadata. Every "migrated", "verified" and
//! "ready" depends on this check.

use crate::journal::{Journal, Phase};
use meta_store::Store;
use milvus_meta::entry::Entry;
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::keys::MetaRoot;
use milvus_meta::layout::{Layout, LayoutDetector};
use milvus_meta::release::Release;
use milvus_meta::transform::{CollectionForm, Options, Task};
use milvus_meta::verify::{Checker, Context, INTERRUPTED};

use crate::context::Etcd;
use crate::error::EngineErrorKind;
use crate::fingerprint::Filter;
use crate::journal_store::{JournalStore, task_of};
use crate::layout::{empty_finding, gone_finding, mixed_finding, not_migrated, to_be_migrated};
use crate::source::Reading;
use crate::throughput::pages::Pages;

/// The layout of the keys below the meta root, and the findings about them.
pub(super) struct Survey {
    pub(super) detector: LayoutDetector,
    /// Findings about it as 2.2 metadata, most severe first.
    pub(super) checked: Vec<Finding>,
}

impl Survey {
    /// Returns the findings for any layout. Only 2.2 metadata is checked in detail: in other
    /// layouts every record would be a finding.
    pub(super) fn findings(self, root: &MetaRoot, journal: Option<&Journal>) -> Vec<Finding> {
        let done = journal.filter(|journal| journal.phase == Phase::Done);
        match self.detector.layout() {
            Layout::V2_1 => vec![not_migrated(&self.detector, root, done)],
            Layout::Mixed => vec![mixed_finding(&self.detector.evidence(), done)],
            Layout::Empty if done.is_some_and(|journal| journal.counts.put > 0) => {
                vec![gone_finding(root)]
            }
            Layout::Empty => {
                let mut findings = self.checked;
                findings.push(empty_finding(root));
                findings.sort();
                findings
            }
            Layout::V2_2 | Layout::Staged => self.checked,
        }
    }
}

/// Reads everything below the meta root and checks it.
pub(super) async fn survey<S: Store>(
    etcd: Etcd<'_, S>,
    context: Context,
) -> Result<Survey, EngineErrorKind> {
    let filter = Filter::all(etcd.root);
    let keeps_history = context.recorded == Some(CollectionForm::Embedded);
    let mut check = EntryCheck::new(etcd.root, context);
    let revision = etcd.newest_revision().await?;
    let range = etcd.root.range();
    let mut pages = Pages::begin(etcd, range, revision).await?;
    etcd.observer.phase_started("check", Some(pages.keys()));
    while let Some(page) = pages.next().await? {
        let kept = page.iter().filter(|entry| filter.keeps(entry));
        kept.for_each(|entry| check.push(entry));
        etcd.observer.phase_finished();
    }
    let mut survey = check.finish();
    if keeps_history {
        accept_history(&mut survey.checked);
    }
    Ok(survey)
}

/// Returns the errors that would remain after a repair, or after merging both layouts.
pub(super) async fn result_findings<S: Store>(
    etcd: Etcd<'_, S>,
    filter: &Filter,
    reading: &Reading,
    options: &Options,
) -> Result<Vec<Finding>, EngineErrorKind> {
    match (options.task, reading.layout) {
        (Task::Repair, Layout::V2_1) => return Ok(vec![to_be_migrated(etcd.root)]),
        (Task::Repair, Layout::V2_2 | Layout::Staged | Layout::Mixed)
        | (Task::Migration, Layout::Mixed) => {}
        (Task::Repair, Layout::Empty) | (Task::Migration, _) => {
            return Ok(Vec::new());
        }
    }
    let context = context_of(options, None);
    let checker = || Checker::within(etcd.root.clone(), context.clone());
    let (mut before, mut after) = (checker(), checker());
    let overlay = reading.migration.overlay();
    let revision = reading.read_revision.revision;
    let mut pages = Pages::begin(etcd, etcd.root.range(), revision).await?;
    while let Some(page) = pages.next().await? {
        for entry in page.into_iter().filter(|entry| filter.keeps(entry)) {
            before.push(&entry);
            if let Some(entry) = overlay.apply(entry) {
                after.push(&entry);
            }
        }
    }
    for put in reading.migration.new_keys() {
        after.push(&Entry::new(put.key, put.value));
    }
    let mut findings = after.finish();
    if options.form == CollectionForm::Embedded {
        accept_history(&mut findings);
    }
    if options.task == Task::Repair {
        // The traces of an interrupted run of the official tool are only visible before the repair
        // rewrites the collections.
        let undone = before.finish().into_iter();
        findings.extend(undone.filter(|finding| INTERRUPTED.contains(&finding.code.as_str())));
    }
    findings.retain(Finding::is_error);
    findings.sort();
    findings.dedup();
    Ok(findings)
}

/// Reduces missing snapshots to warnings: a migration to the embedded form keeps the history of 2.1
/// unchanged, and the plan reported them.
fn accept_history(findings: &mut [Finding]) {
    let missing = findings
        .iter_mut()
        .filter(|it| it.code == "snapshot-missing");
    missing.for_each(|finding| finding.severity = Severity::Warning);
    findings.sort();
}

/// Returns whether 2.1 wrote metadata after a migration, recorded or not. Another migration carries
/// it over.
pub(super) fn has_2_1_run(findings: &[Finding]) -> bool {
    let codes = ["2.1-ran", "legacy-alias"];
    findings
        .iter()
        .any(|finding| codes.contains(&finding.code.as_str()))
}

/// Checks entries as 2.2 metadata and detects their layout.
pub(super) struct EntryCheck {
    checker: Checker,
    detector: LayoutDetector,
}

impl EntryCheck {
    pub(super) fn new(root: &MetaRoot, context: Context) -> Self {
        Self {
            checker: Checker::within(root.clone(), context),
            detector: LayoutDetector::new(root.clone()),
        }
    }

    pub(super) fn push(&mut self, entry: &Entry) {
        self.checker.push(entry);
        self.detector.push(entry);
    }

    pub(super) fn finish(self) -> Survey {
        Survey {
            detector: self.detector,
            checked: self.checker.finish(),
        }
    }
}

/// Returns the context for a check of metadata that is migrated with these options.
pub(super) fn context_of(options: &Options, journal: Option<&Journal>) -> Context {
    Context {
        accepts_embedded: options.form == CollectionForm::Embedded,
        ..context(Some(&options.target), journal)
    }
}

/// Returns the context for a check for a release; without one, the release is taken from the
/// journal.
pub(super) fn context(target: Option<&Release>, journal: Option<&Journal>) -> Context {
    let planned = journal.and_then(|journal| journal.target_version.as_ref());
    let planned = planned.and_then(|target| target.parse().ok());
    let made = journal.filter(|journal| journal.phase.is_committed());
    Context {
        target: target.cloned().or(planned).filter(Release::has_2_2_layout),
        accepts_embedded: false,
        recorded: made
            .filter(|journal| task_of(journal) == Task::Migration)
            .and_then(|journal| journal.collection_form.parse().ok()),
        is_cleaned_up: journal.is_some_and(|journal| journal.phase == Phase::Done),
    }
}

/// Checks the metadata for a migration; returns the layout and the findings.
pub(super) async fn check<S: Store>(
    etcd: Etcd<'_, S>,
    options: &Options,
    journal_store: &JournalStore,
) -> Result<(Layout, Vec<Finding>), EngineErrorKind> {
    let context = context_of(options, journal_store.journal());
    let survey = survey(etcd, context).await?;
    let layout = survey.detector.layout();
    Ok((layout, survey.findings(etcd.root, journal_store.journal())))
}

/// Returns whether a finding is about the form for a release, not about leftovers of 2.1.
pub(super) fn is_form(finding: &Finding) -> bool {
    matches!(
        finding.code.as_str(),
        "embedded-form" | "database-form" | "split-form" | "2.1-ran"
    )
}
