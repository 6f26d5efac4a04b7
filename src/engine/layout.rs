//! Which layout is in etcd, seen from the keys.

use crate::finding::Finding;
use crate::keys::MetaRoot;
use crate::layout::LayoutDetector;
use crate::store::Store;

use super::Environment;
use super::error::Failure;
use super::fingerprint::Filter;
use super::limits::Limits;
use super::pages::Pages;
use super::source::newest_revision;

/// Reads the whole meta root and shows it to a detector.
pub(super) async fn detect<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
    environment: &Environment,
) -> Result<LayoutDetector, Failure> {
    let filter = Filter::all(root);
    let mut detector = LayoutDetector::new(root.clone());
    let revision = newest_revision(store, root, limits).await?;
    let mut pages = Pages::begin(
        store,
        environment.around(root, limits),
        root.range(),
        revision,
    )
    .await?;
    while let Some(page) = pages.next().await? {
        page.iter()
            .filter(|entry| filter.keeps(entry))
            .for_each(|entry| detector.push(entry));
    }
    Ok(detector)
}

/// What a person is told when nothing is there: most often the root path is a wrong one.
pub(super) fn empty_finding(root: &MetaRoot) -> Finding {
    Finding::warning(
        "no-metadata",
        root.meta_root().as_bytes(),
        format!(
            "no metadata lies below {}: if Milvus has run on this etcd, its root path is another one",
            root.meta_root()
        ),
    )
}

/// What a person is told when a migration was done here and nothing of it is left.
pub(super) fn gone_finding(root: &MetaRoot) -> Finding {
    Finding::error(
        "metadata-gone",
        root.meta_root().as_bytes(),
        "the journal says that a migration was done here, but no metadata is left: something deleted it. \
         Restore a backup; where the instance was meant to go, delete the journal too",
    )
}

/// What a person is told when both layouts are there.
pub(super) fn mixed_finding(evidence: &[String]) -> Finding {
    Finding::error(
        "mixed-layout",
        b"",
        format!(
            "keys of both layouts are there and no journal explains it, so either another tool was \
             interrupted or Milvus 2.2 was started on 2.1 metadata: {}. Restore a backup of one layout \
             first",
            evidence.join("; ")
        ),
    )
}
