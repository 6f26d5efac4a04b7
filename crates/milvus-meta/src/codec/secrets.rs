//! Masks credentials in described records.

use serde_json::Value;

use crate::keys::Family;

/// The replacement of secrets.
const MASK: &str = "***";

/// Masks the passwords of a described record. Hashes (bcrypt, SHA-256) are masked, too.
pub fn mask_secrets(family: Family, value: &mut Value) {
    if family != Family::Credential {
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if name.to_lowercase().contains("password") || name == "base64" {
                    *value = Value::String(MASK.to_owned());
                } else {
                    mask_secrets(family, value);
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|value| mask_secrets(family, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::codec::describe;

    #[test]
    fn passwords_of_users_are_masked() {
        let value = br#"{"encrypted_password":"$2a$10$x","sha256_password":"y","tenant":"t"}"#;
        let mut shown = describe(b"root-coord/credential/users/u", value);
        mask_secrets(Family::Credential, &mut shown);
        assert_eq!(
            shown,
            json!({ "encrypted_password": "***", "sha256_password": "***", "tenant": "t" })
        );
    }

    #[test]
    fn credential_that_is_not_text_is_masked() {
        let mut shown = describe(b"root-coord/credential/users/u", b"\xff");
        mask_secrets(Family::Credential, &mut shown);
        assert_eq!(shown, json!({ "base64": "***" }));
    }
}
