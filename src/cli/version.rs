//! `version`.

use serde::Serialize;

use super::options::OutputOptions;
use super::output::exit::Exit;
use super::{Outcome, output};

/// The version and the commit, as `--version` shows them.
pub(in crate::cli) const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("META_MIGRATION_COMMIT"),
    ")"
);

/// Show the version and the commit of this program
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Debug, Serialize)]
struct Version {
    version: &'static str,
    commit: &'static str,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        commit: env!("META_MIGRATION_COMMIT"),
    };
    output::print(args.output.format, &version, |_, _| {
        format!("meta-migration {VERSION}\n")
    })?;
    Ok(Exit::Done)
}
