//! Complete outputs as inline snapshots of `insta`, without values that differ between runs.
//!
//! ```text
//! insta::assert_snapshot!(redact(&ended.stdout), @"");
//! ```
//! `cargo insta test --accept` fills in the snapshots. Check what it wrote.

use regex::Regex;

/// Patterns and their replacements.
const REDACTED: [(&str, &str); 12] = [
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"\btest-\d+-\d+\b", "by-dev"),
    (r"/[\w./-]*/\.tmp\w+", "FOLDER"),
    (r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "TIME"),
    (r"\b20\d\d-\d\d-\d\d \d\d:\d\d\b", "YYYY-MM-DD HH:MM"),
    (r"\b\d+(\.\d+)? (s|ms)\b", "N s"),
    (
        r"\b(read|transform|backup|write|verify) \d+\.\d\d\b",
        "$1 N",
    ),
    (r"\b([0-9a-f]{64}|[0-9a-f]{12})\b", "DIGEST"),
    (r"\brevision \d+", "revision N"),
    (
        r"database [\d.]+ .?i?B, [\d.]+ .?i?B in use",
        "database SIZE, SIZE in use",
    ),
    (r"\betcd: \d+\.\d+\.\d+", "etcd: VERSION"),
    (r"\bmeta-migration \d\S*", "meta-migration VERSION"),
];

/// Replaces ports, test roots, temporary folders, times and durations in the text.
pub(crate) fn redact(text: &str) -> String {
    let mut text = text.replace(env!("CARGO_BIN_EXE_meta-migration"), "meta-migration");
    for (pattern, name) in REDACTED {
        let pattern = Regex::new(pattern).unwrap();
        text = pattern.replace_all(&text, name).into_owned();
    }
    text
}

#[test]
fn volatile_text_is_redacted() {
    let text = "by-dev/meta on 127.0.0.1:35123, test-31-4/meta, /tmp/a/.tmpX1y/b.mmb at 2026-11-29T16:40:12Z in 1.2 s";
    insta::assert_snapshot!(
        redact(text),
        @"by-dev/meta on 127.0.0.1:PORT, by-dev/meta, FOLDER/b.mmb at TIME in N s"
    );
}
