//! birdwatcher's files. Version 1 is the official tool's framing with absolute keys, inside gzip;
//! version 2 is a gzip stream of parts, one of which contains etcd's data.
//!
//! Both contain leased keys: the sessions at the time of the backup. A restored session would
//! indicate a running component, so sessions are omitted and counted.

use std::collections::BTreeMap;
use std::io::Read;

use super::super::messages::{BackupHeader, KeyDataPair, PartHeader};
use super::super::{Coverage, Format, FormatError};
use super::frames::Frames;
use super::milvus_tool::{checked, header_root};
use super::partial::{Loss, PartialPolicy, is_cut};
use super::root::{detect, repair_lost_slash};
use super::sorted::{Sorted, Sorter};
use super::{Import, Selected};
use milvus_meta::keys::Family;
use milvus_meta::plural::counted;

pub(super) fn version_1(header: &BackupHeader, entries: Sorted) -> Result<Import, FormatError> {
    let root = header_root(header).ok_or(FormatError::NoRoot)?;
    let root = repair_lost_slash(root, &entries)?;
    without_sessions(Format::Birdwatcher1, root, entries)
}

/// Reads the parts of a file of version 2. If etcd's part is complete, damage in a later part does
/// not affect the metadata: releases 1.0.0 to 1.1.1 end with a buffer that they do not flush.
pub(super) fn read_parts<R: Read>(
    frames: &mut Frames<R>,
    hint: Option<&str>,
    partial: PartialPolicy,
) -> Result<Import, FormatError> {
    let mut parts = Parts {
        etcd: None,
        sorter: Sorter::default(),
        losses: Vec::new(),
        partial,
    };
    loop {
        match parts.read_next(frames) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                parts.accept_damage(error)?;
                break;
            }
        }
    }
    let etcd = parts.etcd;
    let etcd =
        etcd.ok_or_else(|| frames.malformed("the file", "it contains no part with etcd's data"))?;
    let entries = parts.sorter.finish()?;
    let root = match (etcd.root, hint) {
        (Some(root), _) => repair_lost_slash(root, &entries)?,
        (None, Some(hint)) => repair_lost_slash(hint.to_owned(), &entries)?,
        (None, None) => detect(&entries)?,
    };
    let mut import = without_sessions(Format::Birdwatcher2, root, entries)?;
    import.revision = etcd.revision;
    Ok(parts.losses.into_iter().fold(import, Import::with))
}

/// The data from the parts read.
struct Parts {
    etcd: Option<EtcdPart>,
    sorter: Sorter,
    losses: Vec<Loss>,
    partial: PartialPolicy,
}

impl Parts {
    /// Reads the next part; `false` if there are no more.
    fn read_next<R: Read>(&mut self, frames: &mut Frames<R>) -> Result<bool, FormatError> {
        const PART: &str = "a part's header";
        let Some(header) = frames.message::<PartHeader>(PART)? else {
            return Ok(false);
        };
        match header.part_type {
            1 => return self.read_etcd(frames, &header),
            2 => skip_groups(frames, 3)?,
            4 | 5 => skip_groups(frames, 2)?,
            0 | 3 | 6 => skip_groups(frames, 1)?,
            other => {
                return Err(frames.malformed(PART, format!("part type {other} is unknown")));
            }
        }
        Ok(true)
    }

    fn read_etcd<R: Read>(
        &mut self,
        frames: &mut Frames<R>,
        header: &PartHeader,
    ) -> Result<bool, FormatError> {
        let mut part = EtcdPart::new(frames, header)?;
        let cut = part.read(frames, &mut self.sorter)?;
        let has_more = cut.is_none();
        let loss = self.partial.entries(part.found, part.announced, cut)?;
        self.losses.extend(loss);
        match &mut self.etcd {
            None => self.etcd = Some(part),
            Some(first) if (&first.root, first.revision) == (&part.root, part.revision) => {
                first.found += part.found;
            }
            Some(_) => {
                return Err(frames.malformed(
                    "etcd's part",
                    "there are several, of different instances or revisions",
                ));
            }
        }
        Ok(has_more)
    }

