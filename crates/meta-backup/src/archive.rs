//! Compressed files and archives: a backup in gzip, zstd, tar or zip, recognized by content and
//! unpacked to a temporary file.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::error::OPEN;
use super::import::{GUESS_BYTES, Guess};
use super::scratch::{Scratch, ScratchReader, ScratchWriter};
use super::{BackupError, FormatError};
use milvus_meta::entry::printable;
use milvus_meta::plural::{agree, counted};

/// Maximum nesting, such as a backup in gzip, in tar, in gzip.
const DEPTH: usize = 4;

/// Maximum ratio of the unpacked size to the file size. gzip cannot exceed it; zstd can, and is
/// limited by this.
const RATIO: u64 = 1100;

const MEMBERS_LIMIT: usize = 10_000;

/// The ratio is not checked below this unpacked size.
const FREE_BYTES: u64 = 64 << 20;

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Gzip,
    Zstd,
    Tar,
    Zip,
}

impl Packing {
    /// Recognizes the packing by the first bytes of a file.
    fn of(start: &[u8]) -> Option<Self> {
        if start.starts_with(&[0x1f, 0x8b]) {
            return Some(Self::Gzip);
        }
        if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            return Some(Self::Zstd);
        }
        if start.starts_with(b"PK\x03\x04") {
            return Some(Self::Zip);
        }
        (start.get(257..262) == Some(b"ustar")).then_some(Self::Tar)
    }
}

/// The content of a packed file.
#[derive(Debug, Clone)]
pub(super) struct Unpacked {
    file: Scratch,
    /// The file that was chosen from the archive, and the number of others.
    pub(super) notes: Vec<String>,
}

/// A file or its unpacked content.
pub(super) enum Content {
    Plain(File),
    Unpacked(ScratchReader),
}

impl Content {
    /// Opens the file at `path` or its unpacked content.
    pub(super) fn open(path: &Path, unpacked: Option<&Unpacked>) -> io::Result<Self> {
        match unpacked {
            Some(unpacked) => Ok(Self::Unpacked(unpacked.file.read())),
            None => open(path).map(Self::Plain),
        }
    }
}

/// Opens a regular file. Others are rejected: a pipe would block, and a backup is read repeatedly.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_file() {
        return File::open(path);
    }
    Err(io::Error::other(match kind.is_dir() {
        true => "it is a folder without an etcd database (member/snap/db)",
        false => "it is not a regular file",
    }))
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Unpacked(file) => file.read(buffer),
        }
    }
}

impl Seek for Content {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Plain(file) => file.seek(to),
            Self::Unpacked(file) => file.seek(to),
        }
    }
}

/// Unpacks a file. Returns `None` if it is not packed, or is gzip of the kind that birdwatcher
/// writes.
pub(super) fn unpack(path: &Path) -> Result<Option<Unpacked>, BackupError> {
    let failed = |error| BackupError::file(OPEN, path, error);
    let mut unpacked: Option<Unpacked> = None;
    for _ in 0..DEPTH {
        let mut file = Content::open(path, unpacked.as_ref()).map_err(failed)?;
        let start = first_bytes(&mut file).map_err(failed)?;
        let Some(packing) = Packing::of(&start) else {
            return Ok(unpacked);
        };
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        if packing == Packing::Gzip && contains_frames(&mut file) {
            return Ok(unpacked);
        }
        let mut next =
            unpack_once(packing, file).map_err(|error| BackupError::invalid(path, error))?;
        if let Some(before) = unpacked {
            next.notes = [before.notes, next.notes].concat();
        }
        unpacked = Some(next);
    }
    let limit = DEPTH;
    Err(BackupError::invalid(path, FormatError::TooDeep(limit)))
}

fn first_bytes(file: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    file.take(GUESS_BYTES as u64).read_to_end(&mut start)?;
    Ok(start)
}

/// Whether a gzip stream contains frames, which their reader decompresses itself. Also true for a
/// damaged stream, so that this reader reports the damage.
fn contains_frames(file: &mut Content) -> bool {
    let mut content = flate2::read::GzDecoder::new(BufReader::new(file));
    let Ok(start) = first_bytes(&mut content) else {
        return true;
    };
    !is_recognized(&start)
}

/// Whether a file starts as a packed file, or as a backup of a format without frames.
fn is_recognized(start: &[u8]) -> bool {
    Packing::of(start).is_some() || !matches!(Guess::of(start), Ok(Guess::Frames) | Err(_))
}

fn unpack_once(packing: Packing, mut file: Content) -> Result<Unpacked, FormatError> {
    let failed = |source| FormatError::Read { offset: 0, source };
    let packed = file.seek(SeekFrom::End(0)).map_err(failed)?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let reader = BufReader::with_capacity(256 << 10, file);
    match packing {
        Packing::Gzip => copy(flate2::bufread::MultiGzDecoder::new(reader), packed),
        Packing::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(reader);
            copy(decoder.map_err(|error| damaged(error, 0))?, packed)
        }
        Packing::Tar => from_archive(&mut TarFile(reader), packed),
        Packing::Zip => {
            let archive = zip::ZipArchive::new(reader).map_err(ZipFile::malformed)?;
            from_archive(&mut ZipFile(archive), packed)
        }
    }
}

/// Copies a stream into a temporary file.
fn copy(mut from: impl Read, packed: u64) -> Result<Unpacked, FormatError> {
    let limit = FREE_BYTES.max(packed.saturating_mul(RATIO));
    let mut file = ScratchWriter::create().map_err(FormatError::temporary)?;
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(damaged(error, total)),
        };
        total += count as u64;
        if total > limit {
            let (ratio, offset) = (RATIO, total);
            return Err(FormatError::TooDense { ratio, offset });
        }
        file.write_all(&buffer[..count])
            .map_err(FormatError::temporary)?;
    }
    Ok(Unpacked {
        file: file.finish().map_err(FormatError::temporary)?,
        notes: Vec::new(),
    })
}

