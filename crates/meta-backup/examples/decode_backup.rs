//! Decodes a backup file of any known format to JSON lines.
//!
//! `cargo run -p meta-backup --example decode_backup -- testdata/demo/milvus-2.1.4.bak`

#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::error::Error;

use meta_backup::Backup;
use milvus_meta::codec::describe;
use milvus_meta::entry::printable;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os()
        .nth(1)
        .ok_or("usage: decode_backup FILE")?;
    let backup = Backup::open(path)?;
    let prefix = format!("{}/", backup.summary().meta_root);
    for entry in backup.entries()? {
        let entry = entry?;
        let relative = entry.key.strip_prefix(prefix.as_bytes());
        let value = describe(relative.unwrap_or(&entry.key), &entry.value);
        println!("{}\t{value}", printable(&entry.key));
    }
    Ok(())
}
