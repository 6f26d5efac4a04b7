//! The partitions and fields of a damaged collection in the current metadata.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;

use super::super::contradictions::Newest;
use super::super::{Keys, below, prefix_of};
use crate::keys::{Family, Key, Object, is_tombstone};
use crate::model::{CollectionId, FieldId, PartitionId};
use crate::proto::v2_2::etcd::PartitionInfo;

/// The collection id in the keys of partitions that Milvus 2.2 drops from embedded collections.
const UNFILED: CollectionId = CollectionId(0);

/// The values of one partition or field.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Values<'t> {
    pub(super) plain: Option<&'t [u8]>,
    pub(super) newest: Option<&'t [u8]>,
}

impl<'t> Values<'t> {
    pub(super) fn is_dropped(&self) -> bool {
        [self.plain, self.newest]
            .into_iter()
            .flatten()
            .any(is_tombstone)
    }

    /// Returns the value of the plain key or, without one, of the newest snapshot; `None` if it is dropped.
    pub(super) fn live(&self) -> Option<&'t [u8]> {
        self.plain.or(self.newest).filter(|_| !self.is_dropped())
    }

    /// Returns whether only a snapshot has the value, as after an interrupted repair.
    pub(super) fn lacks_plain(&self) -> bool {
        self.plain.is_none() && self.live().is_some()
    }
}

/// The partitions and fields of one collection in the current metadata.
pub(super) struct Parts<'t> {
    pub(super) partitions: BTreeMap<i64, Values<'t>>,
    pub(super) fields: BTreeMap<i64, Values<'t>>,
    /// Partitions that Milvus 2.2 dropped while the collection was embedded.
    pub(super) unfiled: BTreeSet<i64>,
}

impl<'t> Parts<'t> {
    pub(super) fn of(entries: &'t Keys, newest: &Newest<'t>, id: CollectionId) -> Self {
        let unfiled = values(entries, newest, Family::Partition, UNFILED).into_iter();
        let unfiled = unfiled.filter(|(_, values)| {
            let info = values.live().map(PartitionInfo::decode);
            info.is_none_or(|info| info.is_ok_and(|info| info.state != 0))
        });
        Self {
            partitions: values(entries, newest, Family::Partition, id),
            fields: values(entries, newest, Family::Field, id),
            unfiled: unfiled.map(|(id, _)| id).collect(),
        }
    }

    pub(super) fn are_incomplete(&self) -> bool {
        let lists = [&self.partitions, &self.fields];
        lists.iter().any(|list| {
            let has_plain = |values: &Values<'_>| values.live().is_some() && values.plain.is_some();
            !list.values().any(has_plain) || list.values().any(Values::lacks_plain)
        })
    }

    pub(super) fn lacking(&self) -> &'static str {
        let lacks = |list: &BTreeMap<i64, Values<'_>>| !list.values().any(|it| it.live().is_some());
        match (lacks(&self.fields), lacks(&self.partitions)) {
            (true, true) => "no fields and no partitions",
            (true, false) => "no fields",
            (false, true) => "no partitions",
            (false, false) => "only a part of its fields and partitions",
        }
    }
}

/// Returns the values of the partitions or fields of a collection.
fn values<'t>(
    entries: &'t Keys,
    newest: &Newest<'t>,
    family: Family,
    id: CollectionId,
) -> BTreeMap<i64, Values<'t>> {
    let number = |key: &[u8]| {
        if let Key::Plain(Object::Partition(_, PartitionId(id)) | Object::Field(_, FieldId(id))) =
            Key::parse(key)
        {
            Some(id)
        } else {
            None
        }
    };
    let prefix = prefix_of(family, id);
    let mut values: BTreeMap<i64, Values<'t>> = BTreeMap::new();
    for (key, value) in below(entries, prefix.clone()) {
        if let Some(number) = number(key) {
            values.entry(number).or_default().plain = Some(value);
        }
    }
    for (key, (_, _, value)) in newest.below(prefix) {
        if let Some(number) = number(key) {
            values.entry(number).or_default().newest = Some(value);
        }
    }
    values
}
