//! The options that came from the environment, so that hints can repeat them as arguments.

use std::sync::OnceLock;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

use super::unused;

/// Options that affect only the output and the confirmation.
const OUTPUT: [&str; 6] = [
    "format",
    "log_format",
    "log_level",
    "no_progress",
    "color",
    "yes",
];

/// The arguments that replace the variables.
static FROM_ENVIRONMENT: OnceLock<Vec<String>> = OnceLock::new();

/// Keeps the options of the called command that came from the environment.
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
        is_from_environment && !OUTPUT.contains(&id) && unused::uses(command.get_name(), id)
    });
    let words = options.filter_map(|argument| {
        let option = format!("--{}", argument.get_long()?);
        let values = given.get_raw(argument.get_id().as_str())?;
        let values: Vec<_> = values.map(|value| value.to_string_lossy()).collect();
        if argument.get_action().takes_values() {
            return Some(vec![option, values.join(",")]);
        }
        let is_on = given.get_flag(argument.get_id().as_str());
        is_on.then(|| vec![option])
    });
    // A second call in the same process has no effect.
    let _ = FROM_ENVIRONMENT.set(words.flatten().collect());
}

/// Returns the arguments that replace the environment variables of this call.
pub(in crate::cli) fn from_environment() -> &'static [String] {
    FROM_ENVIRONMENT.get().map_or(&[], Vec::as_slice)
}
