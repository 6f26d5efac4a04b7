//! Aliases of collections that move into a database move along.

use super::super::database;
use super::super::findings::Findings;
use super::collections::Moved;
use super::{Changes, Keys, snapshots};
use crate::codec::patch;
use crate::keys::{Key, Object, is_tombstone};
use crate::model::CollectionId;
use crate::proto::v2_2::etcd::AliasInfo;
use prost::Message as _;

pub(super) fn repair(there: &Keys, moved: &Moved, changes: &mut Changes, findings: &mut Findings) {
    for (key, value) in there {
        let key = Key::parse(key);
        if let Key::Plain(Object::Alias(name)) = key {
            let moves = collection_of(value).is_some_and(|id| moved.contains_key(&id));
            if moves || is_moved(there, name, value) {
                move_along(there, name, changes, findings);
            }
        }
    }
}

/// The collection that a record of 2.2 refers to.
pub(super) fn collection_of(value: &[u8]) -> Option<CollectionId> {
    if is_tombstone(value) {
        return None;
    }
    AliasInfo::decode(value)
        .ok()
        .map(|info| CollectionId(info.collection_id))
}

/// Whether the same alias is inside the database already, as an interrupted repair leaves it.
fn is_moved(there: &Keys, name: &[u8], value: &[u8]) -> bool {
    let new = Key::Plain(Object::DatabaseAlias(database::DEFAULT, name)).render();
    let inside = patch::alias_in_database(value, database::DEFAULT.0).ok();
    !is_tombstone(value) && inside.is_some() && there.get(&new) == inside.as_ref()
}

/// The snapshots of an object, by their keys.
fn snapshots_of<'t>(
    there: &'t Keys,
    object: Object<'_>,
) -> impl Iterator<Item = (&'t Vec<u8>, &'t Vec<u8>)> {
    let mut prefix = crate::keys::SNAPSHOT_PREFIX.as_bytes().to_vec();
    prefix.extend(Key::Plain(object).render());
    prefix.extend_from_slice(b"_ts");
    let below = prefix.clone();
    there
        .range(prefix..)
        .take_while(move |(key, _)| key.starts_with(&below))
        .filter(move |(key, _)| matches!(Key::parse(key), Key::Snapshot(Object::Alias(_), _)))
}

/// An alias follows its collection into the database: Milvus 2.2.9 and later lose aliases outside one when
/// another with the same beginning is created or altered.
fn move_along(there: &Keys, name: &[u8], changes: &mut Changes, findings: &mut Findings) {
    let old = Object::Alias(name);
    let new = Object::DatabaseAlias(database::DEFAULT, name);
    let plain = Key::Plain(old).render();
    let mut keys: Vec<(Vec<u8>, Vec<u8>, &Vec<u8>)> = Vec::new();
    if let Some(value) = there.get(&plain) {
        keys.push((plain.clone(), Key::Plain(new).render(), value));
    }
    for (key, value) in snapshots_of(there, old) {
        // A longer name may begin like this one and its suffix.
        if let Key::Snapshot(Object::Alias(found), timestamp) = Key::parse(key)
            && found == name
        {
            keys.push((key.clone(), Key::Snapshot(new, timestamp).render(), value));
        }
    }
    let only = keys.first().filter(|_| keys.len() == 1);
    if let Some(value) = only.map(|(_, _, value)| *value)
        && let Some(created) = snapshots::created(there, old, value)
    {
        // Milvus 2.2.3 and later do not see it without a snapshot.
        keys.push((plain.clone(), Key::Snapshot(new, created).render(), value));
    }
    let title = format!("alias {:?}", String::from_utf8_lossy(name));
    let moved: Vec<_> = keys
        .iter()
        .filter_map(|(old, new, value)| {
            let value = if is_tombstone(value) {
                (*value).clone()
            } else {
                patch::alias_in_database(value, database::DEFAULT.0).ok()?
            };
            Some((old, new, value))
        })
        .collect();
    // The plain key is written last: until then the new snapshots take precedence over the rest of the old alias.
    let new_plain = Key::Plain(new).render();
    let is_done = moved
        .iter()
        .any(|(_, key, value)| **key == new_plain && there.get(*key) == Some(value));
    if is_done {
        changes
            .replaced
            .extend(moved.into_iter().map(|(old, ..)| old.clone()));
        return;
    }
    let other = moved
        .iter()
        .find(|(_, new, value)| there.get(*new).is_some_and(|found| found != value));
    if moved.len() < keys.len() || other.is_some() {
        let message = format!(
            "{title} is there twice, outside and inside the database \"default\", with different records; drop it \
             in Milvus and create it again"
        );
        findings.error("two-records", &plain, message);
        return;
    }
    findings.notice(
        "alias-outside-database",
        &plain,
        format!("{title} moves into the database \"default\" with its collection"),
    );
    for (old, new, value) in moved {
        if !there.contains_key(new) {
            changes.visible.insert(new.clone(), value);
        }
        changes.replaced.insert(old.clone());
    }
}
