//! The protobuf wire format, field by field.
//!
//! Stored values are read here instead of through generated types for three reasons: unknown fields
//! must be detected and kept, a field with an unexpected wire type counts as unknown (as in Milvus'
//! own decoder, while others fail), and a million records must not become a million object trees.

/// Why bytes are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("the value ends inside a field")]
    Truncated,
    /// A varint is longer than ten bytes.
    #[error("a number is longer than 64 bits")]
    LongVarint,
    /// A tag has field number 0, a number out of range, or an unknown wire type.
    #[error("a field tag is invalid")]
    BadTag,
    /// Groups are not closed, closed twice, or nested too deeply.
    #[error("a group is not well formed")]
    BadGroup,
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    BadText,
}

/// The content of a field, by wire type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'v> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 2: text, bytes, a message, or packed numbers.
    Bytes(&'v [u8]),
    /// Wire types 1, 5 and 3, which no stored message of Milvus has at its top level.
    Other,
}

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'v> {
    /// Its number.
    pub number: u32,
    /// Its content.
    pub content: Content<'v>,
    /// Tag and content as they are in the message.
    pub raw: &'v [u8],
}

impl<'v> Field<'v> {
    /// Returns the numbers of a repeated field, packed or not; none for another wire type.
    ///
    /// # Errors
    /// [`WireError`] if packed numbers are truncated.
    pub fn numbers(&self) -> Result<Vec<u64>, WireError> {
        let mut numbers = Vec::new();
        match self.content {
            Content::Varint(number) => numbers.push(number),
            Content::Bytes(mut packed) => {
                while !packed.is_empty() {
                    numbers.push(take_varint(&mut packed)?);
                }
            }
            Content::Other => {}
        }
        Ok(numbers)
    }
}

/// The fields of a message in their order.
#[derive(Debug, Clone)]
pub struct Fields<'v> {
    rest: &'v [u8],
}

/// Reads a message field by field.
#[must_use]
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

impl<'v> Fields<'v> {
    fn read(&mut self) -> Result<Field<'v>, WireError> {
        let start = self.rest;
        let (number, wire_type) = take_tag(&mut self.rest)?;
        let content = take_content(&mut self.rest, number, wire_type, GROUPS_MAX)?;
        let raw = &start[..start.len() - self.rest.len()];
        Ok(Field {
            number,
            content,
            raw,
        })
    }
}

impl<'v> Iterator for Fields<'v> {
    type Item = Result<Field<'v>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Maximum nesting depth of groups.
const GROUPS_MAX: usize = 64;

fn take_tag(rest: &mut &[u8]) -> Result<(u32, u8), WireError> {
    const NUMBER_MAX: u64 = (1 << 29) - 1;
    let tag = take_varint(rest)?;
    let number = tag >> 3;
    match u32::try_from(number) {
        Ok(small) if (1..=NUMBER_MAX).contains(&number) => Ok((small, (tag & 7) as u8)),
        _ => Err(WireError::BadTag),
    }
}

fn take<'v>(rest: &mut &'v [u8], length: usize) -> Result<&'v [u8], WireError> {
    let (head, tail) = rest.split_at_checked(length).ok_or(WireError::Truncated)?;
    *rest = tail;
    Ok(head)
}

pub(super) fn take_varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    // The common case of tags and lengths.
    if let [byte @ 0..0x80, remaining @ ..] = rest {
        let number = u64::from(*byte);
        *rest = remaining;
        return Ok(number);
    }
    let mut number = 0;
    for (index, byte) in rest.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7f);
        if index == 9 && bits > 1 {
            return Err(WireError::LongVarint);
        }
        number |= bits << (7 * index);
        if byte & 0x80 == 0 {
            *rest = &rest[index + 1..];
            return Ok(number);
        }
    }
    Err(if rest.len() < 10 {
        WireError::Truncated
    } else {
        WireError::LongVarint
    })
}

