//! The command line.
//!
//! There are two interfaces: the commands, and the official tool's `-config=FILE` ([`official_cli`], recognized by
//! [`invocation`]). Each command has a separate file with its arguments, whose doc comments are the help, and a `run`
//! function. Only [`output`] prints.

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

mod backup;
mod backup_target;
mod completions;
mod confirm;
mod connecting;
mod context;
mod entries;
mod examples;
mod explain;
mod history;
mod inspect;
mod invocation;
mod invoked;
mod kube_args;
mod logging;
mod man;
mod migrate;
mod mount_hints;
mod next_steps;
mod official_cli;
mod open_backup;
mod options;
mod output;
mod plan;
mod preflight;
mod progress;
mod repair;
mod report;
mod restore;
mod rollback;
mod rolling_update;
mod show;
mod signals;
mod status;
mod target;
mod tty;
mod unused;
mod upgrade;
mod verify;
mod version;

use invocation::Invocation;
use options::OutputOptions;
use output::exit::Exit;
use output::failure::Failure;
use output::terminal;
use output::{Format, LogFormat};

/// The result of a command.
type Outcome = Result<Exit, Failure>;

/// Migrates the metadata of a Milvus 2.1 cluster in etcd to the 2.2 layout, and back
///
/// Reads all metadata at one revision, decides in memory and writes a backup before the first change. The
/// 2.2 keys are staged while the 2.1 metadata stays intact, one transaction commits, and every step is
/// recorded. If interrupted, rerun the command to resume; `rollback` restores the exact bytes.
#[derive(Debug, Parser)]
#[command(name = "meta-migration", version = version::VERSION)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
The official tool's call works as well: meta-migration -config=FILE does what cmd.type in the YAML file \
says (backup, run or rollback).

Options can come from the environment: META_MIGRATION_ and the option in capitals, for example \
META_MIGRATION_ROOT_PATH. The commands for Kubernetes take the image of their Jobs from \
META_MIGRATION_TOOL_IMAGE. The password of the etcd user comes from META_MIGRATION_PASSWORD or --password-file, or \
is asked for at a terminal. ETCDCTL_ENDPOINTS, ETCDCTL_CACERT, ETCDCTL_CERT, ETCDCTL_KEY and ETCDCTL_USER are read \
where neither an option nor our own variable is given.";

/// The exit codes with their meaning.
const EXIT_CODES: [(&str, &str); 8] = [
    ("0", "done, or nothing to do"),
    ("1", "failed, nothing was changed"),
    ("2", "wrong usage or configuration"),
    (
        "3",
        "refused: Milvus is running, another migration is, a restore is unfinished, or metadata would be lost",
    ),
    (
        "4",
        "the metadata cannot be migrated as it is, or there is none",
    ),
    ("5", "stopped part-way"),
    ("6", "verification found differences"),
    ("130, 143", "ended by SIGINT or SIGTERM"),
];

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
    Show(show::Args),
    Explain(explain::Args),
    Inspect(inspect::Args),
    Upgrade(upgrade::Args),
    Preflight(preflight::Args),
    RollingUpdate(rolling_update::Args),
    Completions(completions::Args),
    Man(man::Args),
    Version(version::Args),
}

impl Command {
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
            Self::Show(args) => show::run(&args),
            Self::Explain(args) => explain::run(&args),
            Self::Inspect(args) => inspect::run(&args),
            Self::Upgrade(args) => upgrade::run(&args),
            Self::Preflight(args) => preflight::run(&args),
            Self::RollingUpdate(args) => rolling_update::run(&args),
            Self::Completions(args) => completions::run(&args),
            Self::Man(args) => man::run(&args),
            Self::Version(args) => version::run(&args),
        }
    }
}

/// Runs the program with the arguments of the process.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os().collect()).into()
}

/// A parsed command line.
enum Call {
    Command(Box<Command>, ArgMatches),
    Official(Box<official_cli::Args>),
}

