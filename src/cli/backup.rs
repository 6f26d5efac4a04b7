//! `backup`, and what can be done with backup files.

mod check;
mod diff;
mod list;
mod prune;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::Outcome;
use super::options::{EtcdOptions, OutputOptions};
use super::session::Session;

/// Save the metadata at one revision, or look after saved files
///
/// Without a further command the metadata is saved to --backup-file. An existing file is never
/// overwritten: a valid one with the same content is used again, else a name with the time is taken
/// beside it. Keys on a lease (sessions) are left out. etcd is not changed but for the lock.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    save: Save,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(list::Args),
    Check(check::Args),
    Prune(prune::Args),
    Diff(diff::Args),
}

#[derive(Debug, clap::Args)]
struct Save {
    /// Format of the file: native, or the official tool's
    #[arg(long, value_name = "FORMAT", default_value = "native",
          value_parser = PossibleValuesParser::new(["native", "official"]).map(|name| name))]
    backup_format: String,
    /// Compression level of the native format, 1 to 19
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=19))]
    level: Option<i32>,
    #[command(flatten)]
    etcd: EtcdOptions,
    #[command(flatten)]
    output: OutputOptions,
}

impl Args {
    pub(in crate::cli) fn output(&self) -> &OutputOptions {
        match &self.command {
            None => &self.save.output,
            Some(Command::List(args)) => &args.output,
            Some(Command::Check(args)) => &args.output,
            Some(Command::Prune(args)) => &args.output,
            Some(Command::Diff(args)) => &args.output,
        }
    }
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    match &args.command {
        None => save(&args.save),
        Some(Command::List(args)) => list::run(args),
        Some(Command::Check(args)) => check::run(args),
        Some(Command::Prune(args)) => prune::run(args),
        Some(Command::Diff(args)) => diff::run(args),
    }
}

fn save(args: &Save) -> Outcome {
    let session = Session::begin(&args.etcd, &args.output)?;
    session.pending()
}
