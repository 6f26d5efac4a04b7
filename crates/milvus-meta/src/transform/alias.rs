//! Aliases: collection records with only a name in 2.1, separate records in 2.2.

use std::collections::BTreeMap;

use super::collection::Converted;
use super::database;
use super::findings::Findings;
use super::names::{self, CollectionNames};
use super::snapshots::{RawHistory, Values, Version};
use super::{CollectionForm, NewKeys};
use crate::codec::{v2_1, v2_2};
use crate::keys::{Family, Key, Object, TOMBSTONE, Timestamp, is_tombstone};
use crate::model::CollectionId;

/// An alias in 2.1, with its name.
type Record = (String, CollectionId);

/// Converts all aliases, given by the names in their keys.
pub(super) fn convert(
    form: CollectionForm,
    aliases: BTreeMap<Vec<u8>, RawHistory>,
    collections: &Converted,
    findings: &mut Findings,
) -> NewKeys {
    let mut staged = NewKeys::new();
    for (name, history) in aliases {
        let old = Object::LegacyAlias(&name);
        let plain_key = Key::Plain(old).render();
        let plain = match &history.plain {
            None => None,
            Some(raw) => match read(Family::LegacyAlias, &plain_key, raw, findings) {
                Some(version) => Some(version),
                None => continue,
            },
        };
        let mut snapshots = BTreeMap::new();
        for (timestamp, raw) in &history.snapshots {
            let key = Key::Snapshot(old, *timestamp).render();
            if let Some(version) = read(Family::LegacyAliasSnapshot, &key, raw, findings) {
                snapshots.insert(*timestamp, version);
            }
        }
        if let Some(Version::Live((_, collection))) = &plain
            && !collections.live.contains_key(collection)
            && !collections.others.contains(collection)
        {
            findings.warning(
                "alias-without-collection",
                &plain_key,
                format!(
                    "{} refers to {}, which does not exist; it is skipped (it stays in the backup)",
                    title(&name),
                    names::collection(&collections.names, *collection)
                ),
            );
            continue;
        }
        let values = Values { plain, snapshots };
        let alias = Alias {
            name: &name,
            values,
        };
        alias.check_newest(&collections.names, findings);
        alias.write(form, collections, &mut staged, findings);
    }
    staged
}

/// Returns the title of an alias for findings.
fn title(name: &[u8]) -> String {
    format!("alias {:?}", String::from_utf8_lossy(name))
}

fn read(
    family: Family,
    key: &[u8],
    raw: &[u8],
    findings: &mut Findings,
) -> Option<Version<Record>> {
    const SKIPPED: &str = "the alias has to be created again";
    if is_tombstone(raw) {
        return Some(Version::Dropped);
    }
    let record = findings.decoded(
        v2_1::alias(raw),
        "an alias record",
        || key.to_vec(),
        SKIPPED,
    )?;
    let Some(name) = record.name.filter(|name| !name.is_empty()) else {
        let what = "the alias record has no name in it";
        findings.broken("alias-without-name", key, what, SKIPPED);
        return None;
    };
    findings.unknown(family, key, &record.unknown);
    Some(Version::Live((name, record.collection)))
}

#[derive(Debug)]
struct Alias<'n> {
    name: &'n [u8],
    values: Values<Record>,
}

impl Alias<'_> {
    /// Warns if the plain key and the newest snapshot refer to different collections.
    fn check_newest(&self, collections: &CollectionNames, findings: &mut Findings) {
        let newest = self.values.newest().and_then(|(_, newest)| newest.record());
        let (Some((_, plain)), Some((_, newest))) = (self.values.truth(), newest) else {
            return;
        };
        if plain != newest {
            findings.warning(
                "snapshot-differs",
                &Key::Plain(Object::LegacyAlias(self.name)).render(),
                format!(
                    "{} refers to {}, and to {} in its newest snapshot; both are migrated, and Milvus \
                     2.2.3 and later read the snapshot",
                    title(self.name),
                    names::collection(collections, *plain),
                    names::collection(collections, *newest)
                ),
            );
        }
    }

    /// Stages the new keys. In the embedded form they are those of 2.1, key by key, like the official tool writes them.
    /// In the others every existing alias has a newest snapshot that is not a tombstone.
    fn write(
        &self,
        form: CollectionForm,
        collections: &Converted,
        staged: &mut NewKeys,
        findings: &mut Findings,
    ) {
        let (object, database) = match form {
            CollectionForm::Embedded | CollectionForm::Split => (Object::Alias(self.name), None),
            CollectionForm::Database => (
                Object::DatabaseAlias(database::DEFAULT, self.name),
                Some(database::DEFAULT.0),
            ),
        };
        let Values { plain, snapshots } = &self.values;
        for (timestamp, version) in snapshots {
            let value = encode(version, *timestamp, database);
            staged.insert(Key::Snapshot(object, *timestamp).render(), value);
        }
        if form == CollectionForm::Embedded {
            self.report_history(findings);
            if let Some(plain) = plain {
                let value = encode(plain, Timestamp(0), None);
                staged.insert(Key::Plain(object).render(), value);
            }
            return;
        }
        let created = |(_, collection): &Record| {
            let created = collections.created.get(collection);
            created.copied().unwrap_or_default()
        };
        let correction = self.values.correction(created);
        let newest = self.values.newest().map(|(timestamp, _)| timestamp);
        let Some(created) = newest.or(correction.as_ref().map(|it| it.timestamp)) else {
            // A tombstone without a snapshot, on which 2.2.0 would not start.
            return;
        };
        let version = plain.as_ref().unwrap_or(&Version::Dropped);
        let value = encode(version, created, database);
        if let Some(correction) = correction {
            self.report_correction(correction.is_first, findings);
            let key = Key::Snapshot(object, correction.timestamp).render();
            staged.insert(key, value.clone());
        }
        if plain.is_some() {
            staged.insert(Key::Plain(object).render(), value);
        }
    }

    /// Warns if the newest snapshot and the plain key disagree about whether the alias exists.
    fn report_history(&self, findings: &mut Findings) {
        let is_lone = self.values.plain.is_some() && self.values.snapshots.is_empty();
        if is_lone || self.values.correction(|_| Timestamp(0)).is_some() {
            findings.warning(
                "history-not-repaired",
                &Key::Plain(Object::LegacyAlias(self.name)).render(),
                format!(
                    "the newest snapshot does not show {} as its plain key does, and the embedded form \
                     does not change the history: Milvus 2.2.3 and later read the snapshot, and 2.2.0 does \
                     not start on a tombstone without a snapshot",
                    title(self.name)
                ),
            );
        }
    }

    fn report_correction(&self, is_first: bool, findings: &mut Findings) {
        let key = Key::Plain(Object::LegacyAlias(self.name)).render();
        let title = title(self.name);
        if is_first {
            findings.notice(
                "snapshot-missing",
                &key,
                format!(
                    "2.1 has no snapshot of {title}; one is written at its collection's creation time, because \
                     Milvus 2.2.3 and later do not see it otherwise"
                ),
            );
        } else {
            findings.warning(
                "snapshot-contradicts",
                &key,
                format!(
                    "the plain key and the newest snapshot disagree about whether {title} exists; 2.1 read the plain \
                     key, and an additional snapshot makes Milvus 2.2 read the same"
                ),
            );
        }
    }
}

fn encode(version: &Version<Record>, created: Timestamp, database: Option<i64>) -> Vec<u8> {
    match version {
        Version::Live((name, collection)) => v2_2::alias(name, *collection, created, database),
        Version::Dropped => TOMBSTONE.to_vec(),
    }
}
