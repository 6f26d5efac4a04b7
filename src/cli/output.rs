//! The only room that prints: reports and errors as text or JSON.
//!
//! Data goes to standard output, everything else to standard error. A reader that goes away (`| head`)
//! is no error.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::ops::ControlFlow;

use serde::Serialize;

pub(in crate::cli) mod exit;
pub(in crate::cli) mod failure;
pub(in crate::cli) mod findings;
pub(in crate::cli) mod outcome;
pub(in crate::cli) mod plan;
pub(in crate::cli) mod status;
pub(in crate::cli) mod style;
pub(in crate::cli) mod table;
pub(in crate::cli) mod terminal;
mod termination_log;
pub(in crate::cli) mod units;
pub(in crate::cli) mod upgrade;

use exit::Exit;
use failure::Failure;
use style::Style;

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(in crate::cli) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(in crate::cli) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// Writes a report to standard output: the text for users, or the report itself as JSON.
pub(in crate::cli) fn print<T: Serialize>(
    format: Format,
    report: &T,
    text: impl FnOnce(&T, Style) -> String,
) -> Result<(), Failure> {
    let output = match format {
        Format::Text => {
            let style = Style::for_stream(&io::stdout());
            terminal::lines(&text(report, style), style).into_owned()
        }
        Format::Json => {
            let mut json = serde_json::to_string(report)
                .map_err(|error| Failure::caused("cannot write the report as JSON", &error))?;
            json.push('\n');
            termination_log::leave(&json);
            json
        }
    };
    write(output.as_bytes())
}

/// As [`print()`], of something that was done: what stands in etcd decides the exit code, not whether it
/// could be printed.
pub(in crate::cli) fn print_done<T: Serialize>(
    format: Format,
    report: &T,
    text: impl FnOnce(&T, Style) -> String,
) {
    if let Err(failure) = print(format, report, text) {
        let causes = failure.causes.join(": ");
        tracing::warn!("finished, but {}: {causes}", failure.message);
    }
}

/// Writes bytes to standard output.
pub(in crate::cli) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    quietly(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

/// JSON lines on standard output, as they come.
pub(in crate::cli) struct Lines {
    output: BufWriter<StdoutLock<'static>>,
    written: io::Result<()>,
}

impl Lines {
    pub(in crate::cli) fn new() -> Self {
        Self {
            output: BufWriter::new(io::stdout().lock()),
            written: Ok(()),
        }
    }

    /// Writes a line; a broken pipe ends the output.
    pub(in crate::cli) fn write<T: Serialize>(&mut self, line: &T) -> ControlFlow<()> {
        self.written = serde_json::to_writer(&mut self.output, line)
            .map_err(io::Error::from)
            .and_then(|()| self.output.write_all(b"\n"));
        match self.written {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    /// Writes what is left.
    pub(in crate::cli) fn finish(mut self) -> Result<(), Failure> {
        quietly(self.written.and_then(|()| self.output.flush()))
    }
}

/// Forgives a reader that went away.
pub(in crate::cli) fn quietly(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::caused("cannot write to standard output", &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes lines for the user to standard error, whatever the log level.
pub(in crate::cli) fn tell(text: &str) {
    let style = Style::for_stream(&io::stderr());
    tell_exactly(&terminal::lines(text, style));
}

fn tell_exactly(text: &str) {
    // Nothing is left to do when standard error is gone.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes a failure to standard error and gives its exit code.
pub(in crate::cli) fn fail(failure: &Failure, format: LogFormat) -> Exit {
    termination_log::leave(&failure.json());
    match format {
        LogFormat::Text => tell(&failure.text(Style::for_stream(&io::stderr()))),
        LogFormat::Json => tell_exactly(&failure.json()),
    }
    failure.exit
}
