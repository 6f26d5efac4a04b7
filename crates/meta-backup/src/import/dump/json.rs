//! The JSON forms of a dump.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::super::counting_reader::CountingReader;
use super::{
    BufRead, Dump, Format, FormatError, Import, PART, PartialPolicy, StoredKeyValue, malformed,
};

/// Name of the structure in the error for a truncated file.
const LINES: &str = "the lines of inspect --raw";

#[derive(Deserialize)]
struct Header {
    revision: i64,
}

/// An entry of a response.
#[derive(Deserialize)]
struct JsonEntry {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    lease: i64,
}

/// The last line of `inspect --raw`.
#[derive(Deserialize)]
struct End {
    entries: u64,
    revision: i64,
    meta_root: String,
    complete: bool,
}

/// Reads JSON documents: the output of etcdctl, or lines of `inspect --raw`.
pub(in super::super) fn read(
    reader: impl BufRead,
    hint: Option<&str>,
    partial: PartialPolicy,
) -> Result<Import, FormatError> {
    let mut reader = CountingReader::new(reader);
    let mut dump = Dump::default();
    let mut kind = None;
    let cut = loop {
        match has_more(&mut reader) {
            Ok(true) => {}
            // Lines without the last line of inspect are truncated.
            Ok(false) if kind == Some(DocumentKind::Line) => {
                break Some(FormatError::Truncated {
                    part: LINES,
                    offset: reader.position(),
                });
            }
            Ok(false) => break None,
            Err(source) => {
                let offset = reader.position();
                return Err(FormatError::Read { offset, source });
            }
        }
        if kind == Some(DocumentKind::End) {
            return Err(malformed("data follows the last line of inspect --raw"));
        }
        match document(&mut reader, &mut dump) {
            Ok(read) => kind = Some(read),
            Err(error @ FormatError::Truncated { .. }) => break Some(error),
            Err(error) => return Err(error),
        }
    };
    let format = match kind {
        Some(DocumentKind::Line | DocumentKind::End) => Format::Inspect,
        Some(DocumentKind::Response) | None => Format::Etcdctl,
    };
    dump.finish(format, hint, partial, cut)
}

/// Skips white space. Returns whether data follows.
fn has_more(reader: &mut impl BufRead) -> std::io::Result<bool> {
    loop {
        let buffer = reader.fill_buf()?;
        let spaces = buffer
            .iter()
            .take_while(|byte| byte.is_ascii_whitespace())
            .count();
        if spaces < buffer.len() || buffer.is_empty() {
            let has_more = !buffer.is_empty();
            reader.consume(spaces);
            return Ok(has_more);
        }
        reader.consume(spaces);
    }
}

/// The kinds of JSON document.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DocumentKind {
    Response,
    Line,
    End,
}

fn document<R: BufRead>(
    reader: &mut CountingReader<R>,
    dump: &mut Dump,
) -> Result<DocumentKind, FormatError> {
    let mut failure = None;
    let seed = DocumentSeed {
        dump,
        failure: &mut failure,
    };
    let mut deserializer = serde_json::Deserializer::from_reader(&mut *reader);
    let read = seed.deserialize(&mut deserializer);
    match (read, failure) {
        (_, Some(failure)) => Err(failure),
        (Ok(kind), None) => Ok(kind),
        (Err(error), None) => Err(json_error(error, reader.position())),
    }
}

fn json_error(error: serde_json::Error, offset: u64) -> FormatError {
    match error.classify() {
        serde_json::error::Category::Io => FormatError::Read {
            offset,
            source: error.into(),
        },
        serde_json::error::Category::Eof => FormatError::Truncated { part: PART, offset },
        serde_json::error::Category::Syntax | serde_json::error::Category::Data => {
            FormatError::Unknown(format!(
                "it is JSON, but not the output of etcdctl get -w json or inspect --raw: {error}"
            ))
        }
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, FormatError> {
    STANDARD
        .decode(text)
        .map_err(|error| malformed(&format!("{text:?} is not base64: {error}")))
}

fn push(dump: &mut Dump, entry: &JsonEntry) -> Result<(), FormatError> {
    dump.push(StoredKeyValue {
        key: bytes(&entry.key)?,
        value: bytes(&entry.value)?,
        lease: entry.lease,
        ..StoredKeyValue::default()
    })
}

/// Reads a document. Errors other than JSON errors are stored in `failure`.
struct DocumentSeed<'d> {
    dump: &'d mut Dump,
    failure: &'d mut Option<FormatError>,
}

impl<'de> DeserializeSeed<'de> for DocumentSeed<'_> {
    type Value = DocumentKind;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<DocumentKind, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for DocumentSeed<'_> {
    type Value = DocumentKind;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a range response, or a line of inspect --raw")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DocumentKind, A::Error> {
        let (mut count, mut more, mut has_header) = (0, false, false);
        let mut line = JsonEntry {
            key: String::new(),
            value: String::new(),
            lease: 0,
        };
        let mut end: Option<End> = None;
        let before = self.dump.found;
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "header" => {
                    let header: Header = map.next_value()?;
                    has_header = true;
                    let set = self.dump.set_revision(header.revision);
                    set.map_err(|error| stop(self.failure, error))?;
                }
                "kvs" => map.next_value_seed(EntriesSeed {
                    dump: self.dump,
                    failure: self.failure,
                })?,
                "count" => count = map.next_value()?,
                "more" => more = map.next_value()?,
                "key" => line.key = map.next_value()?,
                "value" => line.value = map.next_value()?,
                "lease" => line.lease = map.next_value()?,
                "end" => end = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let entries = self.dump.found - before;
        let (kind, done) = if let Some(end) = end {
            self.dump.announced = Some(end.entries);
            self.dump.is_selection = !end.complete;
            self.dump.root = Some(end.meta_root);
            self.dump.revision = Some(end.revision);
            (DocumentKind::End, Ok(()))
        } else if has_header {
            (
                DocumentKind::Response,
                self.dump.end_response(entries, count, more),
            )
        } else if entries == 0 && !line.key.is_empty() {
            (DocumentKind::Line, push(self.dump, &line))
        } else {
            return Err(A::Error::custom("it has neither a header nor a key"));
        };
        done.map_err(|error| stop(self.failure, error))?;
        Ok(kind)
    }
}

/// Stores an error and stops the deserializer.
fn stop<E: serde::de::Error>(failure: &mut Option<FormatError>, error: FormatError) -> E {
    *failure = Some(error);
    E::custom("stopped")
}

/// Reads the entries of a response one at a time.
struct EntriesSeed<'d> {
    dump: &'d mut Dump,
    failure: &'d mut Option<FormatError>,
}

impl<'de> DeserializeSeed<'de> for EntriesSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for EntriesSeed<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(entry) = list.next_element::<JsonEntry>()? {
            push(self.dump, &entry).map_err(|error| stop(self.failure, error))?;
        }
        Ok(())
    }
}
