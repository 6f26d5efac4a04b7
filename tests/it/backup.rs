//! Backup files on a real file system.

mod archive;
mod compare;
mod memory;
mod prune;
mod read;
mod write;

use std::path::Path;

use bytes::Bytes;
use meta_backup::{Backup, Header, Summary, WriteOptions, Writer};

fn header() -> Header {
    Header {
        tool_version: String::from("0.1.0"),
        created_at: String::from("2026-11-22T18:30:00Z"),
        cluster_id: String::from("cdf818194e3a8c32"),
        revision: 42,
        meta_root: String::from("by-dev/meta"),
        source_version: Some(String::from("2.1.4")),
        skipped_leased: 0,
    }
}

/// Writes entries below `by-dev/meta`, given by relative key.
fn write(
    path: impl AsRef<Path>,
    header: Header,
    options: WriteOptions,
    entries: &[(&str, &str)],
) -> Summary {
    let root = header.meta_root.clone();
    let mut writer = Writer::create(path, header, options).unwrap();
    for (key, value) in entries {
        writer
            .push(format!("{root}/{key}").as_bytes(), value.as_bytes())
            .unwrap();
    }
    writer.finish().unwrap()
}

const FEW: &[(&str, &str)] = &[
    ("indexes/1", "one"),
    ("indexes/2", ""),
    ("session/id", "12"),
];

/// Keys, including the root, and values as text.
fn content(backup: &Backup) -> Vec<(String, String)> {
    let text = |bytes: Bytes| String::from_utf8(bytes.into()).unwrap();
    backup
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (text(entry.key), text(entry.value)))
        .collect()
}

/// Sorted names in a folder, including hidden ones.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// An error with all its causes, as the command line shows it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
