//! Which of the two faces is meant: the official tool's `-config FILE`, or our commands.
//!
//! The official tool parses its command line with Go's flag package: one or two dashes, the value
//! behind `=` or in the next argument, the last of several counts, parsing stops at the first other
//! word or at `--`, and words behind it are ignored. All of that is accepted here.

use std::ffi::{OsStr, OsString};

/// A command line, sorted by face, ready for clap. The first argument is the program's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) enum Invocation {
    /// The official tool's.
    Official(Vec<OsString>),
    /// `COMMAND …`.
    Commands(Vec<OsString>),
}

impl Invocation {
    /// Recognises the face; `commands` are the words that name a command.
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
            // The flag without its value: clap says so, once it is spelled its way.
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
            // `--config FILE migrate`: the option before the command.
            let word = rest.remove(0);
            Self::Commands([vec![program, word, flag], rest].concat())
        } else {
            Self::Official([vec![program, flag], rest].concat())
        }
    }
}

/// The value of a config flag at the front, and how many arguments it takes.
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

    fn face(line: &str) -> Invocation {
        let arguments = line.split(' ').map(OsString::from).collect();
        Invocation::of(arguments, &["migrate".to_owned(), "status".to_owned()])
    }

    fn arguments(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn drop_in(line: &str) -> Invocation {
        Invocation::Official(arguments(line))
    }

    fn commands(line: &str) -> Invocation {
        Invocation::Commands(arguments(line))
    }

    #[test]
    fn whatever_the_official_flag_parser_accepts_is_the_drop_in() {
        for line in [
            "m -config=f.yaml",
            "m --config=f.yaml",
            "m -config f.yaml",
            "m --config f.yaml",
            "m -config first.yaml -config=f.yaml",
        ] {
            assert_eq!(face(line), drop_in("m --config=f.yaml"), "{line}");
        }
        assert_eq!(face("m -config -odd"), drop_in("m --config=-odd"));
        assert_eq!(
            face("m -config=f.yaml run"),
            drop_in("m --config=f.yaml run")
        );
    }

    #[test]
    fn commands_are_commands_wherever_the_config_stands() {
        assert_eq!(
            face("m status --config f.yaml"),
            commands("m status --config f.yaml")
        );
        assert_eq!(
            face("m --config f.yaml status --yes"),
            commands("m status --config=f.yaml --yes")
        );
        assert_eq!(face("m"), commands("m"));
        assert_eq!(face("m -config"), drop_in("m --config"));
    }

    #[test]
    fn help_is_asked_for_in_the_ways_of_both() {
        for line in ["m -h", "m -help", "m --help"] {
            assert_eq!(face(line), commands("m --help"), "{line}");
        }
        assert_eq!(face("m -config=f -h"), drop_in("m --help"));
        assert_eq!(face("m status -h"), commands("m status -h"));
    }
}
