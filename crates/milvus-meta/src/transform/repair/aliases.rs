//! Moves the aliases of collections that move into a database.

use super::super::{NewKeys, database};
use super::{Keys, Plan, below, snapshots};
use crate::codec::{patch, v2_2};
use crate::keys::{Key, Object, SNAPSHOT_PREFIX, TOMBSTONE, Timestamp, is_tombstone};

pub(super) fn repair(plan: &mut Plan<'_>) {
    for (key, value) in plan.entries {
        if let Key::Plain(Object::Alias(name)) = Key::parse(key) {
            let moves =
                v2_2::collection_of_alias(value).is_some_and(|id| plan.moved.contains_key(&id));
            if moves || is_moved(plan, name, value) {
                move_along(plan, name, value);
            }
        }
    }
}

/// Returns whether an interrupted repair has already written the alias inside the database.
fn is_moved(plan: &Plan<'_>, name: &[u8], value: &[u8]) -> bool {
    let new = Key::Plain(Object::DatabaseAlias(database::DEFAULT, name)).render();
    let inside = patch::alias_in_database(value, database::DEFAULT.0);
    !is_tombstone(value) && inside.is_ok_and(|inside| plan.has(&new, &inside))
}

/// Returns the snapshots of an alias, with their times.
fn snapshots_of<'t>(
    entries: &'t Keys,
    name: &[u8],
) -> impl Iterator<Item = (Option<Timestamp>, &'t [u8])> {
    let plain = Key::Plain(Object::Alias(name)).render();
    let prefix = [SNAPSHOT_PREFIX.as_bytes(), &plain, &b"_ts"[..]].concat();
    below(entries, prefix).filter_map(move |(key, value)| match Key::parse(key).object() {
        // A longer name may start with this one and its suffix.
        Some((Object::Alias(found), timestamp)) if found == name => Some((timestamp, value)),
        Some(_) | None => None,
    })
}

/// Moves an alias into the database of its collection. Milvus 2.2.9 and later lose an alias outside databases when
/// another one with the same beginning is created or altered.
fn move_along(plan: &mut Plan<'_>, name: &[u8], value: &[u8]) {
    let (old, new) = (
        Object::Alias(name),
        Object::DatabaseAlias(database::DEFAULT, name),
    );
    let plain = Key::Plain(old).render();
    let mut values = vec![(None, value)];
    values.extend(snapshots_of(plan.entries, name));
    if let [_] = values[..] {
        // Milvus 2.2.3 and later do not see it without a snapshot.
        let created = snapshots::created(plan.entries, old, value);
        values.extend(created.map(|created| (Some(created), value)));
    }
    let inside = |value: &[u8]| match is_tombstone(value) {
        true => Some(TOMBSTONE.to_vec()),
        false => patch::alias_in_database(value, database::DEFAULT.0).ok(),
    };
    let (mut moved, mut replaced) = (NewKeys::new(), Vec::new());
    for (timestamp, value) in &values {
        if let Some(value) = inside(value) {
            moved.insert(Key::of(new, *timestamp).render(), value);
            replaced.push(Key::of(old, *timestamp).render());
        }
    }
    // The added snapshot replaces none.
    replaced.retain(|key| plan.entries.contains_key(key));
    // The plain key is written last: until then the new snapshots take precedence over the rest of the old alias.
    let new_plain = Key::Plain(new).render();
    let is_done = moved
        .get(&new_plain)
        .is_some_and(|value| plan.has(&new_plain, value));
    if !is_done {
        let title = format!("alias {:?}", String::from_utf8_lossy(name));
        if moved.len() < values.len() || plan.conflict(moved.iter()).is_some() {
            let message = format!(
                "{title} is there twice, outside and inside the database \"default\", with different records; drop it \
                 in Milvus and create it again"
            );
            return plan.findings.error("two-records", &plain, message);
        }
        let message = format!("{title} moves into the database \"default\" with its collection");
        plan.findings
            .notice("alias-outside-database", &plain, message);
        plan.add(moved);
    }
    plan.changes.replaced.extend(replaced);
}
