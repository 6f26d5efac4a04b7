//! Detects the layout in etcd, and the findings about layouts from which no migration can start.

use bytes::Bytes;

use crate::journal::Journal;
use meta_store::Store;
use milvus_meta::finding::Finding;
use milvus_meta::keys::MetaRoot;
use milvus_meta::layout::{Layout, LayoutDetector};

use crate::context::Etcd;
use crate::error::EngineErrorKind;
use crate::fingerprint::Filter;
use crate::throughput::pages::Pages;

/// Reads everything below the meta root, except these keys, and detects its layout.
pub(super) async fn detect<S: Store>(
    etcd: Etcd<'_, S>,
    except: &[Bytes],
) -> Result<Layout, EngineErrorKind> {
    let filter = Filter::all(etcd.root);
    let mut detector = LayoutDetector::new(etcd.root.clone());
    let revision = etcd.newest_revision().await?;
    let mut pages = Pages::begin(etcd, etcd.root.range(), revision).await?;
    while let Some(page) = pages.next().await? {
        page.iter()
            .filter(|entry| filter.keeps(entry) && !except.contains(&entry.key))
            .for_each(|entry| detector.push(entry));
    }
    Ok(detector.layout())
}

/// Returns the finding about an instance without collections.
pub(super) fn empty_finding(root: &MetaRoot) -> Finding {
    Finding::warning(
        "no-metadata",
        root.meta_root().as_bytes(),
        format!(
            "there are no collections under {root}. If Milvus has collections, its root path is another one: \
             check --root-path and --meta-sub-path",
        ),
    )
}

/// Returns the finding that a migration finished and its metadata has been deleted since.
pub(super) fn gone_finding(root: &MetaRoot) -> Finding {
    Finding::error(
        "metadata-gone",
        root.meta_root().as_bytes(),
        "the journal records a finished migration, but no metadata is left: something deleted it. Restore a \
         backup; if the instance was removed on purpose, delete the journal too",
    )
}

/// Returns the finding about keys of both layouts where only 2.2 is expected. `done` is the journal
/// of a finished migration.
pub(super) fn mixed_finding(evidence: &[String], done: Option<&Journal>) -> Finding {
    let (code, message) = mixed(evidence, done);
    let next = "Stop Milvus, then run meta-migration migrate: it carries over what is in the 2.1 layout and keeps what \
                is in the 2.2 layout, or names what contradicts";
    Finding::error(code, b"", format!("{message}. {next}"))
}

/// Returns the finding about keys of both layouts, which a migration merges.
pub(super) fn carried_finding(evidence: &[String], done: Option<&Journal>) -> Finding {
    let (code, message) = mixed(evidence, done);
    let next = match done {
        Some(_) => "Check after the migration that Milvus finds the data that was inserted since",
        None => {
            "Within minutes of its start, Milvus 2.2 removes index files that it does not know: where a collection \
             cannot be loaded after the migration, drop its index and create it again"
        }
    };
    let message = format!(
        "{message}. What is in the 2.1 layout is carried over, what is in the 2.2 layout is kept. {next}"
    );
    Finding::warning(code, b"", message)
}

fn mixed(evidence: &[String], done: Option<&Journal>) -> (&'static str, String) {
    let evidence = evidence.join("; ");
    match done {
        Some(journal) => (
            "2.1-ran",
            format!(
                "{}, and metadata of 2.1 was written since, so Milvus 2.1 ran on the migrated metadata. Found: \
                 {evidence}",
                recorded(journal)
            ),
        ),
        None => (
            "mixed-layout",
            format!(
                "there are keys of both layouts, and no migration is recorded: Milvus 2.2 ran on metadata that was \
                 not migrated and wrote to it, or another tool was interrupted. Found: {evidence}"
            ),
        ),
    }
}

/// Returns the finding about a 2.1 layout where 2.2 is expected. `done` is the journal of a
/// finished migration.
pub(super) fn not_migrated(
    detector: &LayoutDetector,
    root: &MetaRoot,
    done: Option<&Journal>,
) -> Finding {
    let evidence = detector.evidence().join("; ");
    let journal = done.map_or(String::new(), |journal| {
        format!(
            " {}: something else restored the metadata of 2.1 since.",
            recorded(journal)
        )
    });
    let message = format!(
        "the layout is {}, not 2.2 (found: {evidence}).{journal} Run meta-migration migrate",
        Layout::V2_1.name()
    );
    Finding::error("not-migrated", root.meta_root().as_bytes(), message)
}

/// Describes a finished migration.
fn recorded(journal: &Journal) -> String {
    let target = journal.target_version.as_deref().unwrap_or("2.2");
    format!(
        "a finished migration for {target} is recorded ({} form, {})",
        journal.collection_form, journal.updated_at
    )
}

/// Returns the finding that 2.1 metadata must be migrated, not repaired.
pub(super) fn to_be_migrated(root: &MetaRoot) -> Finding {
    Finding::error(
        "not-migrated",
        root.meta_root().as_bytes(),
        "the layout is 2.1, and repair works on the 2.2 layout. Run meta-migration migrate",
    )
}
