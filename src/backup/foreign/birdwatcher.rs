//! birdwatcher's files: version 1 is the official tool's framing with whole keys inside gzip; version 2
//! is a gzip stream of parts, of which one is etcd's content.
//!
//! Both are taken from a live system, leased keys and all: the sessions of the moment. A restored
//! session would claim that a component lives which does not, so they are left out and counted.

use std::collections::BTreeMap;
use std::io::Read;

use super::super::messages::{BackupHeader, KeyDataPair, PartHeader};
use super::super::{Coverage, Format, FormatError};
use super::frames::Frames;
use super::official::{checked, told_root};
use super::root::{below, detect, repair_lost_slash, strip};
use super::{Foreign, Pair};
use crate::keys::Family;

/// A file of version 1.
pub(super) fn whole(header: &BackupHeader, pairs: Vec<Pair>) -> Result<Foreign, FormatError> {
    let told = told_root(header).ok_or(FormatError::NoRoot)?;
    let root = repair_lost_slash(told, &pairs)?;
    without_sessions(Format::Birdwatcher1, root, pairs)
}

/// The parts of a file of version 2.
pub(super) fn read_parts<R: Read>(
    frames: &mut Frames<R>,
    hint: Option<&str>,
) -> Result<Foreign, FormatError> {
    const PART: &str = "a part's header";
    let mut etcd: Option<EtcdPart> = None;
    while let Some(header) = frames.message::<PartHeader>(PART)? {
        match header.part_type {
            1 => {
                let part = EtcdPart::read(frames, &header)?;
                match &mut etcd {
                    None => etcd = Some(part),
                    Some(first) => first.append(frames, part)?,
                }
            }
            2 => skip_groups(frames, 3)?,
            4 | 5 => skip_groups(frames, 2)?,
            0 | 3 | 6 => skip_groups(frames, 1)?,
            other => {
                return Err(frames.malformed(PART, format!("part type {other} is unknown")));
            }
        }
    }
    let etcd = etcd.ok_or_else(|| frames.malformed("the file", "it holds no part of etcd"))?;
    let root = match (etcd.told_root, hint) {
        (Some(told), _) => repair_lost_slash(told, &etcd.pairs)?,
        (None, Some(hint)) => repair_lost_slash(hint.to_owned(), &etcd.pairs)?,
        (None, None) => detect(etcd.pairs.iter().map(|(key, _)| key.as_slice()))?,
    };
    let mut foreign = without_sessions(Format::Birdwatcher2, root, etcd.pairs)?;
    foreign.revision = etcd.revision;
    Ok(foreign)
}

/// Skips a part whose frames come in groups of `size`. Only the first frame of a group can end the
/// part: the others may be empty.
fn skip_groups<R: Read>(frames: &mut Frames<R>, size: usize) -> Result<(), FormatError> {
    const PART: &str = "a part that is not etcd's";
    while frames.skip(PART)? > 0 {
        for _ in 1..size {
            frames.skip(PART)?;
        }
    }
    Ok(())
}

/// The part with etcd's content.
struct EtcdPart {
    told_root: Option<String>,
    revision: i64,
    pairs: Vec<Pair>,
}

impl EtcdPart {
    fn read<R: Read>(frames: &mut Frames<R>, header: &PartHeader) -> Result<Self, FormatError> {
        const PART: &str = "etcd's part";
        let extra = if header.extra.is_empty() {
            BTreeMap::new()
        } else {
            serde_json::from_slice::<BTreeMap<String, String>>(&header.extra)
                .map_err(|error| frames.malformed(PART, error.to_string()))?
        };
        let mut pairs = Vec::new();
        loop {
            let frame = frames.next(PART)?;
            match frame.map(<[u8]>::is_empty) {
                None => return Err(frames.truncated(PART)),
                Some(true) => break,
                Some(false) => {
                    let pair = frames.decode::<KeyDataPair>("an entry")?;
                    pairs.push(checked(frames, pair)?);
                }
            }
        }
        let text = |name: &str| extra.get(name).filter(|text| !text.is_empty());
        let number = |name: &str| match text(name) {
            None => Ok(None),
            Some(text) => text.parse::<u64>().map(Some).map_err(|_| {
                frames.malformed(PART, format!("its {name} {text:?} is not a number"))
            }),
        };
        let found = pairs.len() as u64;
        match number("cnt")? {
            Some(announced) if announced != found => {
                return Err(FormatError::EntryCount { announced, found });
            }
            Some(_) | None => {}
        }
        Ok(Self {
            told_root: text("instance").and_then(|instance| {
                told_root(&BackupHeader {
                    instance: instance.clone(),
                    meta_path: text("metaPath").cloned().unwrap_or_default(),
                    ..BackupHeader::default()
                })
            }),
            revision: number("rev")?
                .and_then(|revision| i64::try_from(revision).ok())
                .unwrap_or_default(),
            pairs,
        })
    }

    /// Joins a further part, which has to be of the same instance and revision.
    fn append<R: Read>(&mut self, frames: &Frames<R>, other: Self) -> Result<(), FormatError> {
        let Self {
            told_root,
            revision,
            pairs,
        } = other;
        if (&self.told_root, self.revision) != (&told_root, revision) {
            return Err(frames.malformed(
                "etcd's part",
                "there are several, of different instances or revisions",
            ));
        }
        self.pairs.extend(pairs);
        Ok(())
    }
}

/// Leaves out what lies outside the root and the sessions in it, and counts both.
fn without_sessions(
    format: Format,
    root: String,
    pairs: Vec<Pair>,
) -> Result<Foreign, FormatError> {
    let (mut pairs, outside) = below(&root, pairs);
    let before = pairs.len();
    pairs.retain(|(key, _)| !strip(&root, key).is_some_and(is_session));
    let sessions = (before - pairs.len()) as u64;
    let of_query_coord = |(key, _): &Pair| {
        strip(&root, key).is_some_and(|relative| relative.starts_with(b"queryCoord-"))
    };
    let is_part = !pairs.is_empty() && pairs.iter().all(of_query_coord);
    let mut foreign = Foreign::new(format, root, pairs)?;
    if is_part {
        // No header says so, but this is what a backup of that component alone holds.
        foreign.coverage = Coverage::Families(vec![Family::QueryCollection, Family::QueryReplica]);
    }
    foreign.skipped_outside = outside;
    foreign.skipped_leased = sessions;
    Ok(foreign)
}

/// Whether a relative key is a session. The counter of server ids is none.
fn is_session(relative: &[u8]) -> bool {
    relative.starts_with(b"session/") && relative != b"session/id"
}
