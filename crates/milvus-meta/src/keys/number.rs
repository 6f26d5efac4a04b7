//! Ids in keys: signed decimal numbers in canonical spelling.

/// Reads an id; `None` if it is not in canonical spelling.
pub(super) fn parse_id(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let id = text.parse().ok()?;
    (itoa::Buffer::new().format::<i64>(id) == text).then_some(id)
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
