//! Collections, current and historical, with their partitions and fields.

mod reconcile;
mod unusable;
mod versions;

use std::collections::{BTreeMap, BTreeSet};

use super::children::{fields, partitions};
use super::database;
use super::findings::Findings;
use super::names::CollectionNames;
use super::snapshots::{RawHistory, Values, Version};
use super::{CollectionForm, NewKeys};
use crate::codec::patch;
use crate::codec::v2_1::Collection;
use crate::keys::{Family, Key, Object, TOMBSTONE, Timestamp};
use crate::model::{CollectionId, FieldId, PartitionId};
use crate::plural::counted;
use reconcile::{correction, report};
use unusable::{misplaced, oddities};
use versions::{Record, Versions, check_newest, claimed, follow, plain_key, read, snapshot_key};

/// The collections that are not dropped, by the ids in their values.
pub(super) type LiveCollections = BTreeMap<CollectionId, Collection>;

/// The converted collection families. Keys are relative to the meta root.
#[derive(Debug, Default)]
pub(super) struct Converted {
    /// Keys in new families.
    pub(super) staged: NewKeys,
    /// Snapshots added to the old family.
    pub(super) history: NewKeys,
    /// New values of existing keys.
    pub(super) rewrites: NewKeys,
    /// Keys that 2.2 must not see.
    pub(super) removed: Vec<Vec<u8>>,
    pub(super) live: LiveCollections,
    /// The partitions that each collection has or had.
    pub(super) partitions: BTreeMap<CollectionId, BTreeSet<PartitionId>>,
    /// The smallest creation time in any record, current or historical.
    pub(super) oldest: Option<Timestamp>,
    /// Collections that are dropped for 2.2: they have a tombstone.
    pub(super) dropped: BTreeSet<CollectionId>,
    /// Collections whose record cannot be read; skipped with `skip`.
    pub(super) unreadable: BTreeSet<CollectionId>,
    /// The creation times of all collections.
    pub(super) created: BTreeMap<CollectionId, Timestamp>,
    pub(super) names: CollectionNames,
    /// Collections that exist only in 2.2.
    pub(super) others: BTreeSet<CollectionId>,
}

/// Converts all collections, given by the ids in their keys.
pub(super) fn convert(
    form: CollectionForm,
    collections: BTreeMap<CollectionId, RawHistory>,
    findings: &mut Findings,
) -> Converted {
    let mut converted = Converted::default();
    let mut plains = BTreeMap::new();
    let mut owners: BTreeMap<CollectionId, Vec<u8>> = BTreeMap::new();
    for (key, history) in &collections {
        let name = plain_key(*key);
        let plain = history
            .plain
            .as_ref()
            .map(|raw| read(Family::Collection, &name, raw, findings));
        if let Some(Some(Version::Live(record))) = &plain {
            let owner = owners.entry(record.record.id).or_default();
            *owner = name.clone().max(std::mem::take(owner));
        }
        plains.insert(*key, plain);
    }
    for (key, history) in collections {
        let name = plain_key(key);
        let plain = match plains.remove(&key).flatten() {
            Some(None) => {
                converted.skip(key, &history, findings);
                continue;
            }
            Some(Some(version)) => Some(version),
            None => None,
        };
        if let Some(Version::Live(record)) = &plain
            && owners.get(&record.record.id) != Some(&name)
        {
            findings.outranked(&name);
            converted.remove(key, &history);
            continue;
        }
        let is_live = plain.as_ref().is_some_and(|plain| plain.record().is_some());
        let owner = claimed(&history).and_then(|id| owners.get(&id));
        if !is_live && owner.is_some_and(|owner| *owner != name) {
            // Its removal would appear as that of the fields and partitions of an existing
            // collection.
            findings.outranked(&name);
            converted.remove(key, &history);
            continue;
        }
        let versions = converted.versions(key, plain, history, findings);
        let partitions = converted.partitions.entry(versions.id).or_default();
        for record in versions.values.records() {
            partitions.extend(record.record.partition_ids.iter().copied());
        }
        converted.write(form, &versions, findings);
    }
    converted
}

