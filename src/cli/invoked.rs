//! The options that came from the environment, so that hints can repeat them as arguments.

use std::sync::OnceLock;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use meta_report::shell;

use super::unused;
use meta_report::shell::quoted;

/// Options that affect only the output and the confirmation.
const OUTPUT: [&str; 6] = [
    "format",
    "log_format",
    "log_level",
    "no_progress",
    "color",
    "yes",
];

/// The called command.
#[derive(Default)]
struct Invoked {
    name: String,
    /// Its options.
    options: Vec<String>,
    /// The arguments that replace the variables.
    from_environment: Vec<String>,
}

static INVOKED: OnceLock<Invoked> = OnceLock::new();

/// Keeps the called command with its options, and which of these came from the environment.
pub(in crate::cli) fn keep(program: &Command, matches: &ArgMatches) {
    let (mut command, mut given) = (program, matches);
    while let Some((name, its)) = given.subcommand() {
        let Some(inner) = command.find_subcommand(name) else {
            return;
        };
        (command, given) = (inner, its);
    }
    let options = command.get_arguments().filter(|argument| {
        let id = argument.get_id().as_str();
        let is_from_environment = given.value_source(id) == Some(ValueSource::EnvVariable);
        is_from_environment
            && !OUTPUT.contains(&id)
            && unused::has_effect(command.get_name(), given, id)
    });
    let words = options.filter_map(|argument| {
        let option = format!("--{}", argument.get_long()?);
        let values = given.get_raw(argument.get_id().as_str())?;
        let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
        if argument.get_action().takes_values() {
            return Some(shell::option(&option, &values.join(",")));
        }
        let is_on = given.get_flag(argument.get_id().as_str());
        is_on.then(|| vec![option])
    });
    let options = command.get_arguments().filter_map(clap::Arg::get_long);
    let kept = Invoked {
        name: command.get_name().to_owned(),
        options: options.map(|long| format!("--{long}")).collect(),
        from_environment: words.flatten().collect(),
    };
    // A second call in the same process has no effect.
    let _ = INVOKED.set(kept);
}

/// Returns the name of the called command; none for the official tool's interface.
pub(in crate::cli) fn name() -> &'static str {
    INVOKED.get().map_or("", |it| it.name.as_str())
}

/// Whether the called command has an option.
pub(in crate::cli) fn has_option(option: &str) -> bool {
    let options = INVOKED.get().map(|it| it.options.as_slice());
    options.is_some_and(|options| options.iter().any(|one| one == option))
}

/// Returns the program as it was called, quoted.
pub(in crate::cli) fn program() -> String {
    let program = std::env::args_os().next();
    let program = program.map(|word| word.to_string_lossy().into_owned());
    quoted(&program.unwrap_or_else(|| "meta-migration".to_owned()))
}

/// Returns the arguments that replace the environment variables of this call.
pub(in crate::cli) fn from_environment() -> &'static [String] {
    INVOKED
        .get()
        .map_or(&[], |it| it.from_environment.as_slice())
}
