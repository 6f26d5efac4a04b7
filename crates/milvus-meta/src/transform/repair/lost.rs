//! Restores collections that lost their partitions and fields. An embedded collection loses them when Milvus 2.2 alters
//! it, and when 2.3.18, 2.4.5 or later starts; its record is then in the split form. The missing parts are restored from
//! older snapshots or from a backup.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;

use super::super::snapshots::{Child, Children};
use super::super::{CollectionForm, SchemaSource, database, names};
use super::collections::{all_histories, object};
use super::contradictions::{Names, Newest, in_transition};
use super::moves::Move;
use super::schemas::{Records, Schema};
use super::used::Used;
use super::{Keys, Plan, below, prefix_of};
use crate::codec::v2_1::{self, Collection};
use crate::keys::{Family, Key, Object, Timestamp, is_tombstone};
use crate::model::{CollectionId, FieldId, PartitionId};
use crate::plural::counted;
use crate::proto::v2_2::etcd::PartitionInfo;
use crate::proto::v2_2::schema::FieldSchema;

/// `RowID` and `Timestamp`, which every collection has.
const SYSTEM_FIELDS: [i64; 2] = [0, 1];

/// The collection id in the keys of partitions that Milvus 2.2 drops from embedded collections.
const UNFILED: CollectionId = CollectionId(0);

/// Restores the collections of which partitions or fields are missing.
pub(super) struct Lost<'s> {
    pub(super) used: &'s Used,
    /// The backup.
    pub(super) source: Option<&'s SchemaSource>,
    pub(super) form: CollectionForm,
}

/// A collection of which partitions or fields are missing, or that an interrupted repair was moving.
struct Damaged<'t> {
    id: CollectionId,
    key: Vec<u8>,
    record: Collection,
    parts: Parts<'t>,
    moves: Option<Move>,
}

impl Lost<'_> {
    /// Returns whether the backup was needed.
    pub(super) fn repair(&self, plan: &mut Plan<'_>) -> bool {
        let newest = Newest::of(plan.entries);
        let damaged = self.damaged(plan, &newest);
        if damaged.is_empty() {
            return false;
        }
        let names = Names::of(plan.entries, &newest);
        let sources = Sources {
            snapshots: Records::of(plan.entries),
            backup: self.source.map(|it| (it.title(), Records::of(&it.keys))),
        };
        let mut needs_backup = false;
        for it in damaged {
            plan.touched.insert(it.id);
            if let Some(moves) = &it.moves
                && let Some(refusal) = moves.refusal(plan, &it.record, &names)
            {
                plan.refuse(it.id, &it.key, &names::collection_of(&it.record), &refusal);
                continue;
            }
            needs_backup |= self.restore(plan, it, &sources);
        }
        needs_backup
    }

    fn damaged<'t>(&self, plan: &Plan<'t>, newest: &Newest<'t>) -> Vec<Damaged<'t>> {
        let mut damaged = Vec::new();
        for (place, history) in all_histories(plan.entries) {
            let (database, id) = place;
            let is_settled = plan.touched.contains(&id) || plan.dropped.contains(&id);
            let plain = history.plain.as_deref().filter(|_| !is_settled);
            let Some(record) = plain.and_then(split) else {
                continue;
            };
            let is_outside = database == database::NONE && self.form == CollectionForm::Database;
            let moves = match is_outside {
                true => Move::of(id, &record, &history),
                false => None,
            };
            let parts = Parts::of(plan.entries, newest, id);
            if parts.are_incomplete() || moves.as_ref().is_some_and(|it| it.has_begun(plan)) {
                damaged.push(Damaged {
                    id,
                    key: Key::Plain(object(place)).render(),
                    record,
                    parts,
                    moves,
                });
            }
        }
        damaged
    }

    /// Restores what is missing; returns whether it is from the backup.
    fn restore(&self, plan: &mut Plan<'_>, mut it: Damaged<'_>, sources: &Sources<'_>) -> bool {
        let title = names::collection_of(&it.record);
        let mut then = "";
        if let Some(moves) = it.moves.take() {
            then = "; the collection moves into the database \"default\"";
            // Even if the parts are not found: a rollback of a repair from a backup plans again without the backup, and
            // must get the same plan.
            moves.write(plan);
            plan.moved.insert(it.id, it.record.create_time);
        }
        if !it.parts.are_incomplete() {
            let text = format!(
                "the partitions and fields of {title} were restored by an interrupted repair{then}"
            );
            plan.findings.notice("schema-restored", &it.key, text);
            return false;
        }
        let what = it.parts.lacking();
        match sources.find(&it, self.used) {
            Ok(found) => {
                let restored = found.parts.write(&it, plan);
                let text = format!(
                    "{title} has {what}, because a release that does not keep the embedded form altered its record: \
                     {restored} are restored from {}",
                    found.origin
                );
                if found.is_of_backup {
                    let text = format!("{text}{SINCE_BACKUP}{then}");
                    plan.findings.warning("schema-restored", &it.key, text);
                } else {
                    plan.findings
                        .notice("schema-restored", &it.key, format!("{text}{then}"));
                }
                found.is_of_backup
            }
            Err(reason) => {
                plan.refused.insert(it.id);
                let text = self.refused(&title, what, &reason);
                plan.findings.error("schema-lost", &it.key, text);
                false
            }
        }
    }

    fn refused(&self, title: &str, what: &str, reason: &Reason) -> String {
        let text = &reason.text;
        if reason.is_dropped {
            return format!(
                "{title} has {what}, and it is not restored: {text}. Drop the collection in Milvus, or restore a backup"
            );
        }
        let tried = self
            .source
            .map_or_else(String::new, |source| format!(" and {}", source.title()));
        format!(
            "{title} has {what}, and they cannot be restored from its snapshots{tried}: {text}. Run meta-migration repair \
             with --from FILE, a backup from before they were lost, of any format that meta-migration reads; or drop the \
             collection in Milvus where it is of no use"
        )
    }
}

