//! The command line.
//!
//! There are two interfaces: the commands, and the official tool's `-config=FILE` ([`official_cli`], recognized by
//! [`invocation`]). Each command has a separate file with its arguments, whose doc comments are the help, and a `run`
//! function. Only [`output`] prints.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

mod backup;
mod backup_target;
mod completions;
mod confirm;
mod connecting;
mod context;
#[cfg(test)]
mod documented;
mod history;
mod inspect;
mod invocation;
mod kube_args;
mod logging;
mod man;
mod migrate;
mod mount_hints;
mod next_steps;
mod official_cli;
mod options;
mod output;
mod plan;
mod preflight;
mod progress;
mod quoted;
mod reading;
mod repair;
mod restore;
mod rollback;
mod rolling_update;
mod signals;
mod status;
mod target;
mod unused;
mod upgrade;
mod verify;

use invocation::Invocation;
use options::OutputOptions;
use output::LogFormat;
use output::exit::Exit;
use output::failure::Failure;
use output::terminal;

/// How a command ends.
type Outcome = Result<Exit, Failure>;

/// Migrates the metadata of a Milvus 2.1 cluster in etcd to the 2.2 layout, and back
///
/// Reads all metadata at one revision, decides in memory and writes a backup before the first change. The
/// 2.2 keys are staged while the 2.1 metadata stays intact, one transaction commits, and every step is
/// recorded. If interrupted, rerun the command to resume; `rollback` restores the exact bytes.
#[derive(Debug, Parser)]
#[command(name = "meta-migration", version, after_long_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
The official tool's call works as well: meta-migration -config=FILE does what cmd.type in the YAML file \
says (backup, run or rollback).

With the commands that talk to etcd, what says where things are, what is written and how long is waited \
can come from the environment: META_MIGRATION_ and the option in capitals, for example \
META_MIGRATION_ROOT_PATH. Those for Kubernetes take the image of their Jobs from \
META_MIGRATION_TOOL_IMAGE, and how they talk, as META_MIGRATION_FORMAT. The password of the etcd user comes from META_MIGRATION_PASSWORD or \
--password-file, never from an option.

Exit codes: 0 done or nothing to do; 1 failed, nothing was changed; 2 wrong usage or configuration; \
3 refused for now: Milvus is running, another migration is, or a restore is unfinished; 4 the metadata \
cannot be migrated as it is; \
5 stopped part-way; 6 verification found differences; 130 and 143 ended by a signal.";

#[derive(Debug, Subcommand)]
enum Command {
    Status(status::Args),
    Plan(plan::Args),
    Backup(Box<backup::Args>),
    Migrate(migrate::Args),
    Verify(verify::Args),
    Rollback(rollback::Args),
    Restore(restore::Args),
    Repair(repair::Args),
    History(history::Args),
    Inspect(inspect::Args),
    Upgrade(upgrade::Args),
    Preflight(preflight::Args),
    RollingUpdate(rolling_update::Args),
    Completions(completions::Args),
    Man(man::Args),
}

impl Command {
    fn output(&self) -> OutputOptions {
        match self {
            Self::Status(args) => args.output.clone(),
            Self::Plan(args) => args.output.clone(),
            Self::Backup(args) => args.output().clone(),
            Self::Migrate(args) => args.output.clone(),
            Self::Verify(args) => args.output.clone(),
            Self::Rollback(args) => args.output.clone(),
            Self::Restore(args) => args.output.clone(),
            Self::Repair(args) => args.output.clone(),
            Self::History(args) => args.output.clone(),
            Self::Inspect(args) => args.output.clone(),
            Self::Upgrade(args) => args.output.clone(),
            Self::Preflight(args) => args.output.clone(),
            Self::RollingUpdate(args) => args.output.clone(),
            Self::Completions(_) | Self::Man(_) => OutputOptions::default(),
        }
    }

    fn run(self) -> Outcome {
        match self {
            Self::Status(args) => status::run(&args),
            Self::Plan(args) => plan::run(&args),
            Self::Backup(args) => backup::run(&args),
            Self::Migrate(args) => migrate::run(&args),
            Self::Verify(args) => verify::run(&args),
            Self::Rollback(args) => rollback::run(&args),
            Self::Restore(args) => restore::run(&args),
            Self::Repair(args) => repair::run(&args),
            Self::History(args) => history::run(&args),
            Self::Inspect(args) => inspect::run(&args),
            Self::Upgrade(args) => upgrade::run(&args),
            Self::Preflight(args) => preflight::run(&args),
            Self::RollingUpdate(args) => rolling_update::run(&args),
            Self::Completions(args) => completions::run(&args),
            Self::Man(args) => man::run(&args),
        }
    }
}

