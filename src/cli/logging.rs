//! Log lines on standard error.

use std::io::{self, Write};
use std::sync::OnceLock;

use indicatif::MultiProgress;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::options::OutputOptions;
use super::output::LogFormat;
use super::output::style::Style;
use super::output::terminal::line;

/// The id of the run, in each line of a JSON log.
static RUN: OnceLock<String> = OnceLock::new();

/// Sets the id of the run, by which log collectors separate the lines of several runs.
pub(in crate::cli) fn start_run(id: &str) {
    RUN.get_or_init(|| id.to_owned());
}

/// Starts logging. Progress bars are suspended for each line.
pub(in crate::cli) fn start(output: &OutputOptions, bars: Option<&MultiProgress>) {
    // Only lines of this project, whose crates are called `meta_…`: network libraries may log keys and addresses.
    let level: LevelFilter = output.level().parse().unwrap_or(LevelFilter::INFO);
    let filter = Targets::new().with_target("meta_", level);
    let writer = Stderr {
        bars: bars.cloned(),
        is_json: output.log_format == LogFormat::Json,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_writer(writer);
    // Texts from etcd may contain control characters.
    let safe = debug_fn(|output, field, value| {
        let text = format!("{value:?}");
        match field.name() {
            "message" => write!(output, "{}", line(&text)),
            name => write!(output, "{name}={}", line(&text)),
        }
    });
    // A second start in the same process has no effect.
    let _ = match output.log_format {
        LogFormat::Text => {
            let coloured = Style::for_stream(&io::stderr()).is_coloured();
            let layer = layer.fmt_fields(safe.delimited(" ")).with_ansi(coloured);
            registry.with(layer).try_init()
        }
        LogFormat::Json => registry
            .with(layer.json().flatten_event(true).with_current_span(false))
            .try_init(),
    };
}

#[derive(Clone)]
struct Stderr {
    bars: Option<MultiProgress>,
    is_json: bool,
}

impl Stderr {
    /// Adds the id of the run to a line of a JSON log.
    fn with_run(&self, line: &[u8]) -> Option<Vec<u8>> {
        let run = RUN.get().filter(|_| self.is_json)?;
        let rest = line.strip_prefix(b"{")?;
        Some([format!("{{\"run\":\"{run}\",").as_bytes(), rest].concat())
    }
}

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let with_run = self.with_run(line);
        let complete = with_run.as_deref().unwrap_or(line);
        match &self.bars {
            Some(bars) => bars.suspend(|| io::stderr().write_all(complete))?,
            None => io::stderr().write_all(complete)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'w> MakeWriter<'w> for Stderr {
    type Writer = Self;

    fn make_writer(&'w self) -> Self::Writer {
        self.clone()
    }
}
