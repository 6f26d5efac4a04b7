//! Gives a finished file its name: never over another file, and durable.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::{BackupError, Header, Summary};

/// How many names beside a taken one are tried.
const NAMES: usize = 1000;

/// What partial files are for; part of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The backup itself, until it gets its name.
    Backup,
    /// The entries of an official file, until their number is known.
    Entries,
}

impl Purpose {
    fn word(self) -> &'static str {
        match self {
            Self::Backup => "partial",
            Self::Entries => "entries",
        }
    }
}

/// Whether a file name is one that [`Partial::create`] gives.
pub(super) fn is_partial_name(name: &str) -> bool {
    let numbers_follow = |purpose: Purpose| {
        let mark = format!(".{}-", purpose.word());
        name.rsplit_once(&mark).is_some_and(|(target, numbers)| {
            let numbers: Vec<_> = numbers.split('-').collect();
            target.len() > 1
                && numbers.len() <= 2
                && numbers.iter().all(|number| {
                    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
                })
        })
    };
    name.starts_with('.')
        && [Purpose::Backup, Purpose::Entries]
            .into_iter()
            .any(numbers_follow)
}

/// A file beside its target, with a name that no listing shows. It goes when this is dropped, unless
/// it was given its name.
pub(super) struct Partial {
    path: PathBuf,
    /// Whether it was renamed: the hidden name may be another program's by now.
    renamed: bool,
}

impl Partial {
    /// Creates `.<name>.<purpose>-<process id>` beside the target, readable by its owner only.
    pub(super) fn create(target: &Path, purpose: Purpose) -> Result<(Self, File), BackupError> {
        let purpose = purpose.word();
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let process = std::process::id();
        // In a container every process may have the same id: what a killed one left is not touched here.
        // Pruning the folder removes it once it is old.
        for attempt in 0..NAMES {
            let path = match attempt {
                0 => target.with_file_name(format!(".{name}.{purpose}-{process}")),
                _ => target.with_file_name(format!(".{name}.{purpose}-{process}-{attempt}")),
            };
            match create_new(&path) {
                Ok(file) => {
                    let renamed = false;
                    return Ok((Self { path, renamed }, file));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(BackupError::file("create", &path, error)),
            }
        }
        Err(BackupError::NoFreeName {
            path: target.to_owned(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.renamed {
            // There is nobody left to tell when it fails.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Creates a file that must not exist, with mode 0600 from the first moment.
fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}

/// How publishing ended.
pub(super) enum Published {
    /// The file has this name now.
    New(PathBuf),
    /// This file is there already and has the same content.
    Existing(Box<Summary>),
}

/// Gives the partial file the target's name, or, where that is taken by something else, a name beside
/// it. `same` says whether a file that is there already has the same content.
pub(super) fn publish(
    disk: &dyn Disk,
    partial: &mut Partial,
    target: &Path,
    header: &Header,
    same: impl Fn(&Path) -> Option<Summary>,
) -> Result<Published, BackupError> {
    for name in names(target, header) {
        let taken = take_name(disk, partial, &name);
        if taken.map_err(|error| BackupError::file("create", &name, error))? {
            sync_folder(disk, &name)?;
            return Ok(Published::New(name));
        }
        if let Some(summary) = same(&name) {
            return Ok(Published::Existing(Box::new(summary)));
        }
    }
    Err(BackupError::NoFreeName {
        path: target.to_owned(),
    })
}

/// Gives the file the name `to` unless something is there already; `false` when it is. A hidden name
/// that is left goes with `partial`, just once: taken away twice, it could be the hidden name of
/// another process with our id.
fn take_name(disk: &dyn Disk, partial: &mut Partial, to: &Path) -> io::Result<bool> {
    match disk.link(&partial.path, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(_) => {
            let moved = claim_name(&partial.path, to)?;
            partial.renamed = moved;
            Ok(moved)
        }
    }
}

/// The way for file systems without hard links: an empty file claims the name, then the rename
/// replaces that file, which nobody but us has made.
fn claim_name(from: &Path, to: &Path) -> io::Result<bool> {
    match create_new(to) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error),
    }
    fs::rename(from, to).inspect_err(|_| {
        let _ = fs::remove_file(to);
    })?;
    Ok(true)
}

/// Removes a file that got its name, but is no backup.
pub(super) fn remove(disk: &dyn Disk, file: &Path) {
    // The failure that led here is reported; whoever opens the file finds it damaged.
    let _ = fs::remove_file(file);
    let _ = sync_folder(disk, file);
}

/// Makes a file's name durable.
pub(super) fn sync_folder(disk: &dyn Disk, file: &Path) -> Result<(), BackupError> {
    let folder = folder_of(file);
    let synced = File::open(&folder).and_then(|folder| disk.sync(&folder));
    match synced {
        Ok(()) => Ok(()),
        // Some network file systems cannot sync a folder, and need not.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(BackupError::file("sync the folder", &folder, error)),
    }
}

/// The folder that a path's last part is in.
pub(super) fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// The target, then `<stem>-<time>.<ext>`, then `<stem>-<time>-1.<ext>`, and so on. The time is the
/// header's, without punctuation.
fn names<'t>(target: &'t Path, header: &Header) -> impl Iterator<Item = PathBuf> + use<'t> {
    let stem = target
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let extension = target
        .extension()
        .map(|extension| format!(".{}", extension.to_string_lossy()))
        .unwrap_or_default();
    let stamp = compact_time(&header.created_at)
        .map(|time| format!("-{time}"))
        .unwrap_or_default();
    let numbered = (0..NAMES).filter_map(move |number| {
        let number = match number {
            0 if stamp.is_empty() => return None,
            0 => String::new(),
            number => format!("-{number}"),
        };
        Some(target.with_file_name(format!("{stem}{stamp}{number}{extension}")))
    });
    std::iter::once(target.to_owned()).chain(numbered)
}

/// `2026-11-22T18:30:00.5Z` as `20261122T183000Z`; `None` for what is no such time.
fn compact_time(created_at: &str) -> Option<String> {
    let compact: String = created_at
        .get(..19)?
        .chars()
        .filter(|character| character.is_ascii_digit() || *character == 'T')
        .collect();
    (compact.len() == 15).then(|| format!("{compact}Z"))
}

/// Where a backup goes: the path itself, or a name made from the header when the path is a folder or
/// ends in a slash.
pub(super) fn target(path: &Path, header: &Header, extension: &str) -> PathBuf {
    if !path.is_dir() && !path.as_os_str().to_string_lossy().ends_with('/') {
        return path.to_owned();
    }
    let root: String = header
        .meta_root
        .trim_matches('/')
        .chars()
        .map(|character| match character {
            '.' | '_' | '-' => character,
            character if character.is_alphanumeric() => character,
            _ => '-',
        })
        .collect();
    path.join(format!("{root}-r{}.{extension}", header.revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            created_at: String::from("2026-11-22T18:30:00.25Z"),
            meta_root: String::from("/by-dev/meta"),
            revision: 7,
            ..Header::default()
        }
    }

    #[test]
    fn d8_alternative_names_contain_the_time() {
        let names: Vec<_> = names(Path::new("dir/my.bak"), &header()).take(4).collect();
        assert_eq!(
            names,
            [
                "dir/my.bak",
                "dir/my-20261122T183000Z.bak",
                "dir/my-20261122T183000Z-1.bak",
                "dir/my-20261122T183000Z-2.bak"
            ]
            .map(PathBuf::from)
        );
        let without_time: Vec<_> = super::names(Path::new("my"), &Header::default())
            .take(3)
            .collect();
        assert_eq!(without_time, ["my", "my-1", "my-2"].map(PathBuf::from));
    }

    #[test]
    fn a_folder_gets_a_name_made_from_root_and_revision() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            target(folder.path(), &header(), "mmb"),
            folder.path().join("by-dev-meta-r7.mmb")
        );
        assert_eq!(
            target(Path::new("new/"), &header(), "mmb"),
            Path::new("new/by-dev-meta-r7.mmb")
        );
        assert_eq!(target(Path::new("a.b"), &header(), "mmb"), Path::new("a.b"));
    }

