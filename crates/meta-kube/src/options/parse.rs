//! Parses labels, amounts, tolerations and users from the command line.

use serde_json::{Value, json};

use super::PodUser;
use crate::quantity::number;

/// Parses `key=value`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected key=value".to_owned()),
    }
}

/// Parses `cpu=100m`.
pub(super) fn amount(text: &str) -> Result<(String, String), String> {
    let (name, amount) = label(text)?;
    let known = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
    if known && number(&amount).is_some_and(|number| number > 0.0) {
        Ok((name, amount))
    } else {
        Err("expected cpu=AMOUNT, memory=AMOUNT or ephemeral-storage=AMOUNT".to_owned())
    }
}

/// Parses `10Gi`.
pub(super) fn size(text: &str) -> Result<String, String> {
    match number(text) {
        Some(bytes) if bytes > 0.0 => Ok(text.to_owned()),
        Some(_) | None => Err("expected a size above 0, for example 10Gi".to_owned()),
    }
}

/// Parses `namespace`, or a user id other than root's.
pub(super) fn user(text: &str) -> Result<PodUser, String> {
    match text.parse::<i64>() {
        Ok(id) if id > 0 => Ok(PodUser::Id(id)),
        Err(_) if text == "namespace" => Ok(PodUser::Namespace),
        Ok(_) | Err(_) => Err("expected a user id above 0, or \"namespace\"".to_owned()),
    }
}

/// Parses `key` or `key=value`, either with `:effect`.
pub(super) fn toleration(text: &str) -> Result<Value, String> {
    let (taint, effect) = match text.split_once(':') {
        Some((taint, effect)) => (taint, Some(effect)),
        None => (text, None),
    };
    if effect.is_some_and(|one| !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&one)) {
        return Err("the effect must be NoSchedule, PreferNoSchedule or NoExecute".to_owned());
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

/// Formats a toleration as it is given on the command line.
pub fn toleration_text(toleration: &Value) -> String {
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
    fn amounts_name_a_container_resource() {
        let cpu = ("cpu".to_owned(), "100m".to_owned());
        assert_eq!(amount("cpu=100m"), Ok(cpu));
        for wrong in [
            "cpu", "cpu=", "cpu=much", "cpu=1x", "cpu=0", "cpu=-1", "gpu=1",
        ] {
            assert!(amount(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_user_is_an_id_or_left_to_the_namespace() {
        assert_eq!(user("7"), Ok(PodUser::Id(7)));
        assert_eq!(user("namespace"), Ok(PodUser::Namespace));
        assert_eq!(PodUser::Namespace.to_string(), "namespace");
        for wrong in ["0", "-1", "root", ""] {
            assert!(user(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tolerations_round_trip() {
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
