//! The plan as data: the number of changes in each family.

use std::collections::BTreeMap;

use super::{Migration, ObjectPlan, Put, Task, ranges};
use crate::finding::Finding;
use crate::keys::{Family, MetaRoot};
use crate::layout::Layout;
use serde::{Deserialize, Serialize};

/// The changes to a family.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FamilyPlan {
    /// The family's name: its prefix relative to the meta root.
    pub name: String,
    /// Keys read.
    pub read: u64,
    /// New keys.
    pub put: u64,
    /// Keys whose value changes.
    pub rewrite: u64,
    /// Deleted keys.
    pub delete: u64,
}

/// A complete plan. The default is a plan without changes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlanReport {
    /// The layout found.
    pub layout: Layout,
    /// The etcd revision that was read; 0 for a plan from a file without revision.
    pub revision: i64,
    /// The form in which collections are written: `split`, `database` or `embedded`.
    pub collection_form: String,
    /// Where segment logs are stored: `auto`, in separate keys if possible, or `inline`, in the
    /// segment records.
    pub segment_form: String,
    /// The storage roots in the paths of logs, the most frequent one first, which Milvus requires as
    /// `minio.rootPath` or `localStorage.path`.
    pub storage_roots: Vec<String>,
    /// Milvus objects before and after the migration, by kind; empty for a repair.
    #[serde(default)]
    pub objects: Vec<ObjectPlan>,
    /// The changes to each family that is read or written, in key order.
    pub families: Vec<FamilyPlan>,
    /// Total number of new keys.
    pub put: u64,
    /// Total number of rewritten keys.
    pub rewrite: u64,
    /// Total number of deleted keys.
    pub delete: u64,
    /// Bytes of keys and values that are written or rewritten.
    pub bytes_put: u64,
    /// SHA-256, in hexadecimal, of everything that the plan writes and deletes.
    pub digest: String,
    /// All findings, most severe first.
    pub findings: Vec<Finding>,
}

impl Migration {
    /// Returns the plan as data, with the layout and revision of the source.
    #[must_use]
    pub fn plan(&self, layout: Layout, revision: i64) -> PlanReport {
        let mut families = self.families();
        let bytes = |puts: &[Put]| {
            let sizes = puts
                .iter()
                .map(|put| (put.key.len() + put.value.len()) as u64);
            sizes.sum::<u64>()
        };
        let segments = self.logs.rewritten_bytes(&self.root);
        let old = bytes(&self.history) + bytes(&self.rewrites) + segments;
        let mut bytes_put = self.staged_bytes + old;
        let is_done = layout == Layout::V2_2 && self.task == Task::Migration;
        if is_done {
            // The metadata is already migrated.
            for family in &mut families {
                (family.put, family.rewrite, family.delete) = (0, 0, 0);
            }
            bytes_put = 0;
        }
        let objects = match layout {
            Layout::V2_2 => Vec::new(),
            Layout::V2_1 | Layout::Staged | Layout::Mixed | Layout::Empty => self.objects.clone(),
        };
        let total = |figure: fn(&FamilyPlan) -> u64| families.iter().map(figure).sum();
        PlanReport {
            layout,
            revision,
            collection_form: self.form.name().to_owned(),
            segment_form: self.segment_form.to_string(),
            storage_roots: self.storage_roots().to_vec(),
            objects,
            put: total(|family| family.put),
            rewrite: total(|family| family.rewrite),
            delete: total(|family| family.delete),
            bytes_put,
            digest: self.digest.clone(),
            findings: match is_done {
                true => Vec::new(),
                false => self.findings.clone(),
            },
            families,
        }
    }

    /// Returns the families that are read or written, in key order.
    fn families(&self) -> Vec<FamilyPlan> {
        let mut table: BTreeMap<Family, FamilyPlan> = BTreeMap::new();
        for (family, count) in &self.read {
            table.entry(*family).or_default().read = *count;
        }
        for key in self.small.keys() {
            table.entry(Family::of(key)).or_default().put += 1;
        }
        table.entry(Family::SegmentIndex).or_default().put += self.segments.len();
        for (family, count) in self.logs.counts() {
            table.entry(family).or_default().put += count;
        }
        table.entry(Family::Segment).or_default().rewrite += self.segment_rewrites();
        for put in &self.history {
            table.entry(family_of(&self.root, put)).or_default().put += 1;
        }
        for put in &self.rewrites {
            table.entry(family_of(&self.root, put)).or_default().rewrite += 1;
        }
        for (family, count) in &self.removed {
            table.entry(*family).or_default().delete = *count;
        }
        let deleted = ranges::REMOVED.into_iter().chain(ranges::UNREAD);
        let deleted = deleted
            .chain(ranges::LAST_DDL)
            .chain(ranges::LAST_DDL_HISTORY);
        // A repair lists each deleted key.
        for family in deleted.filter(|_| self.task == Task::Migration) {
            let plan = table.entry(family).or_default();
            plan.delete = plan.read;
        }
        let mut plans: Vec<FamilyPlan> = table
            .into_iter()
            .filter(|(_, plan)| *plan != FamilyPlan::default())
            .map(|(family, plan)| FamilyPlan {
                name: family.name().to_owned(),
                ..plan
            })
            .collect();
        plans.sort_by_cached_key(|plan| format!("{}/", plan.name));
        plans
    }
}

fn family_of(root: &MetaRoot, put: &Put) -> Family {
    root.strip(&put.key).map_or(Family::Other, Family::of)
}
