//! Reads the entries of etcd or of a backup file, for the commands that show them.

use std::ops::ControlFlow;
use std::path::Path;

use super::context::{CommandContext, limits};
use super::options::ReadingOptions;
use super::output::exit::Exit;
use super::output::failure::Failure;
use meta_migrate::BackupSource;
use milvus_meta::catalog::{Catalog, Reader};
use milvus_meta::entry::Entry;
use milvus_meta::keys::{Family, KeyRange, MetaRoot};
use milvus_meta::model::CollectionId;

/// Number of names suggested for one that is not found.
const SUGGESTIONS: usize = 3;
/// Minimum similarity of a suggested name, from 0 to 1.
const SIMILAR: f64 = 0.7;

/// The families with the names and aliases of collections.
const NAMING: [Family; 6] = [
    Family::Collection,
    Family::DatabaseCollection,
    Family::Database,
    Family::LegacyAlias,
    Family::Alias,
    Family::DatabaseAlias,
];

/// The source of entries: a backup file, or etcd.
pub(in crate::cli) struct EntrySource {
    file: Option<BackupSource>,
}

impl EntrySource {
    /// Opens the backup file, if one is given.
    pub(in crate::cli) fn open(
        context: &CommandContext,
        from: Option<&Path>,
        reading: ReadingOptions,
    ) -> Result<Self, Failure> {
        let file = from.map(|path| context.open(path, reading)).transpose()?;
        Ok(Self { file })
    }

    /// Returns the meta root of the entries.
    pub(in crate::cli) fn root<'a>(&'a self, context: &'a CommandContext) -> &'a MetaRoot {
        let file = self.file.as_ref();
        file.map_or(&context.config.root, BackupSource::root)
    }

    /// Whether entries come from a file, which has no leased keys.
    pub(in crate::cli) fn is_file(&self) -> bool {
        self.file.is_some()
    }

    /// Calls `visit` for every entry in the ranges until it breaks. Of a file, it gets all entries. Returns the revision.
    pub(in crate::cli) fn each(
        &self,
        context: &CommandContext,
        ranges: &[KeyRange],
        visit: impl FnMut(&Entry) -> ControlFlow<()>,
    ) -> Result<i64, Failure> {
        self.read(context, ranges, true, visit)
    }

    /// Calls `visit` for all entries below the meta root. Fails if etcd has none.
    pub(in crate::cli) fn all(
        &self,
        context: &CommandContext,
        mut visit: impl FnMut(&Entry),
    ) -> Result<(), Failure> {
        let ranges = [self.root(context).range()];
        self.read(context, &ranges, false, |entry| {
            visit(entry);
            ControlFlow::Continue(())
        })?;
        Ok(())
    }

    fn read(
        &self,
        context: &CommandContext,
        ranges: &[KeyRange],
        may_be_empty: bool,
        mut visit: impl FnMut(&Entry) -> ControlFlow<()>,
    ) -> Result<i64, Failure> {
        let mut visit = |entry: Entry| visit(&entry);
        match &self.file {
            Some(file) => context.offline(|environment| file.entries(environment, visit)),
            None => context.read(async |store, environment| {
                context.require_metadata(store, may_be_empty).await?;
                let (root, limits) = (&context.config.root, limits());
                meta_migrate::entries(store, root, ranges, &limits, environment, &mut visit).await
            }),
        }
    }

    /// Finds a collection by its name, alias or id. Reads only the families with names.
    pub(in crate::cli) fn collection(
        &self,
        context: &CommandContext,
        text: &str,
    ) -> Result<CollectionId, Failure> {
        let root = self.root(context);
        let mut reader = Reader::new(root.clone());
        let ranges = NAMING.iter().flat_map(|family| family.ranges(root));
        let ranges: Vec<KeyRange> = ranges.collect();
        self.each(context, &ranges, |entry| {
            let relative = root.strip(&entry.key).unwrap_or_default();
            if NAMING.contains(&Family::of(relative)) {
                reader.push(entry);
            }
            ControlFlow::Continue(())
        })?;
        match (find(&reader.finish(), text), text.parse()) {
            // Its record may be missing while other keys exist.
            (Err(_), Ok(id)) => Ok(CollectionId(id)),
            (found, _) => found,
        }
    }
}

/// Finds a collection by its name, alias or id.
pub(in crate::cli) fn find(catalog: &Catalog, text: &str) -> Result<CollectionId, Failure> {
    let named: Vec<_> = catalog
        .collections
        .iter()
        .filter(|one| one.name == text)
        .collect();
    if let [first, second, ..] = named.as_slice() {
        let message = format!("several collections are named {text:?}; name one by its id");
        let ids = [first, second].map(|one| format!("{} in database {}", one.id, one.database));
        return Err(Failure::usage(message).hint(ids.join(", ")));
    }
    let alias = catalog.aliases.iter().find(|alias| alias.name == text);
    let id = || text.parse().ok().map(CollectionId);
    let found = named.first().map(|one| one.id);
    let found = found
        .or_else(|| alias.map(|alias| alias.collection_id))
        .or_else(|| id().filter(|id| catalog.mentions(*id)));
    found.ok_or_else(|| {
        let message = format!("no collection is named {text:?} or has this alias or id");
        let names = catalog.collections.iter().map(|one| one.name.as_str());
        let aliases = catalog.aliases.iter().map(|one| one.name.as_str());
        not_found(message, text, names.chain(aliases))
    })
}

/// The failure to find a name, with suggestions.
pub(in crate::cli) fn not_found<'n>(
    message: String,
    text: &str,
    names: impl Iterator<Item = &'n str>,
) -> Failure {
    let failure = Failure::new(Exit::Failed, message).unchanged();
    let similar = nearest(text, names);
    if similar.is_empty() {
        return failure;
    }
    let names: Vec<String> = similar.iter().map(|name| format!("{name:?}")).collect();
    failure.hint(format!("did you mean {}?", names.join(" or ")))
}

/// Returns the names most similar to a text, best first.
fn nearest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let (folded, similarity) = (text.to_lowercase(), strsim::jaro_winkler);
    let mut rated: Vec<(f64, &str)> = names
        .map(|name| (similarity(&folded, &name.to_lowercase()), name))
        .filter(|(rate, _)| *rate > SIMILAR)
        .collect();
    rated.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    rated.dedup_by_key(|(_, name)| *name);
    rated.truncate(SUGGESTIONS);
    rated.into_iter().map(|(_, name)| name).collect()
}
