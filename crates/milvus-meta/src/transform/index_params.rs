//! T7: flattens the index parameters of 2.1 into those of 2.2.
//!
//! 2.1 stores the build parameters as one pair `params` whose value is a JSON object. 2.2 requires
//! a separate text pair for every member, and compares these texts when a client creates the same
//! index again.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::codec::v2_1::Pair;

/// Parameters by name, and the members that were `null`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Flattened {
    pub(super) params: BTreeMap<String, String>,
    pub(super) nulls: Vec<String>,
}

/// The reason why `params` cannot be flattened.
#[derive(Debug, thiserror::Error)]
pub(super) enum ParamsError {
    #[error("its member params is not a JSON object: {0}")]
    NoObject(String),
    #[error("the number {0} in its member params is out of range")]
    Number(String),
}

/// Flattens the pairs of an index definition; later pairs override earlier ones.
pub(super) fn flatten(pairs: &[Pair]) -> Result<Flattened, ParamsError> {
    let mut flattened = Flattened::default();
    for (key, value) in pairs {
        if key != "params" {
            flattened.params.insert(key.clone(), value.clone());
            continue;
        }
        for (name, member) in members(value)? {
            match text(member.get())? {
                Some(text) => {
                    flattened.params.insert(name, text);
                }
                None => flattened.nulls.push(name),
            }
        }
    }
    Ok(flattened)
}

/// T19: returns the pairs as given by the user, with the JSON text of `params` compacted: later
/// releases compare it with what clients send, which is compact from 2.3 on.
pub(super) fn compacted(pairs: &[Pair]) -> Vec<Pair> {
    let compacted = pairs.iter().map(|(key, value)| {
        let value = if key == "params" {
            compact(value)
        } else {
            value.clone()
        };
        (key.clone(), value)
    });
    compacted.collect()
}

type Members = Vec<(String, Box<RawValue>)>;

/// Returns the members of a JSON object in source order; none for the literal `null`.
fn members(json: &str) -> Result<Members, ParamsError> {
    struct InOrder;

    impl<'de> Visitor<'de> for InOrder {
        type Value = Members;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a JSON object")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(json);
    deserializer
        .deserialize_any(InOrder)
        .and_then(|members| deserializer.end().map(|()| members))
        .map_err(|error| ParamsError::NoObject(error.to_string()))
}

/// Converts a JSON value to parameter text; `None` for `null`.
fn text(json: &str) -> Result<Option<String>, ParamsError> {
    let json = json.trim();
    Ok(match json.as_bytes().first() {
        Some(b'"') => Some(
            serde_json::from_str(json).map_err(|error| ParamsError::NoObject(error.to_string()))?,
        ),
        Some(b'n') => None,
        Some(b'-' | b'0'..=b'9') => Some(number(json)?),
        Some(b'[' | b'{') => Some(compact(json)),
        _ => Some(json.to_owned()),
    })
}

/// Formats a number: integers unchanged; other numbers as integers if they are integral, otherwise
/// as the shortest text that is parsed to the same value, with an exponent below 1e-4 and from 1e21
/// on.
fn number(json: &str) -> Result<String, ParamsError> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if !json.contains(['.', 'e', 'E']) {
        return Ok(json.to_owned());
    }
    let value: f64 = json
        .parse()
        .ok()
        .filter(|value: &f64| value.is_finite())
        .ok_or_else(|| ParamsError::Number(json.to_owned()))?;
    let size = value.abs();
    if value.fract() == 0.0 && size < EXACT_MAX {
        return Ok(format!("{value:.0}"));
    }
    if !(1e-4..1e21).contains(&size) {
        let shortest = format!("{value:e}");
        return Ok(match shortest.split_once('e') {
            Some((digits, exponent)) => match exponent.strip_prefix('-') {
                Some(exponent) => format!("{digits}e-{exponent:0>2}"),
                None => format!("{digits}e+{exponent:0>2}"),
            },
            None => shortest,
        });
    }
    Ok(value.to_string())
}

