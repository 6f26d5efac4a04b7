//! `inspect`.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::Outcome;
use super::options::{EtcdOptions, OutputOptions};
use super::session::Session;
use crate::keys::Family;

/// Print entries of etcd or of a backup file, decoded, as JSON lines
///
/// Each line is {"key", "family", "revision", "lease", "value"}. Nothing is written. Here --key names a
/// key of the metadata; the key of a client certificate is --tls-key.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Read a backup file instead of etcd
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Only entries of this family, for example root-coord/collection
    #[arg(long, value_name = "NAME", value_parser = family_parser(), hide_possible_values = true)]
    family: Option<Family>,
    /// Only keys that start like this; whole, or relative to the meta root
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Only this key; whole, or relative to the meta root
    #[arg(id = "entry_key", long = "key", value_name = "KEY")]
    entry_key: Option<String>,
    /// Print a table of the families instead of the entries
    #[arg(long)]
    summary: bool,
    #[command(flatten)]
    etcd: EtcdOptions,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

fn family_parser() -> impl TypedValueParser<Value = Family> {
    let names = Family::ALL.iter().chain([&Family::Other]);
    PossibleValuesParser::new(names.map(|family| family.name()))
        .map(|name| Family::by_name(&name).unwrap_or(Family::Other))
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let session = Session::begin(&args.etcd, &args.output)?;
    session.pending()
}
