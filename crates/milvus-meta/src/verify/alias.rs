//! Aliases inside and outside databases.

use std::collections::BTreeMap;

use prost::Message as _;

use super::Report;
use super::collection::LiveCollections;
use super::versioned_object::{History, Value};
use crate::keys::{Object, Timestamp, is_tombstone};
use crate::model::{CollectionId, DatabaseId};
use crate::proto::v2_2::etcd::AliasInfo;

#[derive(Debug, Default)]
pub(super) struct Aliases {
    records: BTreeMap<(DatabaseId, Vec<u8>), History<CollectionId>>,
}

impl Aliases {
    pub(super) fn push(
        &mut self,
        object: Object<'_>,
        timestamp: Option<Timestamp>,
        key: &[u8],
        value: &[u8],
        report: &mut Report,
    ) {
        let (database, name) = match object {
            Object::Alias(name) => (DatabaseId(0), name),
            Object::DatabaseAlias(database, name) => (database, name),
            Object::Collection(_)
            | Object::LegacyAlias(_)
            | Object::DdMessageSend
            | Object::DdOperation
            | Object::Partition(..)
            | Object::Field(..)
            | Object::Database(_)
            | Object::DatabaseCollection(..) => return,
        };
        let read = if is_tombstone(value) {
            Value::Dropped
        } else {
            match AliasInfo::decode(value) {
                Ok(info) => {
                    if info.alias_name.as_bytes() != name {
                        report.warning(
                            "id-mismatch",
                            key,
                            format!("the record is that of alias {:?}", info.alias_name),
                        );
                    }
                    Value::Live(CollectionId(info.collection_id))
                }
                Err(error) => {
                    report.unreadable(key, "alias", &error);
                    Value::Unreadable
                }
            }
        };
        let history = self.records.entry((database, name.to_vec())).or_default();
        history.push(timestamp, key, read);
    }

    pub(super) fn finish(&self, live: &LiveCollections, report: &mut Report) {
        for history in self.records.values() {
            history.check("alias", true, report);
            let Some(collection) = history.live() else {
                continue;
            };
            if live.get(*collection).is_none() {
                report.error(
                    "alias-without-collection",
                    &history.key,
                    format!("the alias refers to collection {collection}, which does not exist"),
                );
            }
        }
    }
}
