//! All partitions and fields of a restored collection.

use std::collections::BTreeMap;

use prost::Message as _;

use super::super::Plan;
use super::super::schemas::Schema;
use super::super::used::Used;
use super::Damaged;
use super::parts::{Parts, Values};
use crate::keys::{Key, Object, Timestamp};
use crate::model::{CollectionId, FieldId, PartitionId};
use crate::plural::counted;
use crate::proto::v2_2::etcd::PartitionInfo;
use crate::proto::v2_2::schema::FieldSchema;
use crate::transform::snapshots::{Child, Children};

/// `RowID` and `Timestamp`, which every collection has.
const SYSTEM_FIELDS: [i64; 2] = [0, 1];

/// The reason why a collection is not restored.
pub(super) struct Reason {
    pub(super) text: String,
    pub(super) is_dropped: bool,
}

impl Reason {
    pub(super) fn of(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_dropped: false,
        }
    }
}

/// All partitions and fields of a collection.
pub(super) struct Complete {
    partitions: Children,
    fields: Children,
}

impl Complete {
    /// Adds the content of a schema to the existing parts. Fails if an existing part contradicts it, or if a part is
    /// missing to which other records refer.
    pub(super) fn of(
        schema: &Schema,
        id: CollectionId,
        parts: &Parts<'_>,
        used: &Used,
    ) -> Result<Self, Reason> {
        let fields = all_fields(schema, parts)?;
        let partitions = all_partitions(schema, parts)?;
        if let Some(field) = used.missing_field(id, |field| fields.contains_key(&field.0)) {
            return Err(Reason::of(format!(
                "it does not have field {field}, to which segments, indexes or the load state refer"
            )));
        }
        let is_dropped = |id: &i64| {
            parts.unfiled.contains(id) || parts.partitions.get(id).is_some_and(Values::is_dropped)
        };
        let is_known = |it: PartitionId| partitions.contains_key(&it.0) || is_dropped(&it.0);
        if let Some(partition) = used.missing_partition(id, is_known) {
            return Err(Reason::of(format!(
                "it does not have partition {partition}, to which segments or the load state refer"
            )));
        }
        Ok(Self { partitions, fields })
    }

    /// Writes the missing parts and returns their numbers as text.
    pub(super) fn write(self, it: &Damaged<'_>, plan: &mut Plan<'_>) -> String {
        let partition = |id| Object::Partition(it.id, PartitionId(id));
        let partitions = write(self.partitions, &it.parts.partitions, partition, it, plan);
        let field = |id| Object::Field(it.id, FieldId(id));
        let fields = write(self.fields, &it.parts.fields, field, it, plan);
        format!(
            "{} and {}",
            counted(fields, "field"),
            counted(partitions, "partition")
        )
    }
}

/// Writes the children without a plain key, with a snapshot if they have none; returns their number.
fn write(
    children: Children,
    existing: &BTreeMap<i64, Values<'_>>,
    object: impl Fn(i64) -> Object<'static>,
    it: &Damaged<'_>,
    plan: &mut Plan<'_>,
) -> usize {
    let mut count = 0;
    for (id, child) in children {
        let values = existing.get(&id).copied().unwrap_or_default();
        if values.plain.is_some() {
            continue;
        }
        count += 1;
        if values.newest.is_none() {
            let created = [child.created, it.record.create_time, Timestamp(1)];
            let time = created.into_iter().find(|time| time.0 > 0);
            let key = Key::Snapshot(object(id), time.unwrap_or_default()).render();
            plan.changes.visible.insert(key, child.value.clone());
        }
        plan.changes
            .visible
            .insert(Key::Plain(object(id)).render(), child.value);
    }
    count
}

fn all_fields(schema: &Schema, parts: &Parts<'_>) -> Result<Children, Reason> {
    let mut all = schema.fields.clone();
    for (field, values) in &parts.fields {
        let Some(value) = values.live() else {
            return Err(Reason {
                text: format!("its field {field} was dropped, so the collection was"),
                is_dropped: true,
            });
        };
        let is_other = all.get(field).is_some_and(|child| child.value != value);
        let is_unknown = !schema.fields.is_empty() && !all.contains_key(field);
        if is_other || is_unknown {
            return Err(Reason::of(format!(
                "the metadata has another field {field}"
            )));
        }
        all.entry(*field).or_insert_with(|| own(value));
    }
    let is_primary = |child: &Child| {
        let field = FieldSchema::decode(child.value.as_slice());
        field.is_ok_and(|field| field.is_primary_key)
    };
    let has_system_fields = SYSTEM_FIELDS.iter().all(|field| all.contains_key(field));
    if !has_system_fields || !all.values().any(is_primary) {
        return Err(Reason::of("it does not have every field"));
    }
    Ok(all)
}

fn all_partitions(schema: &Schema, parts: &Parts<'_>) -> Result<Children, Reason> {
    let mut all = schema.partitions.clone();
    all.retain(|id, _| !parts.unfiled.contains(id));
    for (partition, values) in &parts.partitions {
        match values.live() {
            Some(value) => all.insert(*partition, own(value)),
            None => all.remove(partition),
        };
    }
    if all.is_empty() {
        return Err(Reason::of("it does not have a partition"));
    }
    let mut names = BTreeMap::new();
    for (partition, child) in &all {
        let Ok(info) = PartitionInfo::decode(child.value.as_slice()) else {
            return Err(Reason::of(format!("partition {partition} cannot be read")));
        };
        if info.state != 0 {
            continue;
        }
        if let Some(other) = names.insert(info.partition_name, partition) {
            return Err(Reason::of(format!(
                "partitions {other} and {partition} would have the same name"
            )));
        }
    }
    Ok(all)
}

/// Returns an existing partition or field. Its snapshot exists or is written separately.
fn own(value: &[u8]) -> Child {
    Child::new(value, Timestamp::default())
}