    /// Accepts damage after etcd's part, if permitted.
    fn accept_damage(&mut self, error: FormatError) -> Result<(), FormatError> {
        let is_damage = is_cut(&error)
            || matches!(
                error,
                FormatError::Malformed { .. } | FormatError::ImplausibleLength { .. }
            );
        let Some(etcd) = self.etcd.as_ref().filter(|_| is_damage) else {
            return Err(error);
        };
        let as_announced = match etcd.announced {
            Some(_) => ", as announced",
            None => "",
        };
        let loss = self.partial.accept(Loss {
            missing: format!(
                "it is {error}; etcd's part before that is complete ({}{as_announced}), and what follows it, \
                 metrics and configurations, holds no metadata",
                counted(etcd.found, "entry")
            ),
            of_entries: false,
        })?;
        self.losses.push(loss);
        Ok(())
    }
}

/// Skips a part with frames in groups of `size`. Only the first frame of a group can end the part,
/// because the other frames may be empty.
fn skip_groups<R: Read>(frames: &mut Frames<R>, size: usize) -> Result<(), FormatError> {
    const PART: &str = "a part that is not etcd's";
    while frames.skip(PART)? > 0 {
        for _ in 1..size {
            frames.skip(PART)?;
        }
    }
    Ok(())
}

/// Header data and entry count of etcd's part.
struct EtcdPart {
    root: Option<String>,
    revision: i64,
    /// The number of entries in the header.
    announced: Option<u64>,
    found: u64,
}

impl EtcdPart {
    const PART: &'static str = "etcd's part";

    fn new<R: Read>(frames: &Frames<R>, header: &PartHeader) -> Result<Self, FormatError> {
        let extra = if header.extra.is_empty() {
            BTreeMap::new()
        } else {
            serde_json::from_slice::<BTreeMap<String, String>>(&header.extra)
                .map_err(|error| frames.malformed(Self::PART, error.to_string()))?
        };
        let text = |name: &str| extra.get(name).filter(|text| !text.is_empty());
        let number = |name: &str| match text(name) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| {
                frames.malformed(Self::PART, format!("its {name} {text:?} is not a number"))
            }),
        };
        let root = text("instance").and_then(|instance| {
            header_root(&BackupHeader {
                instance: instance.clone(),
                meta_path: text("metaPath").cloned().unwrap_or_default(),
                ..BackupHeader::default()
            })
        });
        Ok(Self {
            root,
            revision: number("rev")?
                .and_then(|revision| i64::try_from(revision).ok())
                .unwrap_or_default(),
            announced: number("cnt")?,
            found: 0,
        })
    }

    /// Reads the entries. Returns the error if the part is truncated.
    fn read<R: Read>(
        &mut self,
        frames: &mut Frames<R>,
        sorter: &mut Sorter,
    ) -> Result<Option<FormatError>, FormatError> {
        loop {
            match frames
                .next(Self::PART)
                .map(|frame| frame.map(<[u8]>::is_empty))
            {
                Ok(None) => return Ok(Some(frames.truncated(Self::PART))),
                Ok(Some(true)) => return Ok(None),
                Ok(Some(false)) => {
                    let pair = frames.decode::<KeyDataPair>("an entry")?;
                    sorter.push(checked(frames, pair)?)?;
                    self.found += 1;
                }
                Err(error) if is_cut(&error) => return Ok(Some(error)),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Omits and counts keys outside the root, and sessions.
fn without_sessions(format: Format, root: String, entries: Sorted) -> Result<Import, FormatError> {
    let entries = Selected {
        omit_sessions: true,
        ..Selected::new(entries, root)
    };
    let is_query_coordinator = entries.all_of(|relative| relative.starts_with(b"queryCoord-"))?;
    let mut import = Import::new(format, entries)?;
    if is_query_coordinator && import.count > 0 {
        // The header does not say so, but a backup of only the query coordinator has these keys.
        import.coverage = Coverage::Families(vec![Family::QueryCollection, Family::QueryReplica]);
    }
    Ok(import)
}
