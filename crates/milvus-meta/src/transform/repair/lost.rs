//! Restores collections that lost their partitions and fields. An embedded collection loses them when Milvus 2.2 alters
//! it, and when 2.3.18, 2.4.5 or later starts; its record is then in the split form. The missing parts are restored from
//! older snapshots or from a backup.

mod complete;
mod parts;

use super::super::snapshots::Children;
use super::super::{CollectionForm, SchemaSource, database, names};
use super::Plan;
use super::collections::{all_histories, object};
use super::contradictions::{Names, Newest, in_transition};
use super::moves::Move;
use super::schemas::{Records, Schema};
use super::used::Used;
use crate::codec::v2_1::{self, Collection};
use crate::keys::{Key, is_tombstone};
use crate::model::CollectionId;

use complete::{Complete, Reason};
use parts::Parts;

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
                && let Some(refusal) = moves.refusal(plan, it.id, &it.record, &names)
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
                true => Move::of_collection(id, &record, &history),
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

/// Reads a record in the split form, of a collection that is not being created or dropped.
fn split(value: &[u8]) -> Option<Collection> {
    if is_tombstone(value) || in_transition(value) {
        return None;
    }
    let record = v2_1::collection(value).ok()?;
    let is_split = record.fields.is_empty() && record.partition_ids.is_empty();
    (is_split && record.name.is_some()).then_some(record)
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