impl Converted {
    /// Handles an unreadable plain record: with `skip`, no key of the collection may remain for
    /// 2.2.
    fn skip(&mut self, key: CollectionId, history: &RawHistory, findings: &mut Findings) {
        self.unreadable.insert(key);
        for (timestamp, raw) in &history.snapshots {
            // Only to report their problems, too.
            let name = snapshot_key(key, *timestamp);
            read(Family::CollectionSnapshot, &name, raw, findings);
        }
        if findings.skips() {
            self.remove(key, history);
        }
    }

    fn remove(&mut self, key: CollectionId, history: &RawHistory) {
        self.removed.extend(history.keys(Object::Collection(key)));
    }

    fn versions(
        &mut self,
        key: CollectionId,
        plain: Option<Version<Record>>,
        history: RawHistory,
        findings: &mut Findings,
    ) -> Versions {
        let mut snapshots = BTreeMap::new();
        let mut unreadable = BTreeSet::new();
        for (timestamp, raw) in history.snapshots {
            let name = snapshot_key(key, timestamp);
            match read(Family::CollectionSnapshot, &name, &raw, findings) {
                Some(version) => {
                    snapshots.insert(timestamp, version);
                }
                None => {
                    unreadable.insert(timestamp);
                    if findings.skips() {
                        self.removed.push(name);
                    }
                }
            }
        }
        let mut versions = Versions {
            key,
            id: key,
            values: Values { plain, snapshots },
            unreadable,
        };
        let newest = versions.values.records().last();
        if let Some(newest) = newest {
            versions.id = newest.record.id;
        }
        for record in versions.values.records() {
            let time = record.record.create_time;
            self.created.insert(versions.id, time);
            if let Some(name) = &record.record.name {
                self.names.insert(versions.id, name.clone());
            }
            // A record without a creation time is ignored for the oldest, unless it is the only
            // one.
            self.oldest = match self.oldest {
                Some(oldest) if time == Timestamp(0) => Some(oldest),
                Some(oldest) if oldest != Timestamp(0) => Some(oldest.min(time)),
                _ => Some(time),
            };
        }
        versions
    }

    fn write(&mut self, form: CollectionForm, versions: &Versions, findings: &mut Findings) {
        if let Some(truth) = versions.values.truth() {
            check_newest(versions, findings);
            let key = plain_key(versions.key);
            for (code, message) in oddities(&truth.record) {
                findings.warning(code, &key, format!("{}: {message}", versions.title()));
            }
            // In the database form the record gets a new key and its database.
            if form != CollectionForm::Database {
                for message in misplaced(versions.key, &truth.record) {
                    findings.warning(
                        "id-mismatch",
                        &key,
                        format!("{}: {message}", versions.title()),
                    );
                }
            }
        }
        match form {
            CollectionForm::Embedded => {
                self.rewrite(versions, patch::embedded_collection);
                if correction(versions).is_some() {
                    findings.warning(
                        "history-not-repaired",
                        &plain_key(versions.key),
                        format!(
                            "the newest snapshot does not show {} as its plain key does, and the embedded \
                             form does not change the history: Milvus 2.2.3 and later read the snapshot",
                            versions.title()
                        ),
                    );
                }
            }
            CollectionForm::Split => {
                self.rewrite(versions, |raw| patch::split_collection(raw, None));
                if let Some(correction) = correction(versions) {
                    report(versions, &correction, findings);
                    let value = edited(correction.record, |raw| patch::split_collection(raw, None));
                    let key = snapshot_key(versions.key, correction.timestamp);
                    self.history.insert(key, value);
                }
                self.children(versions, findings);
            }
            CollectionForm::Database => {
                self.move_to_database(versions, findings);
                self.children(versions, findings);
            }
        }
        if let Some(record) = versions.values.truth() {
            self.live.insert(versions.id, record.record.clone());
        } else {
            let stays = form != CollectionForm::Database && versions.values.plain.is_some();
            if stays || !versions.values.snapshots.is_empty() {
                self.dropped.insert(versions.id);
            }
        }
    }

