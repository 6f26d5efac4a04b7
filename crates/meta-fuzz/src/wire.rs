//! Protobuf messages as tokens: any change by the fuzzer yields a well-formed message, so that it
//! tests the meaning of the fields and not the parser.
//!
//! A token is one byte: the field number in the low four bits (0 ends the message), its kind in the
//! next three.

use super::bytes::{Bytes, push_chunk};

const SMALL: u8 = 0;
const LARGE: u8 = 1;
const CHUNK: u8 = 2;
const MESSAGE: u8 = 3;
const FIXED_64: u8 = 4;
const FIXED_32: u8 = 5;
const HIGH_NUMBER: u8 = 6;
const DEPTH_MAX: u32 = 12;

/// Decodes the tokens at the front of the input to a message.
pub fn message(input: &mut Bytes<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    fields(input, &mut out, 0);
    out
}

fn fields(input: &mut Bytes<'_>, out: &mut Vec<u8>, depth: u32) {
    while !input.is_empty() {
        let token = input.byte();
        let number = u64::from(token & 15);
        if number == 0 {
            return;
        }
        match token >> 4 & 7 {
            SMALL => varint_field(out, number, u64::from(input.byte())),
            LARGE => varint_field(out, number, input.number()),
            CHUNK => bytes_field(out, number, input.chunk()),
            MESSAGE if depth < DEPTH_MAX => {
                let mut inner = Vec::new();
                fields(input, &mut inner, depth + 1);
                bytes_field(out, number, &inner);
            }
            FIXED_64 => {
                push_varint(out, number << 3 | 1);
                out.extend_from_slice(&input.number().to_le_bytes());
            }
            FIXED_32 => {
                push_varint(out, number << 3 | 5);
                out.extend_from_slice(&[input.byte(), input.byte(), 0, 0]);
            }
            HIGH_NUMBER => varint_field(out, number << 4, u64::from(input.byte())),
            _ => bytes_field(out, number, b""),
        }
    }
}

fn varint_field(out: &mut Vec<u8>, number: u64, value: u64) {
    push_varint(out, number << 3);
    push_varint(out, value);
}

/// Appends a bytes field.
pub fn bytes_field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    push_varint(out, number << 3 | 2);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a varint field.
pub fn number_field(out: &mut Vec<u8>, number: u64, value: u64) {
    push_varint(out, number << 3);
    push_varint(out, value);
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// Encodes a message as tokens, without the end; `None` if a field has no encoding. A bytes field
/// that parses as a message is encoded as a message, unless it is text.
pub fn tokens(message: &[u8]) -> Option<Vec<u8>> {
    use milvus_meta::codec::wire::{self, Content};
    let mut out = Vec::new();
    for field in wire::fields(message) {
        let field = field.ok()?;
        let number = u8::try_from(field.number)
            .ok()
            .filter(|number| *number < 16)?;
        match field.content {
            Content::Varint(value) => match u8::try_from(value) {
                Ok(value) => out.extend_from_slice(&[SMALL << 4 | number, value]),
                Err(_) => {
                    out.push(LARGE << 4 | number);
                    out.extend_from_slice(&value.to_le_bytes());
                }
            },
            Content::Bytes(bytes) => {
                let is_text = bytes
                    .iter()
                    .all(|byte| byte.is_ascii_graphic() || *byte == b' ');
                match tokens(bytes) {
                    Some(inner) if !is_text => {
                        out.push(MESSAGE << 4 | number);
                        out.extend_from_slice(&inner);
                        out.push(0);
                    }
                    Some(_) | None => {
                        out.push(CHUNK << 4 | number);
                        push_chunk(&mut out, bytes);
                    }
                }
            }
            Content::Other => return None,
        }
    }
    Some(out)
}
