//! Plan reports of the use cases.

use crate::journal::{Journal, Phase};
use milvus_meta::finding::Finding;
use milvus_meta::keys::MetaRoot;
use milvus_meta::layout::Layout;
use milvus_meta::transform::{Options, PlanReport, Task};

use crate::journal_store::task_of;
use crate::layout;
use crate::source::Reading;

/// Returns the plan of a reading; a mixed layout is a finding.
pub(super) fn plan_of(reading: &Reading, root: &MetaRoot, journal: Option<&Journal>) -> PlanReport {
    let mut plan = reading
        .migration
        .plan(reading.layout, reading.read_revision.revision);
    let finding = match reading.layout {
        Layout::Mixed => {
            let done = journal.filter(|journal| journal.phase == Phase::Done);
            Some(match reading.migration.task {
                Task::Migration => layout::carried_finding(&reading.evidence, done),
                Task::Repair => layout::mixed_finding(&reading.evidence, done),
            })
        }
        Layout::Empty if !reading.migration.has_errors() => Some(layout::empty_finding(root)),
        Layout::V2_1 | Layout::V2_2 | Layout::Staged | Layout::Empty => None,
    };
    plan.findings.extend(finding);
    plan.findings.sort();
    plan
}

/// Returns a plan without changes.
pub(super) fn nothing(layout: Layout, options: &Options, findings: Vec<Finding>) -> PlanReport {
    PlanReport {
        layout,
        findings,
        collection_form: options.form.to_string(),
        segment_form: options.segment_form.to_string(),
        ..PlanReport::default()
    }
}

/// Describes an unfinished run and how to finish it.
pub(super) fn unfinished_message(phase: Phase, journal: Option<&Journal>) -> String {
    let backup = journal.and_then(|journal| journal.backup.as_ref());
    let file = backup.map_or("FILE", |backup| backup.path.as_str());
    if journal.is_some_and(|journal| task_of(journal) == Task::Repair) && phase != Phase::Restoring
    {
        let state = match phase {
            Phase::Staging | Phase::Staged => "no key that was there is changed yet",
            Phase::Committed | Phase::Tidying | Phase::Done | Phase::Restoring => {
                "do not start Milvus until it is finished"
            }
        };
        return format!(
            "a repair is unfinished ({}): {state}. Run meta-migration repair to resume it, or meta-migration \
             rollback to return to the metadata before it",
            phase.name()
        );
    }
    match phase {
        Phase::Staging | Phase::Staged => format!(
            "a migration is unfinished ({}): 2.1 metadata is intact, 2.2 keys are partly written. Run \
             meta-migration migrate to resume it, or meta-migration rollback to remove the 2.2 keys",
            phase.name()
        ),
        Phase::Committed | Phase::Tidying => {
            let rollback = match backup {
                Some(_) => format!("meta-migration rollback --backup-file {file} to return to 2.1"),
                None => "it was made without a backup and cannot be rolled back".to_owned(),
            };
            format!(
                "a migration is committed and not finished ({}). Run meta-migration migrate to finish it, or \
                 {rollback}",
                phase.name()
            )
        }
        Phase::Restoring => format!(
            "a restore of {file} was interrupted: do not start Milvus. Run meta-migration restore --backup-file \
             {file} to finish it; migrate finishes it, too, before it starts"
        ),
        Phase::Done => String::new(),
    }
}
