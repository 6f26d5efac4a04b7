//! Colours and line width of the terminal.

use std::io::IsTerminal;
use std::os::fd::AsFd;

/// How text is laid out: colours, and the width that lines are fitted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Style {
    coloured: bool,
    width: Option<u16>,
}

impl Style {
    /// No colours, lines of any length.
    #[cfg(test)]
    pub(in crate::cli) const fn plain() -> Self {
        Self {
            coloured: false,
            width: None,
        }
    }

    /// Colours if `stream` is a terminal and the user does not object with `NO_COLOR`; the width of `COLUMNS`,
    /// else of the terminal.
    pub(in crate::cli) fn for_stream(stream: &(impl IsTerminal + AsFd)) -> Self {
        let objected = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_terminal = stream.is_terminal();
        let columns = std::env::var("COLUMNS").ok();
        let columns = columns.and_then(|columns| columns.parse().ok());
        let terminal = || terminal_size::terminal_size_of(stream).map(|(width, _)| width.0);
        Self {
            coloured: is_terminal && !objected,
            width: columns
                .or_else(|| is_terminal.then(terminal).flatten())
                .filter(|width| *width > 0),
        }
    }

    /// Colours, whatever the stream is.
    #[cfg(test)]
    pub(in crate::cli) const fn coloured() -> Self {
        Self {
            coloured: true,
            width: None,
        }
    }

    /// The number of columns that lines are fitted to; `None` for lines of any length.
    pub(in crate::cli) const fn width(self) -> Option<u16> {
        self.width
    }

    pub(in crate::cli) const fn is_coloured(self) -> bool {
        self.coloured
    }

    pub(in crate::cli) fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(in crate::cli) fn careful(self, text: &str) -> String {
        self.paint("1;33", text)
    }

    pub(in crate::cli) fn good(self, text: &str) -> String {
        self.paint("1;32", text)
    }

    pub(in crate::cli) fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(in crate::cli) fn faint(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// The sequence at the start of a text, if it is one that this style writes.
    pub(in crate::cli) fn colour_at(self, text: &str) -> Option<&'static str> {
        const OWN: [&str; 6] = [
            "\x1b[0m",
            "\x1b[1m",
            "\x1b[2m",
            "\x1b[1;31m",
            "\x1b[1;32m",
            "\x1b[1;33m",
        ];
        let mut own = OWN.into_iter().filter(|_| self.coloured);
        own.find(|sequence| text.starts_with(sequence))
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
