//! The dry run: all decisions of a migration, without a write.

use crate::journal::{Journal, Phase};
use meta_store::Store;
use milvus_meta::finding::Finding;
use milvus_meta::keys::MetaRoot;
use milvus_meta::layout::Layout;
use milvus_meta::transform::{Options, PlanReport, Task};

use crate::Environment;
use crate::completeness;
use crate::error::{EngineError, EngineErrorKind};
use crate::fingerprint::Filter;
use crate::journal_store::JournalStore;
use crate::limits::Limits;
use crate::plan_report::{nothing, plan_of, unfinished_message};
use crate::request_limits::Largest;
use crate::source::read_source;

/// Assumed length of the backup's path, which the commit contains and which is not known yet.
const PATH_BYTES: usize = 128;

/// The changes that a migration would make, and the requests that etcd must accept for it.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The changes.
    pub report: PlanReport,
    /// The backup whose interrupted restore must be finished first.
    pub restoring: Option<String>,
    pub(super) largest: Largest,
    /// Bytes of keys and values of the current metadata.
    pub(super) source_bytes: u64,
}

/// Reads, transforms and validates. Errors in the metadata are findings of the plan, not an error.
pub async fn plan<S: Store>(
    store: &S,
    root: &MetaRoot,
    options: &Options,
    limits: &Limits,
    environment: &Environment,
) -> Result<Planned, EngineError> {
    let make = async {
        let etcd = environment.etcd(store, root, limits);
        let journal_store = JournalStore::load(etcd).await?;
        let staged = journal_store.is_before_commit();
        let filter = if staged {
            journal_store.source_filter(root)
        } else {
            Filter::all(root)
        };
        if let Some(phase) = journal_store.phase()
            && (!staged || journal_store.task() != options.task)
            && phase != Phase::Done
        {
            let backup = journal_store.backup().map(|backup| backup.path.clone());
            return Ok(Planned {
                report: unfinished(phase, journal_store.journal(), root, options),
                restoring: backup.filter(|_| phase == Phase::Restoring),
                largest: Largest::default(),
                source_bytes: 0,
            });
        }
        let mut reading = read_source(etcd, &filter, options, None).await?;
        let mut checked = None;
        if options.task == Task::Migration && reading.layout == Layout::V2_2 {
            let (_, findings) = completeness::check(etcd, options, &journal_store).await?;
            if staged || completeness::has_2_1_run(&findings) {
                reading.layout = Layout::Mixed;
            } else {
                checked = Some(findings);
            }
        }
        let mut report = plan_of(&reading, root, journal_store.journal());
        let blocking = completeness::result_findings(etcd, &filter, &reading, options).await?;
        report.findings.extend(checked.unwrap_or(blocking));
        report.findings.sort();
        if staged && report.layout == Layout::V2_1 {
            report.layout = Layout::Staged;
        }
        Ok::<_, EngineErrorKind>(Planned {
            report,
            restoring: None,
            largest: Largest::of(&reading.migration, root, PATH_BYTES),
            source_bytes: reading.fingerprint.bytes,
        })
    };
    make.await.map_err(EngineError::before_writing)
}

/// Returns the report for an unfinished run, which must be finished before anything is planned.
fn unfinished(
    phase: Phase,
    journal: Option<&Journal>,
    root: &MetaRoot,
    options: &Options,
) -> PlanReport {
    let layout = if phase == Phase::Restoring {
        Layout::Mixed
    } else {
        Layout::V2_2
    };
    let finding = Finding::warning(
        "unfinished",
        &root.journal_key(),
        unfinished_message(phase, journal),
    );
    nothing(layout, options, vec![finding])
}
