//! T2b: the database `default`, which 2.2.9 and later require for collections in it.

use super::NewKeys;
use crate::codec::v2_2;
use crate::keys::{Key, Object, Timestamp};
use crate::model::DatabaseId;

/// The id of records outside any database.
pub(super) const NONE: DatabaseId = DatabaseId(0);

/// The id of the database `default`.
pub(super) const DEFAULT: DatabaseId = DatabaseId(1);

/// Stages the database, with the creation time of the oldest collection, because the transform has
/// no clock. Stages nothing without a collection.
pub(super) fn stage(oldest: Option<Timestamp>, staged: &mut NewKeys) {
    let Some(oldest) = oldest else {
        return;
    };
    let value = v2_2::default_database(oldest);
    let object = Object::Database(DEFAULT);
    staged.insert(Key::Snapshot(object, oldest).render(), value.clone());
    staged.insert(Key::Plain(object).render(), value);
}
