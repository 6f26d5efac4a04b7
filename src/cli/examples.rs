//! Examples of each command, for its help and its manual page.

/// Sections of calls, each after a sentence about it. A test parses all of them.
const EXAMPLES: &str = include_str!("examples.txt");

/// Returns the calls of a command with what they do.
pub(in crate::cli) fn of(command: &str) -> Vec<(&'static str, &'static str)> {
    let heading = format!("[{command}]");
    let mut lines = EXAMPLES.lines().skip_while(|line| *line != heading).skip(1);
    let pairs = std::iter::from_fn(|| {
        let what = lines.next()?.strip_suffix(':')?;
        let call = lines.next()?.trim_start().strip_prefix("$ ")?;
        Some((call, what))
    });
    pairs.collect()
}

/// Returns the examples as the end of the help.
pub(in crate::cli) fn help(command: &str) -> Option<String> {
    let examples = of(command);
    let lines = examples
        .iter()
        .map(|(line, what)| format!("  {what}:\n    $ {line}\n"));
    (!examples.is_empty()).then(|| format!("Examples:\n{}", lines.collect::<String>()))
}

#[cfg(test)]
mod tests {
    use crate::cli::command;

    fn check(command_names: &clap::Command) {
        for (line, _) in super::of(command_names.get_name()) {
            let call = line.split(['>', '|']).next().unwrap_or(line);
            let words = call.split_whitespace();
            let parsed = command().try_get_matches_from(words);
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
        }
        command_names.get_subcommands().for_each(check);
    }

    #[test]
    fn every_example_is_a_valid_call() {
        check(&command());
    }

    #[test]
    fn every_command_has_an_example() {
        let program = command();
        for command in program
            .get_subcommands()
            .filter(|it| it.get_name() != "version")
        {
            let name = command.get_name();
            assert!(!super::of(name).is_empty(), "{name}");
        }
    }
}
