//! The weaknesses of the official script, W1 to W24: each has a test named for it, or a line in
//! `docs/kubernetes.md` that says why it cannot occur.

use std::fs;
use std::path::Path;

use crate::safety_page::tests;

/// The weaknesses that a test is named for: `w07_w08_…` and `…_and_w05_…` are, `w24h` is not.
fn numbers(test: &str) -> Vec<u32> {
    let parts = test.split('_');
    parts
        .filter_map(|part| part.strip_prefix('w')?.parse().ok())
        .collect()
}

#[test]
fn every_weakness_of_the_official_script_has_a_test_or_a_reason() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kubernetes.md");
    let page = fs::read_to_string(path).unwrap();
    let tested: Vec<u32> = tests().iter().flat_map(|test| numbers(test)).collect();
    let unknown: Vec<_> = tested.iter().filter(|number| **number > 24).collect();
    assert!(unknown.is_empty(), "there is no W{unknown:?}");
    for number in 1..=24 {
        let explained = page
            .lines()
            .any(|line| line.contains(&format!("W{number} ")) && line.contains("cannot occur"));
        assert!(
            tested.contains(&number) || explained,
            "W{number} has neither a test nor a reason"
        );
    }
}

#[test]
fn what_counts_as_a_test_of_a_weakness() {
    assert_eq!(numbers("w07_w08_a_rollback"), [7, 8]);
    assert_eq!(numbers("taken_over_and_w05_counts"), [5]);
    assert_eq!(numbers("the_way_w_is_w2h"), Vec::<u32>::new());
}
