//! The protobuf form of a dump: `etcdserverpb.RangeResponse`, read one field at a time.

use prost::Message as _;

use super::super::super::bounded_reader::BoundedReader;
use super::super::super::digest::ENTRY_LIMIT;
use super::{
    BufRead, Dump, Format, FormatError, Import, PART, PartialPolicy, Read, StoredKeyValue,
    malformed,
};

/// Maximum size of an entry with its revisions and lease.
const FIELD_LIMIT: u64 = ENTRY_LIMIT + 128;

/// `etcdserverpb.ResponseHeader`.
#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(int64, tag = "3")]
    revision: i64,
}

pub(in super::super) fn read(
    reader: impl BufRead,
    hint: Option<&str>,
    partial: PartialPolicy,
) -> Result<Import, FormatError> {
    let mut dump = Dump::default();
    let mut fields = Fields(BoundedReader::new(reader));
    let cut = match fields.read(&mut dump) {
        Ok(()) => None,
        Err(error @ FormatError::Truncated { .. }) => Some(error),
        Err(error) => return Err(error),
    };
    dump.finish(Format::Etcdctl, hint, partial, cut)
}

struct Fields<R>(BoundedReader<R>);

impl<R: Read> Fields<R> {
    /// Reads the response to the end.
    fn read(&mut self, dump: &mut Dump) -> Result<(), FormatError> {
        let mut bytes = Vec::new();
        let (mut count, mut more) = (0, false);
        while let Some(tag) = self.varint(true)? {
            match tag {
                0x0a if dump.revision.is_some() => {
                    return Err(malformed(
                        "it contains several responses: read all keys with one command",
                    ));
                }
                0x0a => {
                    self.message(&mut bytes)?;
                    let header = Header::decode(bytes.as_slice());
                    dump.set_revision(header.map_err(|error| unknown(&error))?.revision)?;
                }
                0x12 => {
                    self.message(&mut bytes)?;
                    let entry = StoredKeyValue::decode(bytes.as_slice());
                    dump.push(entry.map_err(|error| unknown(&error))?)?;
                }
                0x18 => more = self.number()? != 0,
                0x20 => count = i64::try_from(self.number()?).unwrap_or_default(),
                _ => {
                    return Err(FormatError::Unknown(format!(
                        "it begins like the output of etcdctl get -w protobuf, but has a field {tag:#x}"
                    )));
                }
            }
        }
        dump.end_response(dump.found, count, more)
    }

    /// Reads a number; `None` at the end of the file if `may_end`.
    fn varint(&mut self, may_end: bool) -> Result<Option<u64>, FormatError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            if self.0.fill(&mut byte)? == 0 {
                return match may_end && shift == 0 {
                    true => Ok(None),
                    false => Err(self.0.truncated(PART)),
                };
            }
            number |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(Some(number));
            }
        }
        Err(self.0.malformed(PART, "a number has too many bytes"))
    }

    fn number(&mut self) -> Result<u64, FormatError> {
        self.varint(false).map(Option::unwrap_or_default)
    }

    fn message(&mut self, bytes: &mut Vec<u8>) -> Result<(), FormatError> {
        let offset = self.0.offset();
        let length = self.number()?;
        if length > FIELD_LIMIT {
            return Err(FormatError::ImplausibleLength {
                part: PART,
                length,
                limit: FIELD_LIMIT,
                offset,
            });
        }
        self.0.replace(bytes, length, PART)
    }
}

fn unknown(error: &prost::DecodeError) -> FormatError {
    FormatError::Unknown(format!(
        "it begins like the output of etcdctl get -w protobuf, but: {error}"
    ))
}
