//! Reads the dumps below `testdata/examples`.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use milvus_meta::entry::Entry;

/// The entries of a dump, ascending; one with a lease has lease 1.
#[must_use]
pub(crate) fn read_dump(name: &str) -> Vec<Entry> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/examples")
        .join(name);
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    text.lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let value = STANDARD.decode(line["v"].as_str().unwrap()).unwrap();
            let lease = i64::from(line["lease"].as_bool().unwrap_or_default());
            Entry {
                lease,
                ..Entry::new(line["k"].as_str().unwrap().to_owned(), value)
            }
        })
        .collect()
}