/// Removes the white space between JSON tokens, which are unchanged.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut in_string = false;
    let mut escaped = false;
    for c in json.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c.is_ascii_whitespace() {
            continue;
        } else {
            in_string = c == '"';
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(json: &str) -> String {
        text(json).unwrap().unwrap()
    }

    #[test]
    fn d45_t7_numbers_keep_their_value() {
        for (json, expected) in [
            ("1024", "1024"),
            ("999999", "999999"),
            ("1000000", "1000000"),
            ("2097152", "2097152"),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
            ("-7", "-7"),
            ("1024.0", "1024"),
            ("1e3", "1000"),
            ("2.097152E6", "2097152"),
            ("0.5", "0.5"),
            ("0.1", "0.1"),
            ("-2.50", "-2.5"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1e-5", "1e-05"),
            ("1.25e-10", "1.25e-10"),
            ("-1.5e-7", "-1.5e-07"),
            ("1e20", "100000000000000000000"),
            ("1e21", "1e+21"),
            ("1.5e300", "1.5e+300"),
            ("0.0", "0"),
        ] {
            assert_eq!(rendered(json), expected, "{json}");
        }
        assert!(matches!(text("1e999"), Err(ParamsError::Number(_))));
    }

    #[test]
    fn d45_t7_other_values_are_text_or_compact_json() {
        for (json, expected) in [
            ("\"16\"", "16"),
            ("\"a\\u00e9\\\"b\"", "aé\"b"),
            ("true", "true"),
            ("false", "false"),
            ("[ 1 , 2 ]", "[1,2]"),
            (
                "{ \"b\" : 1,\n \"a\" : \"x y\\\" z\" }",
                "{\"b\":1,\"a\":\"x y\\\" z\"}",
            ),
        ] {
            assert_eq!(rendered(json), expected, "{json}");
        }
        assert_eq!(text("null").unwrap(), None);
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<Pair> {
        list.iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn t7_later_pairs_override_and_null_does_not() {
        let flattened = flatten(&pairs(&[
            ("nlist", "1"),
            (
                "params",
                r#"{"nlist": 2, "m": 4, "nlist": null, "x": null}"#,
            ),
            ("metric_type", "L2"),
            ("m", "8"),
        ]))
        .unwrap();
        let params: Vec<_> = flattened.params.iter().collect();
        assert_eq!(
            params
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect::<Vec<_>>(),
            [("m", "8"), ("metric_type", "L2"), ("nlist", "2")]
        );
        assert_eq!(flattened.nulls, ["nlist", "x"]);
    }

    #[test]
    fn t19_params_become_compact_json() {
        for (json, expected) in [
            (r#"{"nlist": 16}"#, r#"{"nlist":16}"#),
            (r#"{"nlist":16}"#, r#"{"nlist":16}"#),
            (
                "{ \"nbits\": 8,\n\t\"m\": 4, \"a\": [1, 2.50] }",
                r#"{"nbits":8,"m":4,"a":[1,2.50]}"#,
            ),
            (
                r#"{"k v": "a, b: \" c", "x": null, "x": 1e3}"#,
                r#"{"k v":"a, b: \" c","x":null,"x":1e3}"#,
            ),
            (" {} ", "{}"),
            (" null", "null"),
        ] {
            let found = compacted(&pairs(&[("index_type", "A B"), ("params", json)]));
            assert_eq!(found, pairs(&[("index_type", "A B"), ("params", expected)]));
        }
    }

    #[test]
    fn d46_params_must_be_an_object_or_null() {
        assert_eq!(
            flatten(&pairs(&[("params", " null ")])).unwrap(),
            Flattened::default()
        );
        for bad in ["", "[1]", "\"x\"", "1", "{} x", "{\"a\":}", "{"] {
            assert!(flatten(&pairs(&[("params", bad)])).is_err(), "{bad}");
        }
    }
}
