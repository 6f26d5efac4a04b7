//! The results that clients see, compared between releases.

use std::collections::BTreeSet;

use serde_json::Value;

/// Known wrong answers of a release, also from indexes that it built itself.
const DEFECTS: [(&str, &str); 1] = [
    // Filtered searches on IVF_PQ return rows at other distances.
    ("2.3.5", "/codes/answers/filtered"),
];

/// Collections with rows that 2.1.0 did not flush, and the number inserted. The statistics count
/// only flushed rows, and a release may flush the others at any time.
const UNFLUSHED: [(&str, i64); 3] = [
    ("/draft/rows", 1),
    ("/final/rows", 1),
    ("/growing/rows", 2300),
];

/// Fails with each path at which a release shows other results than expected.
pub(super) fn assert_same(expected: &Value, found: &Value, release: &str, when: &str) {
    let mut differences = Vec::new();
    compare(expected, found, "", &mut differences);
    let is_defect = |place: &str| DEFECTS.contains(&(release, place));
    differences.retain(|(place, _)| !is_defect(place));
    let texts: Vec<_> = differences
        .into_iter()
        .map(|(place, text)| format!("{place}: {text}"))
        .collect();
    assert!(
        texts.is_empty(),
        "Milvus {release}, {when}:\n{}",
        texts.join("\n")
    );
}

fn compare(expected: &Value, found: &Value, place: &str, differences: &mut Vec<(String, String)>) {
    if let (Value::Object(left), Value::Object(right)) = (expected, found) {
        let names: BTreeSet<_> = left.keys().chain(right.keys()).collect();
        for name in names {
            let place = format!("{place}/{name}");
            compare(&expected[name], &found[name], &place, differences);
        }
    } else if expected != found && !is_flush(place, expected, found) {
        let text = format!("expected {expected}, found {found}");
        differences.push((place.to_owned(), text));
    }
}

/// Whether more rows are counted than before, but no more than were inserted.
fn is_flush(place: &str, expected: &Value, found: &Value) -> bool {
    let unflushed = UNFLUSHED.iter().find(|(name, _)| *name == place);
    unflushed.is_some_and(|(_, inserted)| {
        (expected.as_i64()..=Some(*inserted)).contains(&found.as_i64())
    })
}

/// The 2.1 results as later releases show them: default index names have the field's id, and no
/// collection is loaded without an index.
pub(super) fn upgraded(mut seen: Value) -> Value {
    for collection in seen.as_object_mut().unwrap().values_mut() {
        let fields = collection["fields"].as_array().unwrap().clone();
        let indexes = collection["indexes"].as_array_mut().unwrap();
        let has_index = !indexes.is_empty();
        for index in indexes {
            let field = fields.iter().find(|field| field["name"] == index["field"]);
            if index["name"] == "_default_idx" {
                index["name"] = format!("_default_idx_{}", field.unwrap()["id"]).into();
            }
        }
        if !has_index {
            collection.as_object_mut().unwrap().remove("loaded");
        }
    }
    seen
}
