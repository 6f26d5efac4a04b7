//! Searches etcd for Milvus instances if the given root has no metadata.

use std::collections::VecDeque;

use meta_store::{RangeRequest, Store, StoreError, StoreErrorKind};
use milvus_meta::entry::printable;
use milvus_meta::keys::{KeyRange, MetaRoot};

use crate::Environment;
use crate::context::Etcd;
use crate::error::{EngineError, EngineErrorKind, Instances, while_doing};
use crate::journal_store::JournalStore;
use crate::limits::Limits;
use crate::retry::read;

/// Maximum number of requests in a search.
const REQUESTS_MAX: usize = 400;
/// Maximum number of keys directly in a folder that a search skips.
const LEAVES_MAX: usize = 64;

/// Fails if there is no key below the meta root and no journal.
///
/// # Errors
/// [`EngineError`] with [`EngineErrorKind::NoMetadata`] in that case; other errors if etcd cannot
/// be read.
pub async fn require_metadata<S: Store>(
    store: &S,
    root: &MetaRoot,
    limits: &Limits,
) -> Result<(), EngineError> {
    // A few keys are read: no progress is shown, and nothing is cancelled.
    let environment = Environment::silent();
    let etcd = environment.etcd(store, root, limits);
    check(etcd).await.map_err(EngineError::before_writing)
}

async fn check<S: Store>(etcd: Etcd<'_, S>) -> Result<(), EngineErrorKind> {
    let request = RangeRequest::new(etcd.root.range()).keys_only().limit(1);
    let found = etcd.read(request, "reading the metadata").await?;
    let is_empty = found.entries.is_empty();
    // If there is a journal, the command itself reports what it records.
    if !is_empty || JournalStore::exists(etcd).await? {
        return Ok(());
    }
    let found = match search(etcd.store, etcd.limits).await {
        Ok(instances) => Some(instances),
        Err(error) if error.kind == StoreErrorKind::Denied => None,
        Err(error) => return Err(while_doing("looking for Milvus instances")(error)),
    };
    Err(EngineErrorKind::NoMetadata {
        root: etcd.root.clone(),
        instances: found,
    })
}

/// Searches etcd folder by folder, breadth first. Reads one key per folder and skips the contents
/// of instances.
async fn search<S: Store>(store: &S, limits: &Limits) -> Result<Instances, StoreError> {
    let mut search = Search {
        store,
        limits,
        requests: 0,
    };
    let mut instances = Instances {
        roots: Vec::new(),
        is_complete: true,
    };
    let mut folders = VecDeque::from([Vec::new()]);
    while let Some(folder) = folders.pop_front() {
        if let Some(found) = search.list_folder(&folder).await? {
            instances.is_complete &= found.is_complete;
            folders.extend(found.folders);
        } else {
            let root = folder.strip_suffix(b"/").unwrap_or(&folder);
            instances.roots.push(printable(root));
        }
    }
    Ok(instances)
}

/// The subfolders of a folder, with their trailing slashes.
struct Subfolders {
    folders: Vec<Vec<u8>>,
    is_complete: bool,
}

struct Search<'a, S: Store> {
    store: &'a S,
    limits: &'a Limits,
    requests: usize,
}

impl<S: Store> Search<'_, S> {
    /// Returns the subfolders; `None` if the folder contains families of a Milvus instance.
    async fn list_folder(&mut self, folder: &[u8]) -> Result<Option<Subfolders>, StoreError> {
        let all = if folder.is_empty() {
            KeyRange::new(vec![0], vec![u8::MAX; 16])
        } else {
            KeyRange::prefix(folder)
        };
        let mut rest = all.clone();
        let mut folders = Vec::new();
        let mut leaves = 0;
        let mut is_complete = false;
        while !is_complete && self.requests < REQUESTS_MAX && leaves < LEAVES_MAX {
            let Some(key) = self.first(rest.clone()).await? else {
                is_complete = true;
                break;
            };
            let name = key.strip_prefix(folder).unwrap_or(&key);
            let Some(slash) = name.iter().position(|byte| *byte == b'/') else {
                leaves += 1;
                rest = rest.after(&key);
                continue;
            };
            let (name, inside) = (&name[..slash], &key[..=folder.len() + slash]);
            let is_instance = match name {
                b"root-coord" | b"datacoord-meta" => true,
                b"session" => {
                    let counter = [inside, b"id"].concat();
                    self.first(KeyRange::single(counter)).await?.is_some()
                }
                _ => false,
            };
            if is_instance {
                return Ok(None);
            }
            let next = KeyRange::prefix(inside).end;
            folders.push(inside.to_vec());
            rest = KeyRange::new(next, all.end.clone());
            is_complete = rest.is_empty();
        }
        Ok(Some(Subfolders {
            folders,
            is_complete,
        }))
    }

    async fn first(&mut self, range: KeyRange) -> Result<Option<Vec<u8>>, StoreError> {
        self.requests += 1;
        let request = RangeRequest::new(range).keys_only().limit(1);
        let found = read(self.store, self.limits.retry_timeout, request).await?;
        Ok(found.entries.first().map(|entry| entry.key.to_vec()))
    }
}
