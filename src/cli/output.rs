//! Prints reports and errors as text, JSON or YAML. No other module prints.
//!
//! Data goes to standard output, everything else to standard error. A reader that closes the pipe (`| head`) is not an
//! error.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

pub(in crate::cli) mod columns;
pub(in crate::cli) mod diff;
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

/// The output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(in crate::cli) enum Format {
    /// Text for users.
    #[default]
    #[value(alias = "text")]
    Table,
    /// Text with details, such as the keys of each family.
    Wide,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

impl Format {
    /// Whether the output is for programs.
    pub(in crate::cli) const fn is_document(self) -> bool {
        matches!(self, Self::Json | Self::Yaml)
    }

    /// Returns the report as a document, or `None` for text formats.
    fn document<T: Serialize>(self, report: &T) -> Result<Option<String>, Failure> {
        let failed = |error: &dyn std::error::Error| {
            Failure::caused("cannot write the report as a document", error)
        };
        match self {
            Self::Table | Self::Wide => Ok(None),
            Self::Json => serde_json::to_string(report)
                .map(|json| Some(format!("{json}\n")))
                .map_err(|error| failed(&error)),
            Self::Yaml => serde_saphyr::to_string(report)
                .map(Some)
                .map_err(|error| failed(&error)),
        }
    }
}

/// Whether a document was written: standard output gets at most one.
static IS_WRITTEN: AtomicBool = AtomicBool::new(false);

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(in crate::cli) enum LogFormat {
    /// For users.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Prints a report to standard output, as text or as a document.
pub(in crate::cli) fn print<T: Serialize>(
    format: Format,
    report: &T,
    text: impl FnOnce(&T, Style) -> String,
) -> Result<(), Failure> {
    let output = match format.document(report)? {
        None => {
            let style = Style::for_stream(&io::stdout());
            terminal::lines(&text(report, style), style).into_owned()
        }
        Some(document) => {
            if format == Format::Json {
                termination_log::write(&document);
            }
            IS_WRITTEN.store(true, Ordering::Relaxed);
            document
        }
    };
    write(output.as_bytes())
}

/// Prints the report of finished work. A failure to print is only logged: the exit code says whether the work succeeded.
pub(in crate::cli) fn print_done<T: Serialize>(
    format: Format,
    report: &T,
    text: impl FnOnce(&T, Style) -> String,
) {
    warn_if_unprinted(print(format, report, text));
}

/// Logs that the report of finished work was not printed.
pub(in crate::cli) fn warn_if_unprinted(printed: Result<(), Failure>) {
    if let Err(failure) = printed {
        let causes = failure.causes.join(": ");
        tracing::warn!("finished, but {}: {causes}", failure.message);
    }
}

/// Writes bytes to standard output.
pub(in crate::cli) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    quietly(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

/// A stream of JSON lines on standard output.
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

    /// Flushes the output.
    pub(in crate::cli) fn finish(mut self) -> Result<(), Failure> {
        quietly(self.written.and_then(|()| self.output.flush()))
    }
}

/// Ignores a broken pipe.
pub(in crate::cli) fn quietly(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::caused("cannot write to standard output", &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes lines for the user to standard error, at any log level.
pub(in crate::cli) fn inform(text: &str) {
    let style = Style::for_stream(&io::stderr());
    inform_unescaped(&terminal::lines(text, style));
}

fn inform_unescaped(text: &str) {
    // Nothing can be done if standard error is closed.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Prints a failure to standard error, and as a document if the format is one and none was written. Returns its exit
/// code.
pub(in crate::cli) fn fail(failure: &Failure, format: Format, log_format: LogFormat) -> Exit {
    termination_log::write(&failure.json());
    if !IS_WRITTEN.load(Ordering::Relaxed)
        && let Ok(Some(document)) = format.document(&failure.document())
    {
        // The exit code reports the failure even without a reader.
        let _ = write(document.as_bytes());
    }
    match log_format {
        LogFormat::Text => inform(&failure.text(Style::for_stream(&io::stderr()))),
        LogFormat::Json => inform_unescaped(&failure.json()),
    }
    failure.exit
}
