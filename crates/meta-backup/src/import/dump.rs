//! Key dumps: the output of `etcdctl get --prefix` as JSON or protobuf, and of `inspect --raw`.
//!
//! etcdctl writes one range response: the revision, the entries with their leases, and the number
//! of keys in the range. `inspect --raw` writes one line per entry in the same form, and a last
//! line with their number. Entries are read one at a time.

mod json;
mod protobuf;

use std::io::{BufRead, Read};

use super::super::FormatError;
use super::super::messages::StoredKeyValue;
use super::partial::{Loss, PartialPolicy};
use super::sorted::{Record, Sorter, State};
use super::{Format, Import};

pub(super) use json::read as read_json;
pub(super) use protobuf::read as read_protobuf;

const PART: &str = "the output of etcdctl get";

/// Whether a file starts with a JSON object. The length of a frame may start with the same byte,
/// but not with a quote after it.
pub(super) fn is_json(start: &[u8]) -> bool {
    let mut visible = start.iter().filter(|byte| !byte.is_ascii_whitespace());
    visible.next() == Some(&b'{') && visible.next() == Some(&b'"')
}

/// Whether a file starts like a range response: field 1 is a short header, whose first byte is the
/// tag of a number. The length of a frame has zeros at this position.
pub(super) fn is_protobuf(start: &[u8]) -> bool {
    matches!(start, [0x0a, 1..=0x40, 0x08 | 0x10 | 0x18 | 0x20, ..])
}

/// Whether a file starts with a printed key: a line of visible characters with a slash, or, from
/// `--hex`, a line of escapes. A frame starts with its length, which contains zeros; a script starts
/// with `#!`.
pub(super) fn is_printed(start: &[u8]) -> bool {
    let Some(end) = start.iter().position(|byte| *byte == b'\n') else {
        return false;
    };
    let line = &start[..end];
    !line.starts_with(b"#!")
        && line.iter().all(u8::is_ascii_graphic)
        && (line.contains(&b'/') || line.starts_with(b"\\x"))
}

/// The data read from a dump.
#[derive(Default)]
struct Dump {
    sorter: Sorter,
    found: u64,
    /// Whether any entry has a value.
    has_values: bool,
    revision: Option<i64>,
    /// The expected number of entries, if known.
    announced: Option<u64>,
    /// For `inspect --raw`: the root in the last line, and whether only a selection was printed.
    root: Option<String>,
    is_selection: bool,
}

impl Dump {
    fn push(&mut self, entry: StoredKeyValue) -> Result<(), FormatError> {
        if entry.key.is_empty() {
            return Err(malformed("an entry has an empty key"));
        }
        self.found += 1;
        self.has_values |= !entry.value.is_empty();
        let state = match entry.lease {
            0 => State::Live,
            _ => State::Leased,
        };
        self.sorter.push(Record::new(entry.key, entry.value, state))
    }

    /// Sets the revision of a response. Responses at different revisions would be inconsistent.
    fn set_revision(&mut self, revision: i64) -> Result<(), FormatError> {
        if revision <= 0 {
            return Err(malformed("it names no revision"));
        }
        match self.revision.replace(revision) {
            Some(before) if before != revision => Err(malformed(&format!(
                "it contains responses of the revisions {before} and {revision}: read all keys with one command"
            ))),
            _ => Ok(()),
        }
    }

    /// Records the end of a response. etcd counts the range independent of `--limit`; a response
    /// with entries but without a count is truncated.
    fn end_response(&mut self, entries: u64, count: i64, more: bool) -> Result<(), FormatError> {
        let count = u64::try_from(count).unwrap_or_default();
        if entries > 0 && count == 0 {
            return Err(FormatError::Truncated {
                part: PART,
                offset: 0,
            });
        }
        let announced = count.max(entries + u64::from(more));
        self.announced = Some(self.announced.unwrap_or_default() + announced);
        Ok(())
    }

    /// Creates the import. `cut` is the error if the file is truncated.
    fn finish(
        self,
        format: Format,
        hint: Option<&str>,
        partial: PartialPolicy,
        cut: Option<FormatError>,
    ) -> Result<Import, FormatError> {
        if self.found > 0 && !self.has_values {
            return Err(malformed(
                "no entry has a value: was it made with --keys-only?",
            ));
        }
        if self.revision.is_none() && cut.is_none() {
            return Err(malformed("it names no revision"));
        }
        let mut losses = Vec::new();
        losses.extend(partial.entries(self.found, self.announced, cut)?);
        if self.is_selection {
            losses.push(partial.accept(Loss {
                missing: "it contains only the entries that inspect selected (--family, --prefix or --key)"
                    .to_owned(),
                of_entries: true,
            })?);
        }
        let root = hint.or(self.root.as_deref());
        let mut import = Import::with_leases(format, self.sorter.finish()?, root)?;
        import.revision = self.revision.unwrap_or_default();
        Ok(losses.into_iter().fold(import, Import::with))
    }
}

fn malformed(reason: &str) -> FormatError {
    FormatError::Malformed {
        part: PART,
        offset: 0,
        reason: reason.to_owned(),
    }
}
