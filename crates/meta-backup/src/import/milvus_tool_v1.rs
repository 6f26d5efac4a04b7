//! The older generation of the official tool's files: keys relative to the meta root, and only the
//! families which that tool had parsed and re-encoded.
//!
//! Two faults of that tool are fixed here. It kept the absolute key of its DDL records, which would
//! end up below a doubled root. And it made the key of a segment index out of two ids
//! (`root-coord/segment-index/<segment>/<index>`) where Milvus 2.1 has four; the value holds them all.

use prost::Message;

use super::super::messages::{BackupHeader, SegmentIndexIds};
use super::super::{Coverage, Format, FormatError};
use super::milvus_tool::header_root;
use super::root::strip;
use super::{Import, Pair};
use milvus_meta::entry::printable;
use milvus_meta::keys::{Family, Key};
use milvus_meta::model::{CollectionId, IndexId, PartitionId, SegmentId};

/// The families such a file holds.
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

/// Makes absolute keys out of relative ones. The header loses a leading slash of the root: an absolute key
/// among the entries, or the user's `hint`, brings it back.
pub(super) fn read(
    header: &BackupHeader,
    pairs: Vec<Pair>,
    hint: Option<&str>,
) -> Result<Import, FormatError> {
    let told = header_root(header).ok_or(FormatError::NoRoot)?;
    let absolute = format!("/{}", told.trim_start_matches('/'));
    let has_slash =
        hint == Some(absolute.as_str()) || pairs.iter().any(|(key, _)| is_absolute(&absolute, key));
    let root = if has_slash { absolute } else { told.clone() };
    let pairs = pairs
        .into_iter()
        .map(|(key, value)| {
            let relative = [&root, &told]
                .into_iter()
                .find(|root| is_absolute(root, &key))
                .and_then(|root| strip(root, &key))
                .unwrap_or(&key);
            let relative = repaired(relative, &value)?;
            let mut whole = format!("{root}/").into_bytes();
            whole.extend_from_slice(&relative);
            Ok((whole, value))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut import = Import::new(Format::OfficialRelative, root, pairs)?;
    let mut families = FAMILIES.to_vec();
    families.sort_unstable();
    import.coverage = Coverage::Families(families);
    Ok(import)
}

/// Whether a key of a file of relative keys is absolute anyway: it is of no known family as it
/// stands, but of one below the root.
fn is_absolute(root: &str, key: &[u8]) -> bool {
    Family::of(key) == Family::Other
        && strip(root, key).is_some_and(|relative| Family::of(relative) != Family::Other)
}

/// The key Milvus 2.1 knows the record by.
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
            "its value is of segment {} and index {}",
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
