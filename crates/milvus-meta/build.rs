//! Generates the types of the stored messages from the frozen schemas below `proto/`.
//!
//! The schemas describe bytes in existing installations: with a changed number, old metadata would
//! be decoded wrongly. The SHA-256 of each file is in `proto/HASHES`, and the build fails if one
//! differs.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;
use sha2::{Digest as _, Sha256};

const ROOT: &str = "proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={ROOT}");
    let frozen = frozen_files()?;
    for (file, hash) in &frozen {
        check(file, hash)?;
    }
    reject_unlisted(&frozen)?;

    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptors = protox::compile(frozen.keys(), [ROOT])?;
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    prost_build::Config::new()
        .btree_map(["."])
        .include_file("proto.rs")
        .compile_fds(descriptors)?;
    Ok(())
}

/// Returns the frozen files, listed as `<sha-256>  <path below proto/>`, the format of `sha256sum`.
fn frozen_files() -> Result<BTreeMap<String, String>, Box<dyn Error>> {
    let list = fs::read_to_string(Path::new(ROOT).join("HASHES"))?;
    list.lines()
        .map(|line| {
            let (hash, file) = line
                .split_once("  ")
                .ok_or_else(|| format!("proto/HASHES: {line:?} is not `<sha-256>  <file>`"))?;
            Ok((file.to_owned(), hash.to_owned()))
        })
        .collect()
}

fn check(file: &str, expected: &str) -> Result<(), Box<dyn Error>> {
    let path = Path::new(ROOT).join(file);
    let content = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let found: String = Sha256::digest(&content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found == expected {
        return Ok(());
    }
    Err(format!(
        "proto/{file} is frozen, and it changed: its SHA-256 is {found}, proto/HASHES has {expected}. \
         It describes metadata in existing installations. Undo the change \
         (`git checkout proto/{file}`); for another version of Milvus, add a new folder; \
         only if the schema was wrong, correct it and update its line in proto/HASHES."
    )
    .into())
}

/// Rejects unlisted schemas, which would not be frozen.
fn reject_unlisted(frozen: &BTreeMap<String, String>) -> Result<(), Box<dyn Error>> {
    for folder in fs::read_dir(ROOT)? {
        let folder = folder?.path();
        if !folder.is_dir() {
            continue;
        }
        for file in fs::read_dir(&folder)? {
            let path = file?.path();
            let name = path.strip_prefix(ROOT)?.display().to_string();
            if name.ends_with(".proto") && !frozen.contains_key(&name) {
                return Err(format!(
                    "proto/{name} is not listed in proto/HASHES: add its line with sha256sum"
                )
                .into());
            }
        }
    }
    Ok(())
}
