//! `explain`.

use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::context::CommandContext;
use super::entries::{EntrySource, not_found};
use super::options::{CommonOptions, ReadingOptions};
use super::output::columns::{Column, How, table};
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::output::style::Style;
use super::output::terminal::line;
use super::{Outcome, invoked, output};
use milvus_meta::catalog::Time;
use milvus_meta::codec::{describe, mask_secrets};
use milvus_meta::keys::{Family, KeyRange, SNAPSHOT_PREFIX, split_timestamp};
use pages::Section;

mod pages;

/// Explain a key of the metadata, the code of a finding, or an exit code
///
/// Says what a key is and what a migration does with it; the value as well where etcd (--endpoints) or a backup file
/// (--from) is given. Without an argument, lists all codes. The same text is in docs/findings.md and docs/keys.md.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// A key, complete or relative to the meta root; the code of a finding; an exit code
    #[arg(value_name = "KEY|CODE")]
    what: Option<String>,
    /// Read the value from a backup file
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingOptions,
    #[command(flatten)]
    common: CommonOptions,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let context = CommandContext::begin(&args.common)?;
    let format = context.output.format;
    let Some(what) = &args.what else {
        output::print(format, &all(), |_, style| list(style))?;
        return Ok(Exit::Done);
    };
    if let Some(section) = pages::code(what) {
        let document = json!({ "code": what, "explanation": section.text() });
        output::print(format, &document, |_, style| code_text(&section, style))?;
        return Ok(Exit::Done);
    }
    let source = EntrySource::open(&context, args.from.as_deref(), args.reading)?;
    let root = source.root(&context);
    let relative = root.strip(what.as_bytes()).unwrap_or(what.as_bytes());
    let relative = below_family(relative).unwrap_or(relative);
    let family = Family::of(relative);
    if family == Family::Other && !what.contains('/') {
        let message = format!("{what:?} is neither a key nor the code of a finding");
        let codes = pages::codes();
        let names = codes.iter().map(|section| section.name);
        let failure = not_found(message, what, names);
        let program = invoked::program();
        return Err(failure.hint(format!("{program} explain   # lists all codes")));
    }
    let mut key = ExplainedKey::new(relative, family);
    if source.is_file() || args.common.etcd.names_etcd() {
        key.value = Some(value(&context, &source, relative)?);
    }
    output::print(format, &key.document(), |_, style| key.text(style))?;
    Ok(Exit::Done)
}

/// Returns the part of a key that starts with a family: its meta root may not be the configured one.
fn below_family(key: &[u8]) -> Option<&[u8]> {
    let is_known = |key: &&[u8]| Family::of(key) != Family::Other;
    let slashes = key.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let ends = slashes.map(|(index, _)| &key[index + 1..]);
    std::iter::once(key).chain(ends).find(is_known)
}

/// Reads and decodes the value of a key.
fn value(
    context: &CommandContext,
    source: &EntrySource,
    relative: &[u8],
) -> Result<Value, Failure> {
    let root = source.root(context);
    let key = root.join(relative);
    let mut found = None;
    source.each(context, &[KeyRange::single(key.clone())], |entry| {
        if entry.key != key {
            return ControlFlow::Continue(());
        }
        let mut value = describe(relative, &entry.value);
        mask_secrets(Family::of(relative), &mut value);
        found = Some(value);
        ControlFlow::Break(())
    })?;
    found.ok_or_else(|| {
        let key = String::from_utf8_lossy(&key).into_owned();
        Failure::new(Exit::Failed, format!("there is no key {key:?}")).unchanged()
    })
}

/// A key with its explanation.
struct ExplainedKey {
    key: String,
    family: Family,
    /// The ids and names in it.
    parts: Vec<(String, String)>,
    section: Option<Section>,
    value: Option<Value>,
}

impl ExplainedKey {
    fn new(relative: &[u8], family: Family) -> Self {
        let section = pages::family(family);
        let pattern = section.as_ref().and_then(Section::pattern);
        Self {
            key: String::from_utf8_lossy(relative).into_owned(),
            family,
            parts: pattern.map_or_else(Vec::new, |pattern| parts(pattern, relative)),
            section,
            value: None,
        }
    }

    fn document(&self) -> Value {
        let parts = self.parts.iter().cloned();
        let parts: Map<String, Value> = parts.map(|(name, part)| (name, json!(part))).collect();
        json!({
            "key": self.key,
            "family": self.family.name(),
            "parts": parts,
            "explanation": self.section.as_ref().map(Section::text),
            "value": self.value,
        })
    }

    fn text(&self, style: Style) -> String {
        let mut lines = vec![style.strong(&line(&self.key)), String::new()];
        for (name, part) in &self.parts {
            lines.push(format!("  {:<12}{}", format!("{name}:"), line(part)));
        }
        if !self.parts.is_empty() {
            lines.push(String::new());
        }
        if let Some(section) = &self.section {
            lines.extend(section.lines(style));
        }
        if let Some(value) = &self.value {
            let value = serde_json::to_string_pretty(value).unwrap_or_default();
            lines.push(String::new());
            lines.push(style.strong("Value"));
            lines.extend(value.lines().map(|text| line(text).into_owned()));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// Returns the parts of a key by the names in a pattern such as `segment-index/<collection>/<partition>`.
fn parts(pattern: &str, relative: &[u8]) -> Vec<(String, String)> {
    let historical = relative.strip_prefix(SNAPSHOT_PREFIX.as_bytes());
    let history = historical.and_then(split_timestamp);
    let (plain, timestamp) = match history {
        Some((plain, timestamp)) => (plain, Some(timestamp)),
        None => (historical.unwrap_or(relative), None),
    };
    let pattern = pattern.strip_prefix(SNAPSHOT_PREFIX).unwrap_or(pattern);
    let pattern = pattern.split("_ts<").next().unwrap_or(pattern);
    let key = String::from_utf8_lossy(plain).into_owned();
    let names: Vec<&str> = pattern.split('/').collect();
    // The last part may hold slashes.
    let values = key.splitn(names.len(), '/');
    let named = names.iter().zip(values).filter_map(|(name, value)| {
        let name = name.strip_prefix('<')?.strip_suffix('>')?;
        Some((name.to_owned(), value.to_owned()))
    });
    let time = timestamp.and_then(Time::of).map(|time| time.to_string());
    let time = time.map(|time| ("time".to_owned(), time));
    named.chain(time).collect()
}

/// Returns all codes with a one-sentence summary.
fn all() -> Value {
    let summary = |section: &Section| json!({ "code": section.name, "summary": section.summary() });
    let codes: Vec<Value> = pages::codes().iter().map(summary).collect();
    json!({ "codes": codes })
}

fn list(style: Style) -> String {
    let mut lines = Vec::new();
    let codes = pages::codes();
    for group in codes.chunk_by(|a, b| a.group == b.group) {
        let title = group.first().map_or("", |first| first.group);
        let columns = [
            Column::fixed("CODE", |it: &Section| it.name.to_owned()),
            Column::text("MEANING", Section::summary),
        ];
        lines.push(style.strong(title));
        lines.extend(table(group, &columns, How::of(style)));
        lines.push(String::new());
    }
    lines.join("\n")
}

fn code_text(section: &Section, style: Style) -> String {
    let mut lines = vec![style.strong(section.name), String::new()];
    lines.extend(section.lines(style));
    lines.push(String::new());
    lines.join("\n")
}
