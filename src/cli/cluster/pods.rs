//! Labels and tolerations as they are typed.

use serde_json::{Value, json};

/// `key=value`.
pub(in crate::cli) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected key=value".to_owned()),
    }
}

/// `key`, `key=value`, each with `:effect`.
pub(in crate::cli) fn toleration(text: &str) -> Result<Value, String> {
    let (taint, effect) = match text.split_once(':') {
        Some((taint, effect)) => (taint, Some(effect)),
        None => (text, None),
    };
    if effect.is_some_and(|one| !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&one)) {
        return Err("the effect has to be NoSchedule, PreferNoSchedule or NoExecute".to_owned());
    }
    let mut toleration = match taint.split_once('=') {
        Some((key, value)) => json!({"key": key, "operator": "Equal", "value": value}),
        None => json!({"key": taint, "operator": "Exists"}),
    };
    if taint.is_empty() || taint.starts_with('=') {
        return Err("expected key, key=value, or either with :effect".to_owned());
    }
    if let Some(effect) = effect {
        toleration["effect"] = json!(effect);
    }
    Ok(toleration)
}

/// A toleration as it was typed.
pub(in crate::cli) fn toleration_text(toleration: &Value) -> String {
    let part = |name: &str, before: &str| match toleration[name].as_str() {
        Some(text) => format!("{before}{text}"),
        None => String::new(),
    };
    format!(
        "{}{}{}",
        part("key", ""),
        part("value", "="),
        part("effect", ":")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_are_read_and_written_alike() {
        for text in [
            "milvus",
            "milvus=yes",
            "milvus=yes:NoSchedule",
            "milvus:NoExecute",
        ] {
            let read = toleration(text).unwrap();
            assert_eq!(toleration_text(&read), text);
        }
        assert_eq!(
            toleration("a=b:NoSchedule").unwrap(),
            json!({"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"})
        );
        for wrong in ["", "=b", "a:Never"] {
            assert!(toleration(wrong).is_err(), "{wrong}");
        }
        assert_eq!(label("disk=ssd"), Ok(("disk".to_owned(), "ssd".to_owned())));
        assert!(label("disk").is_err());
    }
}
