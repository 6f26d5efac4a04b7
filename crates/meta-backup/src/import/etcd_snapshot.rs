//! Files of `etcdctl snapshot save`: etcd's database file with its SHA-256 appended.
//!
//! The bucket `key` contains every change that is not compacted. Its keys are revisions: 8 bytes
//! main revision (big-endian), `_`, 8 bytes sub revision, and `t` if the change is a deletion. The
//! last change of a key is its current value. The file contains all keys of etcd, so the meta root
//! must be specified or detected.

use std::io::{Read, Seek, SeekFrom};

use prost::Message;
use sha2::{Digest as _, Sha256};

use super::super::FormatError;
use super::super::messages::StoredKeyValue;
use super::bbolt::Database;
use super::root::is_below;
use super::sorted::{Record, Sorter, State};
use super::{Format, Import};

const HASH_BYTES: u64 = 32;

/// Database files consist of complete pages, so a size that is a multiple of this has no hash.
const PAGE_UNIT: u64 = 512;

const BUCKET: &[u8] = b"key";

/// The bucket with etcd's own state, and its keys for the revision of the last compaction. A
/// compaction also removes the newest change if that is a deletion.
const STATE_BUCKET: &[u8] = b"meta";
const COMPACTED: [&[u8]; 2] = [b"finishedCompactRev", b"scheduledCompactRev"];

/// The key in that bucket for the index of the last applied entry of etcd's log: 8 bytes,
/// big-endian.
const RAFT_INDEX: &[u8] = b"consistent_index";

/// Reads the entries below the meta root, which is `hint` or is detected.
pub(super) fn read<R: Read + Seek>(
    mut file: R,
    hint: Option<&str>,
    skip_hash_check: bool,
) -> Result<Import, FormatError> {
    let failed = |source| FormatError::Read { offset: 0, source };
    let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
    let mut database = Database::open(&mut file, size)?;
    let mut notes = Vec::new();
    if skip_hash_check {
        notes.push("the hash of the etcd database was not checked".to_owned());
    } else {
        check_hash(database.file(), size)?;
    }
    if database.has_damaged_meta() {
        notes.push(
            "one of the two meta pages of the etcd database is damaged: the other is used, and what etcd committed \
             last may be missing"
                .to_owned(),
        );
    }
    let mut changes = Changes {
        hint,
        sorter: Sorter::default(),
        newest: (0, 0),
    };
    let found = database.walk_bucket(BUCKET, &mut |key, value| changes.apply(key, value))?;
    if !found {
        return Err(broken("it has no bucket of revisions"));
    }
    let state = ServerState::read(&mut database)?;
    let mut import = changes.finish(state.compacted)?;
    import.notes = notes;
    import.raft_index = state.raft_index;
    Ok(import)
}

/// etcd's own state in its database.
#[derive(Default)]
struct ServerState {
    /// The revision of the last compaction.
    compacted: u64,
    raft_index: Option<u64>,
}

impl ServerState {
    fn read<R: Read + Seek>(database: &mut Database<R>) -> Result<Self, FormatError> {
        let mut state = Self::default();
        database.walk_bucket(STATE_BUCKET, &mut |key, value| {
            if COMPACTED.contains(&key)
                && let Some(((main, _), _)) = parse_revision(value)
            {
                state.compacted = state.compacted.max(main);
            }
            if key == RAFT_INDEX {
                state.raft_index = value.try_into().ok().map(u64::from_be_bytes);
            }
            Ok(())
        })?;
        Ok(state)
    }
}

fn broken(reason: impl Into<String>) -> FormatError {
    FormatError::Malformed {
        part: "the etcd snapshot",
        offset: 0,
        reason: reason.into(),
    }
}

/// Verifies the SHA-256 at the end of a file of this length.
fn check_hash<R: Read + Seek>(file: &mut R, length: u64) -> Result<(), FormatError> {
    let failed = |source| FormatError::Read { offset: 0, source };
    let size = match length % PAGE_UNIT {
        HASH_BYTES => length - HASH_BYTES,
        0 => return Err(FormatError::NoHash),
        _ => {
            return Err(FormatError::Truncated {
                part: "the hash after the etcd database",
                offset: length,
            });
        }
    };
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut content = (&mut *file).take(size);
    loop {
        match content.read(&mut buffer).map_err(failed)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    let mut expected = [0; 32];
    file.read_exact(&mut expected).map_err(failed)?;
    if <[u8; 32]>::from(hash.finalize()) != expected {
        return Err(FormatError::Altered {
            part: "the etcd snapshot",
            offset: length,
        });
    }
    Ok(())
}

/// Collects the changes, which are in order of their revisions.
struct Changes<'h> {
    hint: Option<&'h str>,
    sorter: Sorter,
    newest: (u64, u64),
}

impl Changes<'_> {
    fn apply(&mut self, key: &[u8], value: &[u8]) -> Result<(), FormatError> {
        let (revision, is_tombstone) =
            parse_revision(key).ok_or_else(|| broken("a revision is not well-formed"))?;
        if revision <= self.newest {
            return Err(broken("its revisions are not in order"));
        }
        self.newest = revision;
        let change = StoredKeyValue::decode(value)
            .map_err(|error| broken(format!("a change does not decode: {error}")))?;
        if change.key.is_empty() {
            return Err(broken("a change has an empty key"));
        }
        let state = match (is_tombstone, change.lease) {
            (true, _) => State::Deleted,
            (false, 0) => State::Live,
            (false, _) => State::Leased,
        };
        // Values outside the root are not needed: those keys are only counted.
        let is_below_root = self.hint.is_none_or(|root| is_below(root, &change.key));
        let value = match state == State::Live && is_below_root {
            true => change.value,
            false => Vec::new(),
        };
        self.sorter.push(Record {
            order: revision,
            ..Record::new(change.key, value, state)
        })
    }

    /// The content at etcd's newest revision: that of the newest change or of the last compaction.
    fn finish(self, compacted: u64) -> Result<Import, FormatError> {
        let mut import =
            Import::with_leases(Format::EtcdSnapshot, self.sorter.finish()?, self.hint)?;
        import.revision = i64::try_from(self.newest.0.max(compacted)).unwrap_or(i64::MAX);
        Ok(import)
    }
}

/// Parses main and sub revision, and whether the change is a deletion.
fn parse_revision(key: &[u8]) -> Option<((u64, u64), bool)> {
    let (number, is_tombstone) = match key.len() {
        17 => (key, false),
        18 if key.ends_with(b"t") => (&key[..17], true),
        _ => return None,
    };
    let (main, rest) = number.split_at(8);
    let sub = rest.strip_prefix(b"_")?;
    let main = u64::from_be_bytes(main.try_into().ok()?);
    let sub = u64::from_be_bytes(sub.try_into().ok()?);
    Some(((main, sub), is_tombstone))
}
