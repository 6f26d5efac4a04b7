//! Examples of each command, for its help and its manual page.

/// Sections of calls, each after a sentence about it. A test parses all of them.
const EXAMPLES: &str = include_str!("examples.txt");

/// Length of a line of a call, after its indentation and before a backslash.
const CALL_COLUMNS_MAX: usize = 72;

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
        .map(|(line, what)| format!("  {what}:\n    $ {}\n", continued(line, "        ")));
    (!examples.is_empty()).then(|| format!("Examples:\n{}", lines.collect::<String>()))
}

/// Breaks a long call before an option, so that it can be pasted from a terminal of 80 columns.
pub(in crate::cli) fn continued(call: &str, indent: &str) -> String {
    let mut lines = vec![String::new()];
    let parts = call.split(" -").enumerate();
    for (index, part) in parts {
        let dash = if index == 0 { "" } else { " -" };
        let last = lines.last().map_or(0, |line| line.chars().count());
        if index > 0 && last + part.len() + dash.len() > CALL_COLUMNS_MAX {
            lines.push(format!("-{part}"));
        } else if let Some(line) = lines.last_mut() {
            line.push_str(dash);
            line.push_str(part);
        }
    }
    lines.join(&format!(" \\\n{indent}"))
}

#[cfg(test)]
mod tests {
    use crate::cli::command;

    fn check_lines(mut program: clap::Command) {
        let help = program.render_help().to_string();
        let shown = help.replace(" \\\n        ", " ");
        for (line, _) in super::of(program.get_name()) {
            assert!(shown.contains(&format!("    $ {line}\n")), "{line}: {help}");
        }
        program.get_subcommands().cloned().for_each(check_lines);
    }

    #[test]
    fn every_example_can_be_pasted_from_80_columns() {
        check_lines(command().term_width(80));
    }

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