/// Runs the program with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os().collect()).into()
}

fn run(arguments: Vec<OsString>) -> Exit {
    let command = command();
    let names: Vec<String> = command
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect();
    let (ended, log_format) = match Invocation::of(arguments, &names) {
        Invocation::Commands(arguments) => {
            let parsed = command.try_get_matches_from(arguments);
            let parsed = parsed.and_then(|matches| {
                let cli = Cli::from_arg_matches(&matches)?;
                Ok((cli, unused::refuse(&matches)))
            });
            match parsed {
                Ok((cli, used)) => {
                    let output = cli.command.output();
                    let ended = match used {
                        Ok(()) => cli.command.run(),
                        Err(failure) => Err(*failure),
                    };
                    (ended, output.log_format)
                }
                Err(error) => return usage(&error),
            }
        }
        Invocation::Official(arguments) => match official_cli::Args::try_parse_from(arguments) {
            Ok(args) => (official_cli::run(&args), args.output.log_format),
            Err(error) => return usage(&error),
        },
    };
    finish(ended, log_format)
}

fn finish(ended: Outcome, log_format: LogFormat) -> Exit {
    match ended {
        Ok(exit) => exit,
        Err(failure) => output::fail(&failure, log_format),
    }
}

/// Help is no error; everything else that clap says is wrong usage.
fn usage(error: &clap::Error) -> Exit {
    let text = error.render().to_string();
    if !error.use_stderr() || terminal::is_safe(&text) {
        // Nothing is left to do when the terminal is gone.
        let _ = error.print();
    } else {
        output::tell(&text);
    }
    if error.use_stderr() {
        Exit::Usage
    } else {
        Exit::Done
    }
}

/// The whole command line, for parsing, completions and the manual.
fn command() -> clap::Command {
    // `inspect --key` is a key of the metadata; the TLS key has to step aside there.
    let mut command = Cli::command().mut_subcommand("inspect", |inspect| {
        inspect.mut_arg("tls_key", |key| key.long("tls-key"))
    });
    for name in unused::WITHOUT_BACKUP_FILE {
        command = command.mut_subcommand(name, |command| {
            command.mut_arg("backup_file", |option| option.hide(true))
        });
    }
    command.mut_subcommand("verify", |verify| {
        verify.mut_arg("backup_file", |option| {
            option
                .visible_alias("backup")
                .help("The 2.1 backup that was migrated")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
        official_cli::Args::command().debug_assert();
    }

    /// The variables that a command's options also come from.
    fn variables(name: &str) -> Vec<String> {
        let command = command();
        let named = command.find_subcommand(name).unwrap();
        let all = named.get_arguments().filter_map(clap::Arg::get_env);
        let mut all: Vec<String> = all.map(|one| one.to_string_lossy().into_owned()).collect();
        all.sort();
        all
    }

    #[test]
    fn what_is_said_of_the_environment_is_so() {
        let talk = ["FORMAT", "LOG_FORMAT", "LOG_LEVEL", "NO_PROGRESS"].map(variable);
        let etcd = ["ENDPOINTS", "ROOT_PATH", "TIMEOUT", "TARGET_VERSION"].map(variable);
        for name in ["status", "plan", "migrate", "verify", "rollback", "restore"] {
            let found = variables(name);
            let missing = talk.iter().chain(&etcd).find(|one| !found.contains(one));
            assert_eq!(missing, None, "{name}");
        }
        let image = [variable("TOOL_IMAGE")];
        let of_all = [&talk[..], &[variable("YES")]].concat();
        let of_jobs = [&of_all[..4], &image, &of_all[4..]].concat();
        for name in ["preflight", "upgrade"] {
            assert_eq!(variables(name), of_jobs, "{name}");
        }
        assert_eq!(variables("rolling-update"), of_all);
        let page = include_str!("../docs/usage.md");
        for told in [AFTER_HELP, page] {
            assert!(told.contains("META_MIGRATION_TOOL_IMAGE"), "{told}");
        }
    }

    fn variable(option: &str) -> String {
        format!("META_MIGRATION_{option}")
    }
}