impl Call {
    fn parse(arguments: Vec<OsString>) -> Result<Self, clap::Error> {
        let command = command();
        let names = command.get_subcommands().map(|it| it.get_name().to_owned());
        let names: Vec<String> = names.collect();
        Ok(match Invocation::of(arguments, &names) {
            Invocation::Commands(arguments) => {
                let matches = command.try_get_matches_from(arguments)?;
                Self::Command(Box::new(Cli::from_arg_matches(&matches)?.command), matches)
            }
            Invocation::Official(arguments) => {
                Self::Official(Box::new(official_cli::Args::parse(arguments)?))
            }
        })
    }
}

fn run(arguments: Vec<OsString>) -> Exit {
    let format = requested_format(&arguments);
    let name = called(&arguments);
    let (ended, output) = match Call::parse(arguments) {
        Err(error) => return usage(&error, format, &help_of(&name)),
        Ok(Call::Command(called, matches)) => {
            let output = OutputOptions::of(&matches);
            output.color.apply();
            invoked::keep(&command(), &matches);
            let ended = match unused::reject(&matches) {
                Ok(()) => called.run(),
                Err(failure) => Err(*failure),
            };
            let ended = match unused::may_write(&matches) {
                true => ended,
                false => ended.map_err(Failure::of_reading),
            };
            (ended, output)
        }
        Ok(Call::Official(args)) => {
            args.common.output.color.apply();
            (official_cli::run(&args), args.common.output)
        }
    };
    match ended {
        Ok(exit) => exit,
        Err(failure) => {
            let failure = failure.or_hint(|| help_of(&name));
            output::fail(&failure, output.format, output.log_format)
        }
    }
}

/// Returns the names of the called command and its subcommand.
fn called(arguments: &[OsString]) -> Vec<String> {
    let mut command = command();
    let mut names = Vec::new();
    for word in arguments.iter().skip(1) {
        let found = command.find_subcommand(word).cloned();
        command = found
            .inspect(|it| names.push(it.get_name().to_owned()))
            .unwrap_or(command);
    }
    names
}

/// Returns the command that prints the help of a command.
fn help_of(names: &[String]) -> String {
    let program = [invoked::program()];
    let words = program.iter().chain(names).map(String::as_str);
    words.chain(["--help"]).collect::<Vec<_>>().join(" ")
}

/// Returns the output format named on a command line that cannot be parsed.
fn requested_format(arguments: &[OsString]) -> Format {
    let words = arguments.iter().map(|word| word.to_string_lossy());
    let words: Vec<_> = words.collect();
    let names = |format: &str| {
        let joined = [
            format!("-o{format}"),
            format!("-o={format}"),
            format!("--output={format}"),
            format!("--format={format}"),
        ];
        let separate = ["-o", "--output", "--format"];
        let mut pairs = words.windows(2);
        words.iter().any(|word| joined.iter().any(|it| it == word))
            || pairs.any(|pair| separate.contains(&&*pair[0]) && pair[1] == format)
    };
    match (names("json"), names("yaml")) {
        (true, _) => Format::Json,
        (false, true) => Format::Yaml,
        (false, false) => Format::Table,
    }
}

/// The start of the last paragraph of clap's errors, which names the option for the help.
const POINTER_TO_HELP: &str = "\n\nFor more information";

/// Prints clap's message: the help, or an error about wrong usage, with the command that prints the help.
fn usage(error: &clap::Error, format: Format, help: &str) -> Exit {
    if !error.use_stderr() {
        // Nothing can be done if the terminal is closed.
        let _ = error.print();
        return Exit::Done;
    }
    let text = error.render();
    let plain = text.to_string();
    if format.is_document() {
        let failure = wrong_usage(&plain).hint(help);
        return output::fail(&failure, format, LogFormat::Text);
    }
    let with_next = |text: &str| match text.split_once(POINTER_TO_HELP) {
        Some((text, _)) => format!("{text}\n\n  next: {help}\n"),
        None => text.to_owned(),
    };
    if terminal::is_safe(&plain) {
        // As above.
        let _ = anstream::stderr().write_all(with_next(&text.ansi().to_string()).as_bytes());
    } else {
        output::inform(&with_next(&plain));
    }
    Exit::Usage
}