    #[test]
    fn a_taken_name_is_kept_without_hard_links() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from");
        let to = folder.path().join("to");
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        assert!(!claim_name(&from, &to).unwrap());
        assert_eq!(fs::read_to_string(&to).unwrap(), "old");
        fs::remove_file(&to).unwrap();
        assert!(claim_name(&from, &to).unwrap());
        assert_eq!(fs::read_to_string(&to).unwrap(), "new");
        assert!(!from.exists());
    }

    #[test]
    fn only_names_of_partial_files_are_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.mmb");
        for purpose in [Purpose::Backup, Purpose::Entries] {
            let (first, _file) = Partial::create(&target, purpose).unwrap();
            let (second, _file) = Partial::create(&target, purpose).unwrap();
            for partial in [first, second] {
                let name = partial.path().file_name().unwrap().to_str().unwrap();
                assert!(is_partial_name(name), "{name}");
            }
        }
        for name in [
            "a.mmb.partial-1",
            ".a.mmb",
            ".a.mmb.partial-",
            ".a.mmb.partial-1-2-3",
            ".a.mmb.partial-x",
            ".a.mmb.other-1",
            ".partial-1",
            "..partial-1",
        ] {
            assert!(!is_partial_name(name), "{name}");
        }
    }

    #[test]
    fn temp_files_of_a_killed_process_are_not_reused() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.mmb");
        let (first, _file) = Partial::create(&target, Purpose::Backup).unwrap();
        let (second, _file) = Partial::create(&target, Purpose::Backup).unwrap();
        assert_ne!(first.path(), second.path());
        let kept = first.path().to_owned();
        drop(second);
        assert!(kept.exists());
        drop(first);
        assert!(!kept.exists());
    }
}
