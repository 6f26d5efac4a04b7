//! `docs/findings.md`, which `explain` prints, matches the codes in the product.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;

/// A code in the source: the first text of a call, or of a pair with its message.
const USES: &str = concat!(
    r#"\b(?:error|warning|notice|broken|odd|stand_in_the_way|block\w*)\(\s*(?:&mut )?(?:\w+,\s*)?"([a-z0-9][a-z0-9.-]+)",\s"#,
    r#"|about_cluster\(\s*[\w:]+,\s*"([a-z][a-z0-9-]+)""#,
    r#"|\(\s*"([a-z]+(?:-[a-z0-9]+)+)",\s*(?:what|format!|"[^"]{20,})"#,
    r#"|pub const [A-Z_]+: &str = "([a-z]+-[a-z-]+)";"#,
);

/// The product's code, without tests.
fn product() -> Vec<String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    let mut folders = vec![top.join("src"), top.join("crates")];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !["tests", "meta-testing", "meta-fuzz"].contains(&name) {
                folders.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = fs::read_to_string(&path).unwrap();
                let product = text.split("#[cfg(test)]").next().unwrap();
                texts.push(product.to_owned());
            }
        }
    }
    texts
}

fn documented() -> BTreeSet<String> {
    let page = include_str!("../../docs/findings.md");
    let names = page.lines().filter_map(|line| line.strip_prefix("### `"));
    names
        .map(|name| name.trim_end_matches('`').to_owned())
        .collect()
}

#[test]
fn every_finding_code_is_documented() {
    let pattern = Regex::new(USES).unwrap();
    let mut used = BTreeSet::new();
    for text in product() {
        for found in pattern.captures_iter(&text) {
            let code = found.iter().skip(1).flatten().next().unwrap();
            used.insert(code.as_str().to_owned());
        }
    }
    assert!(used.len() > 90, "{}", used.len());
    let missing: Vec<_> = used.difference(&documented()).cloned().collect();
    assert_eq!(
        missing,
        Vec::<String>::new(),
        "add a section to docs/findings.md"
    );
}
