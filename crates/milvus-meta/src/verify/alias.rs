//! Aliases inside and outside databases.

use std::collections::BTreeMap;

use prost::Message as _;

use super::collection::LiveCollections;
use super::versioned_object::{History, Version};
use crate::model::{CollectionId, DatabaseId};
use crate::proto::v2_2::etcd::AliasInfo;
use crate::transform::Findings;

#[derive(Debug, Default)]
pub(super) struct Aliases {
    records: BTreeMap<(DatabaseId, Vec<u8>), History<CollectionId>>,
}

impl Aliases {
    pub(super) fn push(&mut self, it: Version<'_>, report: &mut Findings) {
        let Some((database, name)) = it.object.alias() else {
            return;
        };
        let record = report
            .read(it, "alias", AliasInfo::decode(it.value))
            .map(|info| {
                if info.alias_name.as_bytes() != name {
                    let message = format!("the record is that of alias {:?}", info.alias_name);
                    report.warning("id-mismatch", it.key, message);
                }
                CollectionId(info.collection_id)
            });
        let history = self.records.entry((database, name.to_vec())).or_default();
        history.push(it, record);
    }

    pub(super) fn finish(&self, live: &LiveCollections, report: &mut Findings) {
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
