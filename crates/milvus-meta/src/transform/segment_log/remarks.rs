//! Findings about segments whose logs stay in the record or lack row counts: one for each
//! collection and cause.

use std::collections::{BTreeSet, HashMap};
use std::mem::{Discriminant, discriminant};

use super::super::SegmentForm;
use super::super::findings::Findings;
use super::split::{Obstacle, RowCounts};
use crate::keys::Key;
use crate::model::{CollectionId, PartitionId, SegmentId, SegmentIds};
use crate::plural::{agree, counted, listed_of};

/// Maximum number of segments listed in a finding.
const NAMED_MAX: usize = 20;

/// Segments of a collection with the same remark.
#[derive(Debug, Clone)]
struct Named {
    count: u64,
    /// The smallest ids.
    first: BTreeSet<(SegmentId, PartitionId)>,
    /// The obstacle of the segment with the smallest id.
    why: Option<Obstacle>,
}

/// Collects remarks about segments.
#[derive(Debug)]
pub(super) struct Remarks {
    form: SegmentForm,
    /// By collection and kind of obstacle; segments without row counts have none.
    by_kind: HashMap<(CollectionId, Option<Discriminant<Obstacle>>), Named>,
    /// Number of segments whose records keep their logs.
    stay: u64,
}

/// The remedy for segments that later releases would empty.
const COPY: &str = "copy the rows of the collection into a new collection";

impl Remarks {
    pub(super) fn new(form: SegmentForm) -> Self {
        Self {
            form,
            by_kind: HashMap::new(),
            stay: 0,
        }
    }

    /// Adds a segment whose record keeps its logs.
    pub(super) fn stays(
        &mut self,
        ids: SegmentIds,
        obstacle: Option<Obstacle>,
        row_counts: RowCounts,
    ) {
        self.stay += 1;
        if let Some(obstacle) = obstacle {
            self.remark(ids, Some(obstacle));
        }
        if row_counts != RowCounts::Known {
            self.lacks_row_counts(ids);
        }
    }

    fn remark(&mut self, (collection, partition, segment): SegmentIds, why: Option<Obstacle>) {
        let kind = why.as_ref().map(discriminant);
        let named = self.by_kind.entry((collection, kind)).or_insert(Named {
            count: 0,
            first: BTreeSet::new(),
            why: None,
        });
        named.count += 1;
        named.first.insert((segment, partition));
        if named.first.first() == Some(&(segment, partition)) {
            named.why = why;
        }
        if named.first.len() > NAMED_MAX {
            named.first.pop_last();
        }
    }

    /// Adds a segment whose insert logs have no row counts and get none.
    pub(super) fn lacks_row_counts(&mut self, ids: SegmentIds) {
        self.remark(ids, None);
    }

    /// Reports all remarks; `roots` are the storage roots, the most frequent one first.
    pub(super) fn report(
        &self,
        roots: &[String],
        name: impl Fn(CollectionId) -> String,
        findings: &mut Findings,
    ) {
        for ((collection, _), named) in &self.by_kind {
            let Some((segment, partition)) = named.first.first() else {
                continue;
            };
            let key = Key::Segment(*collection, *partition, *segment).render();
            let who = format!("{} of {}", listed(named), name(*collection));
            let common = roots.first().map_or("", String::as_str);
            let (code, message) = match &named.why {
                None => ("segment-row-count", self.without_row_counts(&who)),
                Some(why) => ("segment-inline", stays_inline(&who, why, common)),
            };
            findings.warning(code, &key, message);
        }
        if self.form == SegmentForm::Inline && self.stay > 0 {
            findings.warning(
                "inline-segment-form",
                b"",
                format!(
                    "{} {} the logs in the segment record, as --segment-form inline requires: \
                     Milvus 2.3 and later lose the logs of such a segment, and its rows, when they alter \
                     it, and 2.4.0 alters every segment within a minute of its first start. Before the \
                     upgrade to 2.3 or later, {COPY} in Milvus 2.2; or migrate with --segment-form auto",
                    counted(self.stay, "segment"),
                    agree(self.stay, "keeps", "keep")
                ),
            );
        }
        self.report_root(roots, findings);
    }

    fn without_row_counts(&self, who: &str) -> String {
        let stay = if self.form == SegmentForm::Inline {
            "with --segment-form inline they are not filled in"
        } else {
            "they do not follow from the number of rows of the segment"
        };
        format!(
            "{who}: Milvus 2.1 recorded no row counts for insert logs, and {stay}. Milvus 2.2 and later set \
             the number of rows of such a segment to 0 or -1 after the next insert, flush and restart, and \
             then fail to load the collection. To prevent that, {COPY} before the next restart"
        )
    }

    /// Reports a relative storage root, which the configuration of the new release must name.
    fn report_root(&self, roots: &[String], findings: &mut Findings) {
        let Some(root) = roots.first().filter(|root| !root.starts_with('/')) else {
            return;
        };
        let message = format!(
            "the paths of logs are relative, below the storage root {root:?}. With object storage, Milvus \
             2.2 finds the files if minio.rootPath is {root:?}. With local storage, localStorage.path has \
             to name the folder that {root:?} was for Milvus 2.1 (relative to its working directory)"
        );
        if self.stay == 0 {
            findings.notice("relative-storage-root", b"", message);
        } else {
            findings.warning(
                "relative-storage-root",
                b"",
                format!(
                    "{message}; where localStorage.path is absolute, the garbage collection of Milvus 2.2 \
                     deletes the files of the {} whose logs stay in the segment record. To keep \
                     them, start Milvus in the same working directory with localStorage.path: {root}, or \
                     set dataCoord.enableGarbageCollection: false",
                    counted(self.stay, "segment")
                ),
            );
        }
    }
}

fn listed(named: &Named) -> String {
    let ids = named.first.iter().map(|(segment, _)| segment.to_string());
    let what = agree(named.count, "segment", "segments");
    format!("{what} {}", listed_of(named.count, ids))
}

fn stays_inline(who: &str, why: &Obstacle, common: &str) -> String {
    let why = match why {
        Obstacle::Unreadable(error) => format!("their logs cannot be read completely ({error})"),
        Obstacle::OtherIds => "the ids in the key and in the value differ".to_owned(),
        Obstacle::SharedId => "another segment has the same id".to_owned(),
        Obstacle::Path(path) => format!(
            "the path {path:?} does not consist of a storage root, insert_log, delta_log or stats_log, the ids \
             of collection, partition, segment and field, and a log id, or has another storage root than \
             the segment's other logs"
        ),
        Obstacle::Root(root) => format!(
            "the storage root of their logs is {root:?}, and that of most other segments is {common:?}"
        ),
        Obstacle::Keys(key) => {
            format!("the key {key:?} exists with another value or for other logs")
        }
    };
    format!(
        "{who}: the logs stay in the segment record, because {why}. Milvus 2.3 and later lose the logs of \
         such a segment, and its rows, when they alter it, and 2.4.0 alters every segment within a minute of \
         its first start. Before the upgrade to 2.3 or later, {COPY} in Milvus 2.2"
    )
}
