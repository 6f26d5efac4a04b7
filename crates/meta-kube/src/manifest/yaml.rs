//! JSON as block YAML, for `--dry-run`: what `kubectl apply -f -` takes and people can read.

use serde_json::Value;

/// One document, with its `---`.
#[must_use]
pub(crate) fn document(value: &Value) -> String {
    let mut text = "---\n".to_owned();
    block(value, 0, &mut text);
    text
}

fn block(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                text.push_str(&format!("{indent}{}:", scalar_text(key)));
                member_text(member, depth, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let mut inner = String::new();
                block(item, depth + 1, &mut inner);
                let inner = inner.trim_start();
                text.push_str(&format!("{indent}- {inner}"));
            }
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => text.push_str(&format!("{indent}{}\n", scalar(value))),
    }
}

fn member_text(member: &Value, depth: usize, text: &mut String) {
    match member {
        Value::Object(inner) if !inner.is_empty() => {
            text.push('\n');
            block(member, depth + 1, text);
        }
        Value::Array(inner) if !inner.is_empty() => {
            text.push('\n');
            block(member, depth + 1, text);
        }
        Value::String(lines) if lines.contains('\n') && is_plain_block(lines) => {
            text.push_str(" |\n");
            let indent = "  ".repeat(depth + 1);
            for line in lines.trim_end_matches('\n').lines() {
                text.push_str(&format!("{indent}{line}\n"));
            }
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => text.push_str(&format!(" {}\n", scalar(member))),
    }
}

/// Whether a text can stand in a block as it is: it begins in the first column and ends with one line
/// break.
fn is_plain_block(lines: &str) -> bool {
    let ends_once = lines.ends_with('\n') && !lines.ends_with("\n\n");
    ends_once && !lines.starts_with([' ', '\n']) && !lines.contains(['\r', '\t'])
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => scalar_text(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

/// A text without quotes where nobody could take it for anything else.
fn scalar_text(text: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "null" | "y" | "n"
    );
    if begins && !word && text.chars().all(harmless) {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn yaml_reads_back_objects_lists_and_texts() {
        let value = json!({
            "apiVersion": "v1",
            "count": 3,
            "empty": {},
            "list": [{"name": "a", "args": ["-x=1", "true"]}, "b"],
            "text": "one: 1\ntwo: 2\n",
            "version": "2.1",
        });
        assert_eq!(
            document(&value),
            "\
---
apiVersion: v1
count: 3
empty: {}
list:
  - args:
      - \"-x=1\"
      - \"true\"
    name: a
  - b
text: |
  one: 1
  two: 2
version: \"2.1\"
"
        );
    }
}
