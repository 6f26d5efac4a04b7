//! Aliases in both layouts, by name.

use std::collections::{BTreeMap, BTreeSet};

use super::super::findings::Findings;
use super::super::names::{self, CollectionNames};
use super::super::{NewKeys, database};
use super::{Kept, contradiction, is_plain, object_of};
use crate::codec::v2_2;
use crate::keys::{Key, Object};
use crate::model::CollectionId;

const ALTER: &str = "Alter or drop the alias in Milvus 2.1 or in 2.2, so that both agree";

impl Kept {
    /// Removes the aliases that 2.2 has from the converted ones.
    pub(in super::super) fn aliases(
        &self,
        aliases: &mut NewKeys,
        names: &CollectionNames,
        others: &CollectionNames,
        findings: &mut Findings,
    ) {
        let theirs = by_name(&self.keys);
        let mine = by_name(aliases);
        let mut kept = BTreeSet::new();
        for (name, old) in &mine {
            let key = Key::Plain(Object::LegacyAlias(name)).render();
            let title = format!("alias {:?}", String::from_utf8_lossy(name));
            let Some(new) = theirs.get(name) else {
                let mut others = others.iter().filter(|_| old.is_some());
                if let Some((id, _)) = others.find(|(_, other)| other.as_bytes() == *name) {
                    let message = format!(
                        "{title} of 2.1 and {} of 2.2 have the same name. Rename or drop one of the two in Milvus, \
                         then run meta-migration migrate again",
                        names::collection(names, *id)
                    );
                    findings.error("name-taken", &key, message);
                }
                continue;
            };
            if old.is_some() && old != new {
                let shown = |id: &Option<CollectionId>| match id {
                    Some(id) => format!("of {}", names::collection(names, *id)),
                    None => "dropped".to_owned(),
                };
                let both = format!("it is {} in 2.1 and {} in 2.2", shown(old), shown(new));
                contradiction::report(findings, &key, &title, vec![both], ALTER);
            }
            kept.insert(name.to_vec());
        }
        aliases.retain(|key, _| !name_of(key).is_some_and(|name| kept.contains(name)));
    }
}

/// Returns the collection of each alias, by name; `None` if it was dropped.
fn by_name(keys: &NewKeys) -> BTreeMap<&[u8], Option<CollectionId>> {
    let mut found = BTreeMap::new();
    for (key, value) in keys {
        let Some(name) = name_of(key) else { continue };
        let collection = found.entry(name).or_default();
        if is_plain(key) {
            *collection = v2_2::collection_of_alias(value);
        }
    }
    found
}

fn alias_name(object: Object<'_>) -> Option<&[u8]> {
    let (Object::Alias(name) | Object::DatabaseAlias(database::DEFAULT, name)) = object else {
        return None;
    };
    Some(name)
}

fn name_of(key: &[u8]) -> Option<&[u8]> {
    object_of(key).and_then(alias_name)
}
