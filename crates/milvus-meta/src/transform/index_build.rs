//! Index builds of 2.1 in compact form: the part of the 2.2 record is encoded immediately, and only
//! the partition and segment that T11 compares are kept of the file paths.

use super::arena::{Arena, Slot};
use super::findings::Findings;
use super::precedence::{Keyed, keep_greatest, merge};
use crate::codec::v2_1::{self, IndexBuild};
use crate::codec::v2_2;
use crate::keys::{Family, Key, is_tombstone};
use crate::model::{BuildId, PartitionId, SegmentId};
use crate::plural::{agree, counted};

/// The location of a build's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Files {
    /// It has no files.
    None,
    /// In the folder where 2.2 expects the files of this partition and segment.
    In(PartitionId, SegmentId),
    /// In another folder.
    Elsewhere,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Build {
    pub(super) id: BuildId,
    /// Its encoded part of the 2.2 record.
    pub(super) part: Slot,
    pub(super) files: Files,
    /// Whether a segment index refers to it.
    pub(super) referenced: bool,
    /// Whether a segment index that is written uses it.
    pub(super) taken: bool,
}

#[derive(Debug, Default)]
pub(super) struct BuildTable {
    builds: Vec<Build>,
    /// Builds whose key has another id than their value.
    odd: Keyed<BuildId, Build>,
    /// Ids of records that cannot be read.
    unreadable: Vec<BuildId>,
}

impl BuildTable {
    pub(super) fn push(
        &mut self,
        id: BuildId,
        value: &[u8],
        arena: &mut Arena,
        findings: &mut Findings,
    ) {
        if is_tombstone(value) {
            return;
        }
        let key = || Key::IndexBuild(id).render();
        let (record, what) = (v2_1::index_build(value), "an index build");
        let skipped = "Milvus 2.2 builds the index again when it is next created";
        let Some(record) = findings.decoded(record, what, key, skipped) else {
            self.unreadable.push(id);
            return;
        };
        if !record.unknown.is_empty() {
            findings.unknown(Family::IndexBuild, &key(), &record.unknown);
        }
        let build = Build {
            id: record.id,
            part: arena.push(&v2_2::build_part(&record)),
            files: files(&record),
            referenced: false,
            taken: false,
        };
        if record.id == id {
            self.builds.push(build);
        } else {
            keep_greatest(&mut self.odd, record.id, key(), build, findings);
        }
    }

    /// Ends reading; then builds can be looked up.
    pub(super) fn seal(&mut self, findings: &mut Findings) {
        self.unreadable.sort_unstable();
        let odd = std::mem::take(&mut self.odd);
        let key_of = |id| Key::IndexBuild(id).render();
        merge(&mut self.builds, odd, |build| build.id, key_of, findings);
    }

    fn position(&self, id: BuildId) -> Result<usize, usize> {
        self.builds.binary_search_by_key(&id, |build| build.id)
    }

    pub(super) fn find(&mut self, id: BuildId) -> Option<&mut Build> {
        let position = self.position(id).ok()?;
        self.builds.get_mut(position)
    }

    /// Returns the ids of all builds, readable or not.
    pub(super) fn ids(&self) -> impl Iterator<Item = BuildId> + Clone {
        self.builds
            .iter()
            .map(|build| build.id)
            .chain(self.unreadable.iter().copied())
    }

    pub(super) fn is_unreadable(&self, id: BuildId) -> bool {
        self.unreadable.binary_search(&id).is_ok()
    }

    /// Reports the builds that no segment index refers to.
    pub(super) fn report_unreferenced(&self, findings: &mut Findings) {
        let mut unreferenced = self.builds.iter().filter(|build| !build.referenced);
        let Some(first) = unreferenced.next() else {
            return;
        };
        let count = 1 + unreferenced.count();
        findings.notice(
            "unreferenced-build",
            &Key::IndexBuild(first.id).render(),
            format!(
                "{} (first here) {} to no segment index, and {} skipped; the backup keeps {}",
                counted(count, "index build"),
                agree(count, "belongs", "belong"),
                agree(count, "is", "are"),
                agree(count, "it", "them")
            ),
        );
    }
}

/// Determines the location of a build's files. 2.2 only reads the folder
/// `index_files/<build>/<version>/<partition>/<segment>`.
fn files(record: &IndexBuild<'_>) -> Files {
    // Files in the same folder are adjacent: inspect each folder once.
    let mut last = None;
    let paths = record.file_paths.iter().filter(|path| {
        let folder = Some(folder_of(path));
        std::mem::replace(&mut last, folder) != folder
    });
    let mut folders = paths.map(|path| folder(record, path));
    match folders.next() {
        None => Files::None,
        Some(Some((partition, segment)))
            if folders.all(|folder| folder == Some((partition, segment))) =>
        {
            Files::In(partition, segment)
        }
        Some(_) => Files::Elsewhere,
    }
}

/// Returns the part before the last slash.
fn folder_of<'p>(path: &'p &[u8]) -> &'p [u8] {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    &path[..slash.unwrap_or_default()]
}

/// Returns the partition and segment in a path, if the file is in the expected folder.
fn folder(record: &IndexBuild<'_>, path: &[u8]) -> Option<(PartitionId, SegmentId)> {
    let mut parts = path.rsplit(|byte| *byte == b'/').skip(1);
    let mut number = || -> Option<i64> { std::str::from_utf8(parts.next()?).ok()?.parse().ok() };
    let segment = SegmentId(number()?);
    let partition = PartitionId(number()?);
    let version = number()?;
    let build = BuildId(number()?);
    let matches =
        parts.next() == Some(b"index_files") && build == record.id && version == record.version;
    matches.then_some((partition, segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(paths: &[&'static str]) -> Files {
        files(&IndexBuild {
            id: BuildId(9),
            version: 2,
            file_paths: paths.iter().map(|path| path.as_bytes()).collect(),
            ..IndexBuild::default()
        })
    }

    #[test]
    fn t11_folder_of_2_2_is_recognized() {
        let expected = Files::In(PartitionId(6), SegmentId(7));
        assert_eq!(found(&[]), Files::None);
        assert_eq!(found(&["files/index_files/9/2/6/7/IVF"]), expected);
        assert_eq!(
            found(&["index_files/9/2/6/7/a", "x/index_files/9/2/6/7/b"]),
            expected
        );
        for paths in [
            &["files/index_files/8/2/6/7/IVF"][..],
            &["files/index_files/9/1/6/7/IVF"],
            &["files/other/9/2/6/7/IVF"],
            &["files/index_files/9/2/6/7/a", "files/index_files/9/2/6/8/b"],
            &["IVF"],
        ] {
            assert_eq!(found(paths), Files::Elsewhere, "{paths:?}");
        }
    }
}
