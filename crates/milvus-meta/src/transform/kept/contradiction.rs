//! Reports contradictions between the records of an object in both layouts.

use serde_json::Value;

use super::super::findings::Findings;
use crate::codec::describe;
use crate::entry::printable;

/// Maximum number of differences in a message.
const SHOWN_MAX: usize = 8;

/// The remedy if no Milvus command can make the records agree.
pub(super) const DECIDE: &str = "Decide which record is right, then delete the keys of the other one with etcdctl del \
    (meta-migration inspect shows all of them; save them before with meta-migration backup)";

/// Reports an object whose records in the two layouts differ.
pub(super) fn report(
    findings: &mut Findings,
    key: &[u8],
    title: &str,
    mut differences: Vec<String>,
    advice: &str,
) {
    let hidden = differences.len().saturating_sub(SHOWN_MAX);
    differences.truncate(SHOWN_MAX);
    let more = match hidden {
        0 => String::new(),
        hidden => format!("; and {hidden} more"),
    };
    let message = format!(
        "{title} is in both layouts, and the records differ: {}{more}. {advice}. Then run meta-migration migrate again",
        differences.join("; ")
    );
    findings.error("contradiction", key, message);
}

/// Formats the converted 2.1 value and the 2.2 value of a key. Of two records, only differing
/// fields are shown.
pub(super) fn compared(key: &[u8], ours: Option<&[u8]>, theirs: Option<&[u8]>) -> String {
    let name = printable(key);
    let shown = |value: Option<&[u8]>| match value {
        Some(value) => describe(key, value).to_string(),
        None => "nothing".to_owned(),
    };
    let (Some(old), Some(new)) = (ours, theirs) else {
        return format!("{name}: 2.1 has {}, 2.2 has {}", shown(ours), shown(theirs));
    };
    let mut members = Vec::new();
    differing("", &describe(key, old), &describe(key, new), &mut members);
    if members.is_empty() {
        members.push("unknown fields differ".to_owned());
    }
    format!("{name}: {}", members.join(", "))
}

/// Adds the fields that differ, with their paths.
fn differing(path: &str, old: &Value, new: &Value, out: &mut Vec<String>) {
    if old == new {
        return;
    }
    let (Value::Object(left), Value::Object(right)) = (old, new) else {
        let path = if path.is_empty() { "the record" } else { path };
        out.push(format!("{path} is {old} in 2.1 and {new} in 2.2"));
        return;
    };
    let names: std::collections::BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    for name in names {
        let inner = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        let of =
            |side: &serde_json::Map<String, Value>| side.get(name).cloned().unwrap_or(Value::Null);
        differing(&inner, &of(left), &of(right), out);
    }
}
