//! Recognizes the interface that a call uses: the official tool's `-config FILE`, or commands.
//!
//! The official tool parses its command line with Go's flag package: one or two dashes, the value after `=` or in the
//! next argument, the last of several flags counts, and parsing stops at the first other word or at `--`; words after it
//! are ignored. All of that is accepted here.

use std::ffi::{OsStr, OsString};

/// A command line for clap, by interface. The first argument is the program's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Invocation {
    /// The official tool's interface.
    Official(Vec<OsString>),
    /// A command with its arguments.
    Commands(Vec<OsString>),
}

impl Invocation {
    /// Recognizes the interface. `commands` are the names of all commands.
    pub(in crate::cli) fn of(arguments: Vec<OsString>, commands: &[String]) -> Self {
        let mut rest = arguments.into_iter();
        let program = rest.next().unwrap_or_else(|| "meta-migration".into());
        let mut rest: Vec<OsString> = rest.collect();
        let mut config = None;
        while let Some((value, taken)) = config_flag(&rest) {
            config = Some(value);
            rest.drain(..taken);
        }
        if rest.first().is_some_and(|word| is_help(word)) {
            let help = vec![program, "--help".into()];
            return match config {
                Some(_) => Self::Official(help),
                None => Self::Commands(help),
            };
        }
        let Some(config) = config else {
            // The flag has no value: clap reports that if the flag has two dashes.
            if rest.first().is_some_and(|word| word == "-config") {
                return Self::Official(vec![program, "--config".into()]);
            }
            return Self::Commands([vec![program], rest].concat());
        };
        let mut flag = OsString::from("--config=");
        flag.push(config);
        let command = rest
            .first()
            .and_then(|word| word.to_str())
            .is_some_and(|word| commands.iter().any(|command| command == word));
        if command {
            // `--config FILE migrate`: clap expects the option after the command.
            let word = rest.remove(0);
            Self::Commands([vec![program, word, flag], rest].concat())
        } else {
            Self::Official([vec![program, flag], rest].concat())
        }
    }
}

/// Returns the value of a config flag at the start, and its number of arguments.
fn config_flag(arguments: &[OsString]) -> Option<(OsString, usize)> {
    let first = arguments.first()?;
    if first == "-config" || first == "--config" {
        return Some((arguments.get(1)?.clone(), 2));
    }
    let text = first.to_str()?;
    let value = text
        .strip_prefix("--config=")
        .or_else(|| text.strip_prefix("-config="))?;
    Some((value.into(), 1))
}

fn is_help(word: &OsStr) -> bool {
    word.to_str()
        .is_some_and(|word| matches!(word, "-h" | "--h" | "-help" | "--help"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recognized(line: &str) -> Invocation {
        let arguments = line.split(' ').map(OsString::from).collect();
        Invocation::of(arguments, &["migrate".to_owned(), "status".to_owned()])
    }

    fn arguments(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn official(line: &str) -> Invocation {
        Invocation::Official(arguments(line))
    }

    fn commands(line: &str) -> Invocation {
        Invocation::Commands(arguments(line))
    }

    #[test]
    fn flags_of_the_official_tool_are_recognized() {
        for line in [
            "m -config=f.yaml",
            "m --config=f.yaml",
            "m -config f.yaml",
            "m --config f.yaml",
            "m -config first.yaml -config=f.yaml",
        ] {
            assert_eq!(recognized(line), official("m --config=f.yaml"), "{line}");
        }
        assert_eq!(recognized("m -config -odd"), official("m --config=-odd"));
        assert_eq!(
            recognized("m -config=f.yaml run"),
            official("m --config=f.yaml run")
        );
    }

    #[test]
    fn a_config_flag_may_precede_or_follow_a_command() {
        assert_eq!(
            recognized("m status --config f.yaml"),
            commands("m status --config f.yaml")
        );
        assert_eq!(
            recognized("m --config f.yaml status --yes"),
            commands("m status --config=f.yaml --yes")
        );
        assert_eq!(recognized("m"), commands("m"));
        assert_eq!(recognized("m -config"), official("m --config"));
    }

    #[test]
    fn help_flags_of_both_interfaces_are_recognized() {
        for line in ["m -h", "m -help", "m --help"] {
            assert_eq!(recognized(line), commands("m --help"), "{line}");
        }
        assert_eq!(recognized("m -config=f -h"), official("m --help"));
        assert_eq!(recognized("m status -h"), commands("m status -h"));
    }
}
