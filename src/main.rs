//! The command.

use std::process::ExitCode;

fn main() -> ExitCode {
    meta_migration::cli::main()
}
