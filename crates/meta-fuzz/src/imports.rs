//! Archives, and etcd data folders with write-ahead logs.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::Path;

use meta_backup::{Backup, BackupError, Tolerance};
use tempfile::TempDir;

use super::backups::gzip;
use super::bytes::Bytes;

/// Memory in addition to the multiple of the file size: buffers of nested decompressors, of which
/// zstd has a window.
const FIXED_BYTES: u64 = 48 << 20;
const BYTES_PER_BYTE: u64 = 1 << 12;

const DATABASE: &[u8] = include_bytes!("../../../testdata/backups/etcd-3.5.1.snapshot.db");

thread_local! {
    /// A data folder whose log is replaced for each input.
    static DATA: TempDir = data_folder();
}

fn data_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("member/snap")).unwrap();
    fs::create_dir_all(folder.path().join("member/wal")).unwrap();
    let database = &DATABASE[..DATABASE.len() - 32];
    fs::write(folder.path().join("member/snap/db"), database).unwrap();
    folder
}

/// The first byte selects how the rest is used.
pub fn run(input: &[u8]) {
    let mut input = Bytes::new(input);
    match input.byte() % 6 {
        0 => archive(input.rest()),
        1 => archive(&tar(&mut input)),
        2 => archive(&zip(&mut input)),
        3 => archive(&zstd::bulk::compress(&tar(&mut input), 1).unwrap()),
        4 => archive(&gzip(input.rest())),
        _ => DATA.with(|folder| log(folder.path(), &mut input)),
    }
}

fn open(path: &Path) -> Result<Backup, BackupError> {
    Backup::open_with(path, Some("a/meta"), Tolerance::ALL)
}

/// Checks that an archive is rejected or read, with memory in proportion to its size, and that it
/// reads the same again.
fn archive(file: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, file).unwrap();
    let mut outcome = None;
    let measured = allocation_counter::measure(|| outcome = Some(open(&path)));
    assert!(
        measured.bytes_max <= FIXED_BYTES + BYTES_PER_BYTE * file.len() as u64,
        "{} bytes for a file of {}",
        measured.bytes_max,
        file.len()
    );
    let Some(Ok(backup)) = outcome else {
        return;
    };
    for _ in 0..2 {
        let entries = backup.entries().unwrap().map(Result::unwrap);
        assert_eq!(entries.count() as u64, backup.summary().entries);
    }
    assert_eq!(
        open(&path).unwrap().summary().digest,
        backup.summary().digest
    );
}

/// Checks that the database is read independent of the log, with a note about the log.
fn log(folder: &Path, input: &mut Bytes<'_>) {
    let mut file = Vec::new();
    if input.byte() < 128 {
        file.extend_from_slice(input.rest());
    }
    while !input.is_empty() {
        let record = input.chunk();
        let padding = (8 - record.len() % 8) % 8;
        let mut head = record.len() as u64;
        if padding > 0 {
            head |= (0x80 | padding as u64) << 56;
        }
        file.extend_from_slice(&head.to_le_bytes());
        file.extend_from_slice(record);
        file.resize(file.len() + padding, 0);
    }
    fs::write(folder.join("member/wal/0.wal"), &file).unwrap();
    let mut notes = Vec::new();
    let measured = allocation_counter::measure(|| {
        let backup = Backup::open_with(folder, None, Tolerance::ALL).unwrap();
        assert_eq!(backup.header().revision, 177);
        notes.clone_from(&backup.summary().notes);
    });
    assert!(
        measured.bytes_max <= 8 << 20,
        "{} bytes",
        measured.bytes_max
    );
    let is_noted = notes.iter().any(|note| note.contains("write-ahead log"));
    assert!(is_noted, "{notes:?}");
}

/// A tar archive; the input has a name and a content for each member.
fn tar(input: &mut Bytes<'_>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    while !input.is_empty() {
        let (name, content) = (input.short_chunk(), input.chunk());
        let mut header = tar::Header::new_ustar();
        let field = &mut header.as_mut_bytes()[..100];
        let length = name.len().min(field.len());
        field[..length].copy_from_slice(&name[..length]);
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn zip(input: &mut Bytes<'_>) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    while !input.is_empty() {
        let (name, content) = (input.short_chunk(), input.chunk());
        let name = String::from_utf8_lossy(name);
        let options = zip::write::SimpleFileOptions::default();
        // A repeated name is rejected.
        if writer.start_file(name, options).is_ok() {
            writer.write_all(content).unwrap();
        }
    }
    writer.finish().unwrap().into_inner()
}
