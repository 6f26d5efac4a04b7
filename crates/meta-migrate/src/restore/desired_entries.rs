//! The desired entries in etcd according to a backup, moved to the restored root.

use std::path::PathBuf;
use std::sync::Arc;

use meta_backup::{Backup, BackupError, Coverage, Tolerance};
use meta_report::BackupRef;
use milvus_meta::entry::Entry;
use milvus_meta::keys::{Family, KeyRange, MetaRoot};

use super::old_root::OldRootSearch;
use crate::background::blocking;
use crate::error::EngineErrorKind;
use crate::throughput::stream::feed;

/// Opens a backup of this root, or with `moved_from` a backup of any root. If the file contains
/// several instances, opens the one at that root. Its content is verified when it is first read,
/// which is for the comparison with etcd, before anything is written.
pub(super) async fn open(
    path: PathBuf,
    root: &MetaRoot,
    moved_from: Option<&MetaRoot>,
    tolerance: Tolerance,
) -> Result<Backup, EngineErrorKind> {
    let wanted = root.meta_root().to_owned();
    let opened = blocking({
        let (path, wanted) = (path.clone(), wanted.clone());
        let fallback = moved_from.map(|root| root.meta_root().to_owned());
        move || match fallback {
            Some(fallback) => Backup::open_instance(Some(&fallback), |root| {
                Backup::announced(&path, root, tolerance)
            }),
            None => Backup::announced(&path, Some(&wanted), tolerance),
        }
    })
    .await?;
    let backup = opened?;
    let found = backup.summary().meta_root.clone();
    // The official tool omits a leading slash in the header.
    let same = found.trim_start_matches('/') == wanted.trim_start_matches('/');
    if !same && moved_from.is_none() {
        return Err(EngineErrorKind::WrongRoot {
            path,
            found,
            wanted,
        });
    }
    Ok(backup)
}

/// Checks that the file still contains the recorded backup.
pub(super) fn check_digest(backup: &Backup, recorded: &BackupRef) -> Result<(), EngineErrorKind> {
    let found = backup.summary().reference();
    if found.digest == recorded.digest {
        return Ok(());
    }
    Err(EngineErrorKind::OtherBackup {
        path: found.path.into(),
        recorded: recorded.digest.clone(),
        found: found.digest,
    })
}

/// The keys in etcd that a backup determines, and their desired values.
///
/// Sessions and the lock are never written, whatever the backup contains, nor is anything outside
/// the meta root, the journal and the history, or the kv root. The server id counter is only put if
/// it is missing: with a lower counter, Milvus would assign ids twice.
#[derive(Clone)]
pub(super) struct DesiredEntries {
    backup: Arc<Backup>,
    root: MetaRoot,
    sessions: KeyRange,
    records: [Vec<u8>; 2],
    covered: Option<Vec<KeyRange>>,
    with_session_id: bool,
}

impl DesiredEntries {
    /// Creates the desired entries of these families; of all if `families` is empty.
    pub(super) fn new(
        backup: Arc<Backup>,
        root: &MetaRoot,
        with_session_id: bool,
        families: &[Family],
    ) -> Self {
        let is_all = families.is_empty();
        let covered = match backup.coverage() {
            Coverage::All | Coverage::Entries if is_all => None,
            Coverage::Families(held) if is_all => Some(ranges_of(root, held)),
            Coverage::All | Coverage::Entries | Coverage::Families(_) => {
                Some(ranges_of(root, families))
            }
        };
        let with_session_id = with_session_id && (is_all || families.contains(&Family::Session));
        Self {
            backup,
            root: root.clone(),
            sessions: root.range_below("session/"),
            records: root.record_keys(),
            covered,
            with_session_id,
        }
    }

    /// Returns whether the backup does not determine an entry in etcd.
    pub(super) fn ignores(&self, entry: &Entry) -> bool {
        entry.lease != 0 || !self.decides(&entry.key)
    }

    fn decides(&self, key: &[u8]) -> bool {
        if self.sessions.contains(key) {
            return self.with_session_id && key == self.root.session_id_key();
        }
        !self.records.iter().any(|record| record == key)
            && self.root.strip(key).is_some()
            && self
                .covered
                .as_ref()
                .is_none_or(|ranges| ranges.iter().any(|range| range.contains(key)))
    }

    /// Returns the name of the backup in reports.
    pub(super) fn reference(&self) -> BackupRef {
        self.backup.summary().reference()
    }

    /// Returns a search for values that contain the backup's root path, if that differs from the
    /// target's.
    pub(super) fn old_root(&self) -> Option<OldRootSearch> {
        let from = &self.backup.summary().meta_root;
        OldRootSearch::new(from, self.root.meta_root(), self.root.root_path())
    }

    /// Returns the desired entries in ascending order.
    pub(super) fn entries(
        &self,
    ) -> Result<impl Iterator<Item = Result<Entry, BackupError>> + '_, BackupError> {
        let from = self.backup.summary().meta_root.clone();
        let entries = self.backup.entries()?;
        Ok(entries.filter_map(move |entry| match entry {
            Ok(entry) => self.moved(&from, entry).map(Ok),
            Err(error) => Some(Err(error)),
        }))
    }

    fn moved(&self, from: &str, entry: Entry) -> Option<Entry> {
        if from == self.root.meta_root() {
            return self.decides(&entry.key).then_some(entry);
        }
        let relative = entry
            .key
            .strip_prefix(from.as_bytes())?
            .strip_prefix(b"/")?;
        let key = self.root.join(relative);
        self.decides(&key).then(|| Entry::new(key, entry.value))
    }

    /// Streams the desired entries from a blocking thread, in chunks.
    pub(super) fn stream<T: Send + 'static>(
        &self,
        mut make: impl FnMut(u64, Entry) -> Option<T> + Send + 'static,
    ) -> tokio::sync::mpsc::Receiver<Result<Vec<T>, EngineErrorKind>> {
        let image = self.clone();
        feed(move |sink| {
            let entries = sink.checked(image.entries())?;
            for (index, entry) in (0..).zip(entries) {
                let entry = sink.checked(entry)?;
                if let Some(item) = make(index, entry) {
                    sink.push(item)?;
                }
            }
            Ok(())
        })
    }
}

pub(super) fn ranges_of(root: &MetaRoot, families: &[Family]) -> Vec<KeyRange> {
    families
        .iter()
        .flat_map(|family| family.ranges(root))
        .collect()
}
