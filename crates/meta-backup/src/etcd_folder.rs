//! A data folder of etcd: the database, and the write-ahead log with requests newer than the
//! database.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use super::import::last_log_index;
use milvus_meta::plural::counted;

/// Paths of the database in a data folder, or in its folder `member`.
const DATABASES: [&str; 2] = ["member/snap/db", "snap/db"];

/// The database in a data folder; `None` if the path is not a data folder.
pub(super) fn database_in(folder: &Path) -> Option<PathBuf> {
    let databases = DATABASES.iter().map(|name| folder.join(name));
    databases.into_iter().find(|path| path.is_file())
}

/// The write-ahead log that belongs to a database.
pub(super) fn log_of(database: &Path) -> Option<PathBuf> {
    let folder = database.parent()?;
    let is_in_use = folder.file_name()? == "snap";
    let log = folder.parent()?.join("wal");
    (is_in_use && log.is_dir()).then_some(log)
}

/// Describes the state of a database, and the newer requests in the log, by raft index.
pub(super) fn note(log: &Path, index: u64, revision: i64) -> String {
    let state = format!("the database shows revision {revision} (raft index {index})");
    match last_index(log) {
        Ok(Some(last)) if last > index => format!(
            "{state}; the write-ahead log in {} contains {}, up to index {last}, not read: \
             to include them, start etcd on a copy of the folder and run backup on it",
            log.display(),
            counted(last - index, "newer request")
        ),
        Ok(Some(_)) => format!("{state}; the write-ahead log contains nothing newer"),
        Ok(None) => format!("{state}; the write-ahead log in {} is empty", log.display()),
        Err(error) => format!(
            "{state}; the write-ahead log in {} may contain newer requests: it cannot be read: {error}",
            log.display()
        ),
    }
}

/// The last raft index in the files of a log.
fn last_index(folder: &Path) -> io::Result<Option<u64>> {
    let mut files = Vec::new();
    for item in fs::read_dir(folder)? {
        let path = item?.path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            files.push(path);
        }
    }
    // The names start with a sequence number of fixed width.
    files.sort();
    let mut last = None;
    for path in files {
        let file = BufReader::with_capacity(256 << 10, File::open(path)?);
        last = last_log_index(file)?.or(last);
    }
    Ok(last)
}
