//! What tells that metadata is not all that Milvus wrote: signs that the official tool was interrupted,
//! and the form in which it leaves collections.
//!
//! It deletes the old families first (D1), so what stays after a failure looks like an instance without
//! collections, or without indexes. To start Milvus 2.2 on that would be the real loss: it removes the
//! files of what it does not know.

use std::collections::BTreeMap;

use super::findings::Findings;
use super::segment_rows::Filled;
use super::{CollectionForm, Options};
use crate::finding::Finding;
use crate::keys::Family;
use crate::layout::LayoutDetector;

/// Families of 2.1 that the official tool deletes, beside the collections.
const INDEXES_AND_ALIASES: [Family; 5] = [
    Family::LegacyIndex,
    Family::LegacySegmentIndex,
    Family::IndexBuild,
    Family::LegacyAlias,
    Family::LegacyAliasSnapshot,
];

/// Looks for signs that something deleted metadata: `read` counts the keys of each family, `live` says
/// whether a collection lives, `filled` tells of the segments that hold rows.
pub(super) fn check(
    read: &BTreeMap<Family, u64>,
    live: bool,
    filled: impl FnOnce() -> Filled,
    findings: &mut Findings,
) {
    let none_of = |families: &[Family]| families.iter().all(|family| !read.contains_key(family));
    if none_of(&[Family::Collection, Family::CollectionSnapshot]) {
        let Filled {
            segments,
            collections,
        } = filled();
        if segments > 0 {
            findings.general(Finding::error(
                "collections-missing",
                b"",
                format!(
                    "{segments} segments with rows belong to {collections} collections of which nothing \
                     is left, where 2.1 leaves at least a tombstone: something deleted the metadata, as \
                     an interrupted run of the official tool does. Restore a backup from before it; \
                     Milvus 2.2 would remove the files of these segments"
                ),
            ));
        }
    } else if live
        && none_of(&[Family::DdOperation])
        && none_of(&INDEXES_AND_ALIASES)
        && filled().segments > 0
    {
        findings.general(Finding::warning(
            "indexes-missing",
            b"",
            "there are collections, but no index, no alias, and no record of the last operation on \
             collections, which 2.1 always has: an interrupted run of the official tool leaves just \
             that. If one was started, restore the backup from before it; Milvus 2.2 removes the files \
             of indexes that it does not know",
        ));
    }
}

/// What the target makes of a 2.2 layout whose collections have their fields and partitions in them.
/// Nobody is stopped who asked for that form.
#[must_use]
pub fn embedded_finding(detector: &LayoutDetector, options: &Options) -> Option<Finding> {
    let collections = detector.embedded_collections();
    let asked = options.form == CollectionForm::Embedded;
    if collections == 0 || asked || !options.target.empties_embedded_collections() {
        return None;
    }
    Some(Finding::error(
        "embedded-form",
        b"",
        format!(
            "the layout is 2.2 already, with {collections} collections in the embedded form, as the \
             official tool writes them: {target} takes all fields and partitions from them at its \
             first start. Go back to 2.1 (roll back, or restore the backup from before that migration) \
             and migrate again for {target}",
            target = options.target,
        ),
    ))
}