/// Takes the content of a field, in which at most `groups` groups may be nested.
fn take_content<'v>(
    rest: &mut &'v [u8],
    number: u32,
    wire_type: u8,
    groups: usize,
) -> Result<Content<'v>, WireError> {
    Ok(match wire_type {
        0 => Content::Varint(take_varint(rest)?),
        1 => take(rest, 8).map(|_| Content::Other)?,
        2 => {
            let length = take_varint(rest)?;
            let length = usize::try_from(length).map_err(|_| WireError::Truncated)?;
            Content::Bytes(take(rest, length)?)
        }
        3 => skip_group(rest, number, groups).map(|()| Content::Other)?,
        5 => take(rest, 4).map(|_| Content::Other)?,
        4 => return Err(WireError::BadGroup),
        _ => return Err(WireError::BadTag),
    })
}

/// Skips the rest of a group that was just opened.
fn skip_group(rest: &mut &[u8], opened: u32, groups: usize) -> Result<(), WireError> {
    let inner = groups.checked_sub(1).ok_or(WireError::BadGroup)?;
    loop {
        match take_tag(rest)? {
            (number, 4) if number == opened => return Ok(()),
            (number, wire_type) => take_content(rest, number, wire_type, inner)?,
        };
    }
}

/// Decodes the text of a field.
///
/// # Errors
/// [`WireError::BadText`] if it is not UTF-8.
pub fn text(bytes: &[u8]) -> Result<String, WireError> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| WireError::BadText)
}

/// Appends a varint.
pub fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(lowest_byte(number) | 0x80);
        number >>= 7;
    }
    out.push(lowest_byte(number));
}

fn lowest_byte(number: u64) -> u8 {
    number.to_le_bytes()[0]
}

/// Appends a varint field, unless it is zero, which proto3 omits.
pub fn push_number(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        push_varint(out, u64::from(number) << 3);
        push_varint(out, value);
    }
}

/// Appends a field of bytes, even if it is empty.
pub fn push_bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    push_varint(out, (u64::from(number) << 3) | 2);
    push_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_keep_their_raw_bytes() {
        let message = b"\x08\x96\x01\x12\x02hi\x1d\x01\x02\x03\x04";
        let read: Vec<_> = fields(message).collect::<Result<_, _>>().unwrap();
        assert_eq!(read[0].content, Content::Varint(150));
        assert_eq!(read[1].content, Content::Bytes(b"hi"));
        assert_eq!((read[2].number, read[2].content), (3, Content::Other));
        assert_eq!(read.iter().flat_map(|f| f.raw).count(), message.len());
    }

    #[test]
    fn group_is_skipped_as_one_field() {
        let message = b"\x0b\x10\x05\x13\x14\x0c\x08\x01";
        let read: Vec<_> = fields(message).collect::<Result<_, _>>().unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].raw, b"\x0b\x10\x05\x13\x14\x0c");
    }

    #[test]
    fn malformed_message_is_rejected() {
        for (bytes, error) in [
            (&b"\x08"[..], WireError::Truncated),
            (b"\x12\x05hi", WireError::Truncated),
            (b"\x00\x01", WireError::BadTag),
            (b"\x0f\x01", WireError::BadTag),
            (b"\x0c", WireError::BadGroup),
            (b"\x0b\x14", WireError::BadGroup),
            (
                b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
                WireError::LongVarint,
            ),
            (b"\xe2\x9b\xbc", WireError::Truncated),
        ] {
            let read: Result<Vec<_>, _> = fields(bytes).collect();
            assert_eq!(read, Err(error), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn varints_round_trip(number in any::<u64>()) {
            let mut out = Vec::new();
            push_varint(&mut out, number);
            let mut rest = out.as_slice();
            prop_assert_eq!(take_varint(&mut rest), Ok(number));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let read: Vec<_> = fields(&bytes).filter_map(Result::ok).collect();
            prop_assert!(read.iter().map(|field| field.raw.len()).sum::<usize>() <= bytes.len());
        }
    }
}
