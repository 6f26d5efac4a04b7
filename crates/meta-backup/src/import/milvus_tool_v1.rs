//! The older format of the official tool: keys relative to the meta root, and only the families
//! that the tool parsed and re-encoded.
//!
//! Two defects of that tool are fixed here. Keys of DDL records are absolute, so that they would
//! end up below a doubled root. Keys of segment indexes have two ids
//! (`root-coord/segment-index/<segment>/<index>`), while Milvus 2.1 has four; the value contains
//! all of them.

use prost::Message;

use super::super::messages::{BackupHeader, SegmentIndexIds};
use super::super::{Coverage, Format, FormatError};
use super::milvus_tool::header_root;
use super::root::strip;
use super::sorted::{Record, Sorted, Sorter, State};
use super::{Import, Selected};
use milvus_meta::entry::printable;
use milvus_meta::keys::{Family, Key};
use milvus_meta::model::{CollectionId, IndexId, PartitionId, SegmentId};

/// The families in such a file.
const FAMILIES: [Family; 11] = [
    Family::IndexBuild,
    Family::Collection,
    Family::LegacyAlias,
    Family::DdMessageSend,
    Family::DdOperation,
    Family::LegacyIndex,
    Family::LegacySegmentIndex,
    Family::CollectionSnapshot,
    Family::LegacyAliasSnapshot,
    Family::DdMessageSendSnapshot,
    Family::DdOperationSnapshot,
];

/// Converts relative keys to absolute ones. The header loses a leading slash of the root. An
/// absolute key among the entries, or `hint`, restores it.
pub(super) fn read(
    header: &BackupHeader,
    entries: &Sorted,
    hint: Option<&str>,
) -> Result<Import, FormatError> {
    let named = header_root(header).ok_or(FormatError::NoRoot)?;
    let absolute = format!("/{}", named.trim_start_matches('/'));
    let has_slash =
        hint == Some(absolute.as_str()) || entries.any(|key| is_absolute(&absolute, key))?;
    let root = if has_slash { absolute } else { named.clone() };
    let mut sorter = Sorter::default();
    for record in entries.records() {
        let Record { key, value, .. } = record?;
        let relative = [&root, &named]
            .into_iter()
            .find(|root| is_absolute(root, &key))
            .and_then(|root| strip(root, &key))
            .unwrap_or(&key);
        let key = [root.as_bytes(), b"/", &repaired(relative, &value)?].concat();
        sorter.push(Record::new(key, value.into(), State::Live))?;
    }
    let entries = Selected::new(sorter.finish()?, root);
    let mut import = Import::new(Format::OfficialRelative, entries)?;
    let mut families = FAMILIES.to_vec();
    families.sort_unstable();
    import.coverage = Coverage::Families(families);
    Ok(import)
}

/// Whether a key is absolute although the file has relative keys: it belongs to no known family,
/// but does without the root.
fn is_absolute(root: &str, key: &[u8]) -> bool {
    Family::of(key) == Family::Other
        && strip(root, key).is_some_and(|relative| Family::of(relative) != Family::Other)
}

/// The complete key of Milvus 2.1.
fn repaired(relative: &[u8], value: &[u8]) -> Result<Vec<u8>, FormatError> {
    let Some([segment, index]) = two_ids(relative) else {
        return Ok(relative.to_vec());
    };
    let unrepairable = |reason: String| FormatError::Unrepairable {
        key: printable(relative),
        reason,
    };
    let ids = SegmentIndexIds::decode(value)
        .map_err(|error| unrepairable(format!("its value does not decode: {error}")))?;
    if (ids.segment, ids.index) != (segment, index) {
        return Err(unrepairable(format!(
            "its value has segment {} and index {}",
            ids.segment, ids.index
        )));
    }
    let key = Key::LegacySegmentIndex(
        CollectionId(ids.collection),
        IndexId(ids.index),
        PartitionId(ids.partition),
        SegmentId(ids.segment),
    );
    Ok(key.render())
}

/// The two ids of `root-coord/segment-index/<segment>/<index>`; `None` for any other key.
fn two_ids(relative: &[u8]) -> Option<[i64; 2]> {
    let rest = std::str::from_utf8(Family::LegacySegmentIndex.rest(relative)?).ok()?;
    let (segment, index) = rest.split_once('/')?;
    Some([segment.parse().ok()?, index.parse().ok()?])
}
