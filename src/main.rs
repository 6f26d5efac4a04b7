//! The `meta-migration` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    meta_migration::cli::main()
}
