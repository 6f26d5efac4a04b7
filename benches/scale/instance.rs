//! The generated metadata, and the writes of its migration.

use milvus_meta::keys::{Family, MetaRoot};
use milvus_meta::transform::{
    CollectionForm, OnBrokenRecord, Options, SegmentForm, SegmentRewrite, Source,
};

use crate::floor::{Floor, Pair, TXN_OPS};
use etcd_client::TxnOp;
use meta_testing::generator::Generator;

/// The prefix of the metadata, and one of the same length for the writes of the bare loops.
pub(crate) const PREFIX: &str = "by-dev/meta/";
pub(crate) const SCRATCH: &str = "by-scr/meta/";
const IN_FLIGHT: usize = 4;

/// The pairs to write, generated in advance so that the bare loops only write.
pub(crate) struct Instance {
    pub(crate) generator: Generator,
    /// The puts of a migration.
    pub(crate) new: Vec<Pair>,
    /// The puts of a rollback.
    pub(crate) old: Vec<Pair>,
}

impl Instance {
    pub(crate) fn make(segment_indexes: u64) -> Self {
        let generator = Generator {
            segment_indexes,
            seed: 1,
        };
        let root = MetaRoot::new("by-scr", "meta", "kv").unwrap();
        let options = Options {
            task: milvus_meta::transform::Task::Migration,
            form: CollectionForm::Database,
            segment_form: SegmentForm::Auto,
            on_broken_record: OnBrokenRecord::Fail,
            schemas: None,
            target: "2.2.16".parse().unwrap(),
        };
        let mut source = Source::new(root.clone(), options);
        let mut old = Vec::new();
        for entry in generator.entries(root.meta_root()) {
            source.push(&entry);
            if is_replaced(Family::of(root.strip(&entry.key).unwrap())) {
                old.push((entry.key.into(), entry.value.into()));
            }
        }
        let migration = source.finish();
        let mut new: Vec<Pair> = migration.staged().map(|put| (put.key, put.value)).collect();
        for entry in generator.entries(root.meta_root()) {
            if let SegmentRewrite::Put(record) = migration.rewritten_segment(&entry) {
                new.push((entry.key.into(), record));
            }
        }
        Self {
            generator,
            new,
            old,
        }
    }

    /// The metadata below [`PREFIX`].
    pub(crate) fn entries(&self) -> impl Iterator<Item = Pair> {
        let entries = self.generator.entries(PREFIX.trim_end_matches('/'));
        entries.map(|entry| (entry.key.into(), entry.value.into()))
    }

    pub(crate) async fn load(&self, floor: &Floor) {
        let mut entries = self
            .generator
            .entries(PREFIX.trim_end_matches('/'))
            .peekable();
        let batches = std::iter::from_fn(|| {
            entries.peek()?;
            let batch = entries.by_ref().take(TXN_OPS);
            Some(
                batch
                    .map(|entry| TxnOp::put(entry.key, entry.value, None))
                    .collect(),
            )
        });
        floor.transactions(batches, IN_FLIGHT).await;
    }
}

/// Whether a migration to the database form deletes or rewrites the family.
fn is_replaced(family: Family) -> bool {
    matches!(
        family,
        Family::LegacySegmentIndex
            | Family::IndexBuild
            | Family::LegacyIndex
            | Family::LegacyAlias
            | Family::LegacyAliasSnapshot
            | Family::Collection
            | Family::CollectionSnapshot
            | Family::QueryCollection
            | Family::QueryReplica
            | Family::Segment
    )
}