const SINCE_BACKUP: &str = ". Partitions that were dropped after the backup come back, without rows, and partitions \
    without rows that were created after it are missing: create them again";

/// The reason why a collection is not restored.
struct Reason {
    text: String,
    is_dropped: bool,
}

impl Reason {
    fn of(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            is_dropped: false,
        }
    }
}

/// Reads a record in the split form, of a collection that is not being created or dropped.
fn split(value: &[u8]) -> Option<Collection> {
    if is_tombstone(value) || in_transition(value) {
        return None;
    }
    let record = v2_1::collection(value).ok()?;
    let is_split = record.fields.is_empty() && record.partition_ids.is_empty();
    (is_split && record.name.is_some()).then_some(record)
}

/// The values of one partition or field.
#[derive(Debug, Clone, Copy, Default)]
struct Values<'t> {
    plain: Option<&'t [u8]>,
    newest: Option<&'t [u8]>,
}

impl<'t> Values<'t> {
    fn is_dropped(&self) -> bool {
        [self.plain, self.newest]
            .into_iter()
            .flatten()
            .any(is_tombstone)
    }

    /// Returns the value of the plain key or, without one, of the newest snapshot; `None` if it is dropped.
    fn live(&self) -> Option<&'t [u8]> {
        self.plain.or(self.newest).filter(|_| !self.is_dropped())
    }

    /// Returns whether only a snapshot has the value, as after an interrupted repair.
    fn lacks_plain(&self) -> bool {
        self.plain.is_none() && self.live().is_some()
    }
}

/// The partitions and fields of one collection in the current metadata.
struct Parts<'t> {
    partitions: BTreeMap<i64, Values<'t>>,
    fields: BTreeMap<i64, Values<'t>>,
    /// Partitions that Milvus 2.2 dropped while the collection was embedded.
    unfiled: BTreeSet<i64>,
}

impl<'t> Parts<'t> {
    fn of(entries: &'t Keys, newest: &Newest<'t>, id: CollectionId) -> Self {
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

    fn are_incomplete(&self) -> bool {
        let lists = [&self.partitions, &self.fields];
        lists.iter().any(|list| {
            let has_plain = |values: &Values<'_>| values.live().is_some() && values.plain.is_some();
            !list.values().any(has_plain) || list.values().any(Values::lacks_plain)
        })
    }

    fn lacking(&self) -> &'static str {
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

/// The sources of lost partitions and fields.
struct Sources<'k> {
    snapshots: Records<'k>,
    /// The title and the records of the backup.
    backup: Option<(&'k str, Records<'k>)>,
}

/// The complete partitions and fields of a collection, and where they were found.
struct Found {
    parts: Complete,
    origin: String,
    is_of_backup: bool,
}

impl Sources<'_> {
    /// Returns the parts from the first source that contains all of them.
    ///
    /// Only the newest record of the snapshots and of the backup is used: an older one may contain objects that were
    /// dropped since.
    fn find(&self, it: &Damaged<'_>, used: &Used) -> Result<Found, Reason> {
        let snapshots = self.snapshots.in_snapshots(it.id, &it.record);
        let backup = self.backup.as_ref();
        let backup =
            backup.and_then(|(title, records)| records.in_backup(title, it.id, &it.record));
        let own = Schema {
            origin: "the snapshots of its partitions and fields".to_owned(),
            partitions: Children::new(),
            fields: Children::new(),
        };
        let all = (snapshots.map(|schema| (schema, false)).into_iter())
            .chain(backup.map(|schema| (schema, true)))
            .chain([(own, false)]);
        let mut first = None;
        for (schema, is_of_backup) in all {
            let is_own = schema.fields.is_empty();
            match Complete::of(&schema, it.id, &it.parts, used) {
                Ok(parts) => {
                    return Ok(Found {
                        parts,
                        origin: schema.origin,
                        is_of_backup,
                    });
                }
                Err(reason) if reason.is_dropped => return Err(reason),
                // Report the reason for the newest record.
                Err(reason) if !is_own => {
                    first.get_or_insert_with(|| {
                        Reason::of(format!("{}: {}", schema.origin, reason.text))
                    });
                }
                Err(_) => {}
            }
        }
        Err(first.unwrap_or_else(|| Reason::of("no record that holds them is left")))
    }
}

/// All partitions and fields of a collection.
struct Complete {
    partitions: Children,
    fields: Children,
}

impl Complete {
    /// Adds the content of a schema to the existing parts. Fails if an existing part contradicts it, or if a part is
    /// missing to which other records refer.
    fn of(
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
    fn write(self, it: &Damaged<'_>, plan: &mut Plan<'_>) -> String {
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
