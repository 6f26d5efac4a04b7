//! Colours and line width.

use std::os::fd::AsFd;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style as Effects};

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(in crate::cli) enum When {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl When {
    /// Applies the choice to all output of this process.
    pub(in crate::cli) fn apply(self) {
        let choice = match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        };
        choice.write_global();
    }
}

/// How to format text: with or without colours, and the width of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Style {
    coloured: bool,
    width: Option<u16>,
}

impl Style {
    /// Returns a style without colours and with lines of any length.
    #[cfg(test)]
    pub(in crate::cli) const fn plain() -> Self {
        Self {
            coloured: false,
            width: None,
        }
    }

    /// Returns the style for a stream: colours by `--color` and the environment; the width from `COLUMNS`, else the
    /// terminal's.
    pub(in crate::cli) fn for_stream(stream: &(impl RawStream + AsFd)) -> Self {
        let is_terminal = stream.is_terminal();
        let columns = std::env::var("COLUMNS").ok();
        let columns = columns.and_then(|columns| columns.parse().ok());
        let terminal = || terminal_size::terminal_size_of(stream).map(|(width, _)| width.0);
        Self {
            coloured: AutoStream::choice(stream) != ColorChoice::Never,
            width: columns
                .or_else(|| is_terminal.then(terminal).flatten())
                .filter(|width| *width > 0),
        }
    }

    /// Returns a style with colours.
    #[cfg(test)]
    pub(in crate::cli) const fn coloured() -> Self {
        Self {
            coloured: true,
            width: None,
        }
    }

    /// Returns the width to which lines are wrapped; `None` for lines of any length.
    pub(in crate::cli) const fn width(self) -> Option<u16> {
        self.width
    }

    pub(in crate::cli) const fn is_coloured(self) -> bool {
        self.coloured
    }

    pub(in crate::cli) fn bad(self, text: &str) -> String {
        self.paint(AnsiColor::Red.on_default().bold(), text)
    }

    pub(in crate::cli) fn careful(self, text: &str) -> String {
        self.paint(AnsiColor::Yellow.on_default().bold(), text)
    }

    pub(in crate::cli) fn good(self, text: &str) -> String {
        self.paint(AnsiColor::Green.on_default().bold(), text)
    }

    pub(in crate::cli) fn strong(self, text: &str) -> String {
        self.paint(Effects::new().bold(), text)
    }

    pub(in crate::cli) fn faint(self, text: &str) -> String {
        self.paint(Effects::new().dimmed(), text)
    }

    /// Returns the escape sequence at the start of a text if this style writes it.
    pub(in crate::cli) fn colour_at(self, text: &str) -> Option<&'static str> {
        const OWN: [&str; 6] = [
            "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m",
        ];
        let mut own = OWN.into_iter().filter(|_| self.coloured);
        own.find(|sequence| text.starts_with(sequence))
    }

    /// Wraps lines at the width; lines after the first start with `indent`. Words are never split.
    pub(in crate::cli) fn wrapped(self, text: &str, indent: &str) -> Vec<String> {
        let Some(width) = self.width else {
            return vec![text.to_owned()];
        };
        let options = textwrap::Options::new(usize::from(width))
            .subsequent_indent(indent)
            .break_words(false)
            .word_splitter(textwrap::WordSplitter::NoHyphenation);
        let lines = textwrap::wrap(text, options).into_iter();
        lines.map(std::borrow::Cow::into_owned).collect()
    }

    fn paint(self, effects: Effects, text: &str) -> String {
        if self.coloured {
            format!("{effects}{text}{effects:#}")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_wrapped_with_its_indentation() {
        let narrow = Style {
            width: Some(30),
            ..Style::plain()
        };
        let text = "    the index \"a\" is renamed; change client code";
        assert_eq!(
            narrow.wrapped(text, "    "),
            ["    the index \"a\" is renamed;", "    change client code"]
        );
        assert_eq!(Style::plain().wrapped(text, "    "), [text]);
    }
}