    /// Writes a tombstone for each of the given collections without a key, after its newest
    /// snapshot. Otherwise a collection that was skipped, or that has only a plain tombstone in
    /// 2.1, would be considered lost while segments still refer to it.
    pub(super) fn keep_dropped(
        &mut self,
        form: CollectionForm,
        referenced: impl Iterator<Item = (CollectionId, Option<Timestamp>)>,
    ) {
        for (id, newest) in referenced {
            if self.live.contains_key(&id) || self.dropped.contains(&id) {
                continue;
            }
            let time = newest.or(self.oldest).unwrap_or_default().next();
            let (keys, object) = match form {
                CollectionForm::Database => (
                    &mut self.staged,
                    Object::DatabaseCollection(database::DEFAULT, id),
                ),
                CollectionForm::Split | CollectionForm::Embedded => {
                    (&mut self.history, Object::Collection(id))
                }
            };
            keys.insert(Key::Snapshot(object, time).render(), TOMBSTONE.to_vec());
        }
    }

    fn rewrite<E>(&mut self, versions: &Versions, edit: impl Fn(&[u8]) -> Result<Vec<u8>, E>) {
        for (timestamp, version) in versions.values.all() {
            let Some(record) = version.record() else {
                continue;
            };
            match edit(&record.raw) {
                Ok(value) if value != record.raw => {
                    let object = Object::Collection(versions.key);
                    self.rewrites
                        .insert(Key::of(object, timestamp).render(), value);
                }
                // Decoding has already checked these fields, so the edit does not fail.
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn move_to_database(&mut self, versions: &Versions, findings: &mut Findings) {
        let edit = |raw: &[u8]| patch::split_collection(raw, Some(database::DEFAULT.0));
        let object = Object::DatabaseCollection(database::DEFAULT, versions.id);
        let correction = correction(versions);
        if let Some(correction) = &correction {
            report(versions, correction, findings);
            let key = Key::Snapshot(object, correction.timestamp).render();
            self.staged.insert(key, edited(correction.record, edit));
        }
        // 2.2.0 does not start on a plain tombstone without a snapshot.
        let has_snapshot = correction.is_some() || !versions.values.snapshots.is_empty();
        for (timestamp, version) in versions.values.all().filter(|_| has_snapshot) {
            let key = Key::of(object, timestamp).render();
            self.staged.insert(key, edited(version.record(), edit));
        }
    }

    /// Stages partitions and fields under separate keys, with their history.
    fn children(&mut self, versions: &Versions, findings: &mut Findings) {
        let id = versions.id;
        let partitions = follow(versions, |record| partitions(id, record));
        let fields = follow(versions, fields);
        let missing = partitions.missing + fields.missing;
        if missing > 0 && !versions.values.snapshots.is_empty() {
            findings.notice(
                "snapshot-missing",
                &plain_key(versions.key),
                format!(
                    "{} and {} of {} are in no snapshot; each gets one at its creation time, because Milvus 2.2.3 \
                     and later do not see it otherwise",
                    counted(partitions.missing, "partition"),
                    counted(fields.missing, "field"),
                    versions.title()
                ),
            );
        }
        let corrected = partitions.corrected + fields.corrected;
        if corrected > 0 && correction(versions).is_none() {
            findings.warning(
                "snapshot-contradicts",
                &plain_key(versions.key),
                format!(
                    "the newest snapshot and the plain record of {} disagree about whether {corrected} \
                     partitions and fields exist; the plain record, which is what 2.1 read, is used",
                    versions.title()
                ),
            );
        }
        let partitions = partitions.children.into_iter();
        let partitions =
            partitions.map(|(child, it)| (Object::Partition(id, PartitionId(child)), it));
        let fields = fields.children.into_iter();
        let fields = fields.map(|(child, it)| (Object::Field(id, FieldId(child)), it));
        for (object, history) in partitions.chain(fields) {
            self.staged
                .insert(Key::Plain(object).render(), history.plain);
            for (timestamp, value) in history.snapshots {
                let key = Key::Snapshot(object, timestamp).render();
                self.staged.insert(key, value);
            }
        }
    }
}

/// Returns the new value of a version; a tombstone without a record.
fn edited<E>(record: Option<&Record>, edit: impl Fn(&[u8]) -> Result<Vec<u8>, E>) -> Vec<u8> {
    match record {
        Some(record) => edit(&record.raw).unwrap_or_else(|_| record.raw.clone()),
        None => TOMBSTONE.to_vec(),
    }
}
