//! Moves the aliases of collections that move into a database.

use super::super::database;
use super::super::snapshots::RawHistory;
use super::moves::Move;
use super::{Plan, snapshots};
use crate::codec::{patch, v2_2};
use crate::keys::{Key, Object, is_tombstone};

pub(super) fn repair(plan: &mut Plan<'_>) {
    let histories = super::histories(plan.entries, |object| {
        if let Object::Alias(name) = object {
            Some(name)
        } else {
            None
        }
    });
    for (name, history) in &histories {
        if let Some(value) = &history.plain {
            move_along(plan, name, history, value);
        }
    }
}

/// Moves an alias into the database of its collection. Milvus 2.2.9 and later lose an alias outside databases when
/// another one with the same beginning is created or altered.
fn move_along(plan: &mut Plan<'_>, name: &[u8], history: &RawHistory, value: &[u8]) {
    let old = Object::Alias(name);
    // Milvus 2.2.3 and later do not see it without a snapshot.
    let created = match history.snapshots.is_empty() {
        true => snapshots::created(plan.entries, old, value),
        false => None,
    };
    let new = Object::DatabaseAlias(database::DEFAULT, name);
    let inside = |value: &[u8]| patch::alias_in_database(value, database::DEFAULT.0);
    let moves = Move::of(history, old, new, created, inside);
    let moves_along =
        v2_2::collection_of_alias(value).is_some_and(|id| plan.moved.contains_key(&id));
    let is_written = moves.is_written(plan);
    // An interrupted repair has already written the alias inside the database.
    let is_moved = is_written && !is_tombstone(value);
    if !moves_along && !is_moved {
        return;
    }
    if !is_written {
        let plain = Key::Plain(old).render();
        let title = format!("alias {:?}", String::from_utf8_lossy(name));
        if !moves.is_complete() || moves.conflict(plan).is_some() {
            let message = format!(
                "{title} is there twice, outside and inside the database \"default\", with different records; drop it \
                 in Milvus and create it again"
            );
            return plan.findings.error("two-records", &plain, message);
        }
        let message = format!("{title} moves into the database \"default\" with its collection");
        plan.findings
            .notice("alias-outside-database", &plain, message);
    }
    moves.write(plan);
}
