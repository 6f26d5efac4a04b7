//! Checks where a backup may be written, before anything is written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::atomic_file::folder_of;
use super::mounts::{Ephemeral, ephemeral};
use super::{BackupError, STDOUT};

/// Folders without regular files: data written there goes to a device, or is lost.
const NO_FILES: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Whether a path is a stream: `-` for standard output, or a named pipe.
#[must_use]
pub fn is_stream(path: &Path) -> bool {
    path == Path::new(STDOUT) || kind(path) == Some("a named pipe")
}

/// Rejects a path where no file can be created.
pub(super) fn check_path(path: &Path) -> Result<(), BackupError> {
    let refused = |what| BackupError::NotRegular {
        path: path.to_owned(),
        what,
    };
    if path.to_str().is_none() {
        return Err(BackupError::NotUtf8(path.to_owned()));
    }
    if path == Path::new(STDOUT) {
        return Err(refused("standard output"));
    }
    if let Some(what) = kind(path) {
        return Err(refused(what));
    }
    let folder = existing_folder(path);
    match NO_FILES.iter().any(|name| folder.starts_with(name)) {
        true => Err(refused("in a folder of devices or of the kernel")),
        false => Ok(()),
    }
}

/// The kind of an existing path that is neither a file nor a folder.
fn kind(path: &Path) -> Option<&'static str> {
    let kind = fs::metadata(path).ok()?.file_type();
    if kind.is_file() || kind.is_dir() {
        return None;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return Some("a named pipe");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
    }
    Some("a device")
}

/// Rejects a path whose file would be lost with the container that the program runs in.
///
/// # Errors
/// [`BackupError::Ephemeral`].
pub fn check_persistent(path: &Path) -> Result<(), BackupError> {
    match lost_with_container(path) {
        None => Ok(()),
        Some(why) => Err(BackupError::Ephemeral {
            path: path.to_owned(),
            why,
        }),
    }
}

/// Why a file at this path would be lost with the container; `None` if it would not, or if this is
/// unknown.
#[must_use]
pub fn lost_with_container(path: &Path) -> Option<Ephemeral> {
    let table = fs::read("/proc/self/mountinfo").ok()?;
    ephemeral(&table, &existing_folder(path))
}

/// The folder in which a file at this path is created, or its nearest existing ancestor, without
/// symbolic links.
fn existing_folder(path: &Path) -> PathBuf {
    let folder = if path.is_dir() {
        path.to_owned()
    } else {
        folder_of(path)
    };
    let folder = std::path::absolute(&folder).unwrap_or(folder);
    let real = |folder: &Path| -> io::Result<PathBuf> { folder.canonicalize() };
    let found = folder.ancestors().find_map(|folder| real(folder).ok());
    found.unwrap_or(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_pipes_and_sockets_are_refused_by_kind() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        for (path, expected) in [
            (Path::new("/dev/null"), "a device"),
            (Path::new("/dev/zero"), "a device"),
            (&link, "a device"),
            (&socket, "a socket"),
            (Path::new("-"), "standard output"),
            (
                Path::new("/dev/backup.mmb"),
                "in a folder of devices or of the kernel",
            ),
            (
                Path::new("/dev/shm/missing/b.mmb"),
                "in a folder of devices or of the kernel",
            ),
            (
                Path::new("/proc/self/b.mmb"),
                "in a folder of devices or of the kernel",
            ),
        ] {
            let error = check_path(path).unwrap_err();
            let BackupError::NotRegular { what, .. } = &error else {
                panic!("{error:?}");
            };
            assert_eq!(*what, expected, "{}", path.display());
            assert!(error.to_string().contains(path.to_str().unwrap()));
        }
        check_path(&folder.path().join("b.mmb")).unwrap();
        check_path(folder.path()).unwrap();
        check_path(&folder.path().join("missing/b.mmb")).unwrap();
    }

    #[test]
    fn a_path_that_is_not_utf_8_is_refused() {
        use std::os::unix::ffi::OsStrExt;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"/tmp/\xff.mmb"));
        assert!(matches!(check_path(path), Err(BackupError::NotUtf8 { .. })));
    }

    #[test]
    fn the_nearest_existing_folder_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/", &link).unwrap();
        for (path, expected) in [
            (folder.path().join("b.mmb"), real.clone()),
            (folder.path().to_owned(), real.clone()),
            (folder.path().join("missing/deep/b.mmb"), real),
            (link.join("b.mmb"), PathBuf::from("/")),
        ] {
            assert_eq!(existing_folder(&path), expected, "{}", path.display());
        }
    }
}
