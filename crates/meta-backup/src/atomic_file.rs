//! Names a finished file durably and without overwriting another file.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::{BackupError, Header, Summary};

/// Maximum number of alternative names.
const NAMES: usize = 1000;

/// The purpose of a partial file; part of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The backup, until it is complete.
    Backup,
    /// The entries of a file in the official format, until their number is known.
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

/// Whether a file name has the form that [`Partial::create`] uses.
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

/// A hidden file next to its target. It is removed on drop, unless it was renamed.
pub(super) struct Partial {
    path: PathBuf,
    /// Whether it was renamed. Another process may use the hidden name after that.
    renamed: bool,
}

impl Partial {
    /// Creates `.<name>.<purpose>-<process id>` next to the target, readable by its owner only.
    pub(super) fn create(target: &Path, purpose: Purpose) -> Result<(Self, File), BackupError> {
        let purpose = purpose.word();
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let process = std::process::id();
        // All containers may have the same process id, so an existing file may belong to another
        // process. Pruning removes abandoned files.
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
        Err(BackupError::NoFreeName(target.to_owned()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.renamed {
            // An error cannot be reported here.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Creates a file with mode 0600; fails if it exists.
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

pub(super) enum Published {
    /// The file has this name.
    New(PathBuf),
    /// A file with the same content exists.
    Existing(Box<Summary>),
}

/// Gives the partial file the target's name, or an alternative if another file has it. `same`
/// returns the summary of an existing file if its content is the same.
pub(super) fn publish(
    disk: &dyn Disk,
    partial: &mut Partial,
    target: &Path,
    header: &Header,
    same: impl Fn(&Path) -> Option<Summary>,
) -> Result<Published, BackupError> {
    for name in names(target, header) {
        let named = take_name(disk, partial, &name);
        if named.map_err(|error| BackupError::file("create", &name, error))? {
            sync_folder(disk, &name)?;
            return Ok(Published::New(name));
        }
        if let Some(summary) = same(&name) {
            // A run that was killed after naming the file may not have synced its folder.
            let synced = File::open(&name).and_then(|file| disk.sync(&file));
            synced.map_err(|error| BackupError::file("sync", &name, error))?;
            sync_folder(disk, &summary.path)?;
            return Ok(Published::Existing(Box::new(summary)));
        }
    }
    Err(BackupError::NoFreeName(target.to_owned()))
}

/// Names the file `to`; returns `false` if a file with this name exists. After linking, `partial`
/// removes the hidden name when it is dropped. It must not be removed twice, because another
/// process with the same process id may use that name by then.
fn take_name(disk: &dyn Disk, partial: &mut Partial, to: &Path) -> io::Result<bool> {
    match disk.link(&partial.path, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(_) => {
            let renamed = claim_name(&partial.path, to)?;
            partial.renamed = renamed;
            Ok(renamed)
        }
    }
}

/// Names a file without hard links: creates an empty file with the name, then renames over it.
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

/// Removes a published file that failed verification.
pub(super) fn remove(disk: &dyn Disk, file: &Path) {
    // The caller reports the failure. If the removal fails too, readers detect the damage.
    let _ = fs::remove_file(file);
    let _ = sync_folder(disk, file);
}

/// Syncs the folder of a file, which makes its name durable.
pub(super) fn sync_folder(disk: &dyn Disk, file: &Path) -> Result<(), BackupError> {
    let folder = folder_of(file);
    let synced = File::open(&folder).and_then(|folder| disk.sync(&folder));
    match synced {
        Ok(()) => Ok(()),
        // Some network file systems do not support this and do not need it.
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

pub(super) fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// The target, then `<stem>-<time>.<ext>`, `<stem>-<time>-1.<ext>`, and so on. The time is that of
/// the header, without punctuation.
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

/// Converts `2026-11-22T18:30:00.5Z` to `20261122T183000Z`; `None` if it is not such a time.
fn compact_time(created_at: &str) -> Option<String> {
    let compact: String = created_at
        .get(..19)?
        .chars()
        .filter(|character| character.is_ascii_digit() || *character == 'T')
        .collect();
    (compact.len() == 15).then(|| format!("{compact}Z"))
}

/// The path of a backup. A name is generated from the header if `path` is a folder or ends in a
/// slash.
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
    fn name_in_a_folder_contains_root_and_revision() {
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
    fn only_names_of_partial_files_are_recognized() {
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