fn damaged(error: io::Error, offset: u64) -> FormatError {
    let part = "the packed content";
    if error.raw_os_error().is_some() {
        return FormatError::Read {
            offset,
            source: error,
        };
    }
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return FormatError::Truncated { part, offset };
    }
    FormatError::Altered { part, offset }
}

struct Member {
    name: String,
    is_recognized: bool,
}

impl Member {
    fn new(name: String, content: &mut impl Read) -> Result<Self, FormatError> {
        let start = first_bytes(content).map_err(|error| damaged(error, 0))?;
        Ok(Self {
            name,
            is_recognized: is_recognized(&start),
        })
    }

    fn is_database(&self) -> bool {
        self.name == "snap/db" || self.name.ends_with("/snap/db")
    }
}

/// Called for a file of an archive with its position, name, size and content. A value ends the search.
type Visit<'v, T> =
    dyn FnMut(usize, String, u64, &mut dyn Read) -> Result<Option<T>, FormatError> + 'v;

/// An archive that is read from its start twice: to list the files, and to unpack one.
trait Archive {
    const PART: &'static str;

    /// Calls `visit` for each regular file that is not empty, in the order of the archive.
    fn each<T>(&mut self, visit: &mut Visit<'_, T>) -> Result<Option<T>, FormatError>;

    fn members(&mut self) -> Result<Vec<Member>, FormatError> {
        let mut members = Vec::new();
        self.each::<()>(&mut |position, name, _, mut content| {
            if position >= MEMBERS_LIMIT {
                return Err(FormatError::TooManyFiles(MEMBERS_LIMIT));
            }
            members.push(Member::new(name, &mut content)?);
            Ok(None)
        })?;
        Ok(members)
    }

    /// Unpacks the file at this position of the list.
    fn unpack(&mut self, index: usize, packed: u64) -> Result<Unpacked, FormatError> {
        let found = self.each(&mut |position, _, bytes, content| {
            if position != index {
                return Ok(None);
            }
            let unpacked = copy(content, packed)?;
            let offset = unpacked.file.bytes();
            let part = Self::PART;
            match offset == bytes {
                true => Ok(Some(unpacked)),
                false => Err(FormatError::Truncated { part, offset }),
            }
        })?;
        found.ok_or_else(|| FormatError::NoSingleFile(Vec::new()))
    }
}

/// Unpacks the file that is a backup: etcd's database, else the only file of a known format, else
/// the only file.
fn from_archive(archive: &mut impl Archive, packed: u64) -> Result<Unpacked, FormatError> {
    let members = archive.members()?;
    let positions = |choose: fn(&Member) -> bool| -> Vec<usize> {
        let positions = members.iter().enumerate();
        positions
            .filter(|(_, member)| choose(member))
            .map(|(position, _)| position)
            .collect()
    };
    let choices: [fn(&Member) -> bool; 3] =
        [Member::is_database, |member| member.is_recognized, |_| true];
    let found = choices
        .into_iter()
        .map(positions)
        .find(|positions| !positions.is_empty());
    let [position] = found.unwrap_or_default()[..] else {
        return Err(FormatError::NoSingleFile(
            members.into_iter().map(|member| member.name).collect(),
        ));
    };
    let mut unpacked = archive.unpack(position, packed)?;
    let chosen = &members[position];
    if members.len() > 1 {
        let log = match chosen.is_database() {
            true => {
                ", so requests in etcd's write-ahead log that are newer than the database are missing"
            }
            false => "",
        };
        let others = members.len() - 1;
        unpacked.notes.push(format!(
            "{} in the archive was read; {} {} not{log}",
            printable(chosen.name.as_bytes()),
            counted(others, "other file"),
            agree(others, "was", "were")
        ));
    }
    Ok(unpacked)
}

struct TarFile(BufReader<Content>);

impl Archive for TarFile {
    const PART: &'static str = "the tar archive";

    fn each<T>(&mut self, visit: &mut Visit<'_, T>) -> Result<Option<T>, FormatError> {
        let failed = |error| damaged(error, 0);
        self.0.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut archive = tar::Archive::new(&mut self.0);
        let mut position = 0;
        for entry in archive.entries().map_err(failed)? {
            let mut entry = entry.map_err(failed)?;
            let bytes = entry.size();
            if !entry.header().entry_type().is_file() || bytes == 0 {
                continue;
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if let Some(found) = visit(position, name, bytes, &mut entry)? {
                return Ok(Some(found));
            }
            position += 1;
        }
        Ok(None)
    }
}

struct ZipFile(zip::ZipArchive<BufReader<Content>>);

impl ZipFile {
    fn malformed(error: zip::result::ZipError) -> FormatError {
        FormatError::Malformed {
            part: Self::PART,
            offset: 0,
            reason: error.to_string(),
        }
    }
}

impl Archive for ZipFile {
    const PART: &'static str = "the zip archive";

    fn each<T>(&mut self, visit: &mut Visit<'_, T>) -> Result<Option<T>, FormatError> {
        let mut position = 0;
        for index in 0..self.0.len() {
            let mut file = self.0.by_index(index).map_err(Self::malformed)?;
            let bytes = file.size();
            if !file.is_file() || bytes == 0 {
                continue;
            }
            let name = file.name().map_err(Self::malformed)?.into_owned();
            if let Some(found) = visit(position, name, bytes, &mut file)? {
                return Ok(Some(found));
            }
            position += 1;
        }
        Ok(None)
    }
}