/// Turns clap's message about wrong usage into a failure.
fn wrong_usage(text: &str) -> Failure {
    let (text, _) = text.split_once(POINTER_TO_HELP).unwrap_or((text, ""));
    let (message, _) = text.split_once("\n\nUsage: ").unwrap_or((text, ""));
    let words = message.trim_start_matches("error: ").split_whitespace();
    Failure::new(Exit::Usage, words.collect::<Vec<_>>().join(" "))
}

/// Returns the complete command line, for parsing, completions and the manual.
fn command() -> clap::Command {
    // `inspect --key` is a key of the metadata, so the TLS key has another name there.
    let command = Cli::command().mut_subcommand("inspect", |inspect| {
        inspect.mut_arg("tls_key", |key| key.long("tls-key"))
    });
    let command = command.mut_subcommand("verify", |verify| {
        verify.mut_arg("backup_file", |option| option.visible_alias("backup"))
    });
    let command = OWN_HELP
        .into_iter()
        .fold(command, |command, (names, id, help)| {
            names.iter().fold(command, |command, name| {
                command.mut_subcommand(name, |it| it.mut_arg(id, |option| option.help(help)))
            })
        });
    // In these commands -o is the operation, as in the official scripts.
    let command = ["upgrade", "rolling-update"]
        .into_iter()
        .fold(command, |command, name| {
            command.mut_subcommand(name, |it| {
                it.mut_arg("format", |format| format.short(None::<char>))
            })
        });
    let codes = EXIT_CODES
        .iter()
        .map(|(code, meaning)| format!("{code} {meaning}"));
    let codes = codes.collect::<Vec<_>>().join("; ");
    let after = format!("{AFTER_HELP}\n\nExit codes: {codes}.");
    let examples = examples::help("meta-migration").unwrap_or_default();
    with_help(options::with_environment(command))
        .after_help(examples.clone())
        .after_long_help(format!("{examples}\n{after}"))
}

/// The help of options that mean something else in some commands.
const OWN_HELP: [(&[&str], &str, &str); 4] = [
    (
        &["verify", "repair", "show"],
        "target_version",
        "Milvus release that will read the metadata, for example 2.2.16",
    ),
    (
        &["verify"],
        "backup_file",
        "The 2.1 backup that was migrated",
    ),
    (
        &["rollback"],
        "backup_file",
        "The backup to roll back to [default: the one that the migration recorded]",
    ),
    (
        &["restore"],
        "backup_file",
        "The backup to restore, of any format",
    ),
];

/// The options that are first in the help of a command, if it works on metadata in etcd.
const FIRST: [&str; 5] = [
    "endpoints",
    "root_path",
    "source_version",
    "target_version",
    "backup_file",
];

/// Hides the options that a command does not use, puts the most important first, and adds examples to its help. Options
/// for numbers accept negative ones, which their parsers reject with the range.
fn with_help(command: clap::Command) -> clap::Command {
    let name = command.get_name().to_owned();
    let mut position = FIRST.len();
    let command = command.mut_args(|option| {
        let id = option.get_id().as_str();
        let is_used = unused::uses(&name, id);
        let is_number = options::is_number(&option);
        let rank = FIRST.iter().position(|first| *first == id);
        let rank = rank.filter(|_| option.get_help_heading() == Some(options::ETCD_HEADING));
        position += 1;
        let option = match rank {
            Some(rank) => option.help_heading(None::<&str>).display_order(rank),
            None => option.display_order(position),
        };
        option.hide(!is_used).allow_hyphen_values(is_number)
    });
    let command = match examples::help(&name) {
        Some(examples) => command.after_help(examples),
        None => command,
    };
    command.mut_subcommands(with_help)
}

#[cfg(test)]
mod tests;
