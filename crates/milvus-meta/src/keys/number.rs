//! Ids in keys: signed decimal numbers in canonical spelling.

/// Reads an id; `None` if it is not in canonical spelling.
pub(super) fn parse_id(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [] => return None,
        [b'0'] => return (!is_negative).then_some(0),
        [b'0', ..] => return None,
        _ => {}
    }
    // Accumulates negatively: the smallest number has no positive counterpart.
    let mut id = 0_i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        id = id.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if is_negative {
        Some(id)
    } else {
        id.checked_neg()
    }
}

/// Appends `prefix` and the ids, each after a slash.
pub(super) fn push_ids(out: &mut Vec<u8>, prefix: &str, ids: &[i64]) {
    out.extend_from_slice(prefix.as_bytes());
    let mut digits = itoa::Buffer::new();
    for id in ids {
        out.push(b'/');
        out.extend_from_slice(digits.format(*id).as_bytes());
    }
}
