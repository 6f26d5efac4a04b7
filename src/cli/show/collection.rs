//! The details of one collection.

use std::collections::BTreeMap;

use super::super::output::columns::{Column, Detail, How, table};
use super::super::output::findings;
use super::super::output::style::Style;
use super::super::output::terminal::line;
use super::super::output::units::counted;
use super::outlook::Outlook;
use super::tables::{self, rows_of, size};
use milvus_meta::catalog::{Catalog, Collection, Load, Segment};
use milvus_meta::layout::Layout;
use milvus_meta::model::CollectionId;

/// Formats everything about a collection, in sections.
pub(super) fn lines(
    catalog: &Catalog,
    id: CollectionId,
    outlook: &Outlook,
    how: How,
) -> Vec<String> {
    let style = how.style;
    let mut lines = match catalog.collections.first() {
        Some(collection) => head(catalog, collection, style),
        None => vec![style.careful(&format!(
            "No collection {id}: its record is gone, and what follows is left of it."
        ))],
    };
    let mut section = |title: &str, table: Vec<String>| {
        // The first line is the heading.
        if table.len() > 1 {
            lines.push(String::new());
            lines.push(style.strong(title));
            lines.extend(table);
        }
    };
    if let Some(collection) = catalog.collections.first() {
        section("Fields", tables::fields(&collection.fields, how));
    }
    section("Partitions", tables::partitions(&catalog.partitions, how));
    section("Indexes", tables::indexes(&catalog.indexes, how));
    section("Segments", states(&catalog.segments, how));
    if how.detail == Detail::Wide {
        section("Each segment", tables::segments(&catalog.segments, how));
    }
    section("Load state", tables::loads(&catalog.loads, how));
    section("Channels", tables::channels(&catalog.channels, how));
    lines.extend(next(catalog, outlook, style));
    lines
}

fn head(catalog: &Catalog, collection: &Collection, style: Style) -> Vec<String> {
    let title = format!("Collection {:?} ({})", collection.name, collection.id);
    let yes = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
    let list = |names: &[String]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let mut facts = vec![
        ("Database", collection.database.clone()),
        ("State", collection.state.to_owned()),
        ("Created", created(collection)),
        ("Stored", stored(catalog.layout, collection)),
        ("Holds", holds(collection)),
        ("Shards", collection.shards.to_string()),
        ("Consistency", collection.consistency.to_owned()),
        ("Auto id", yes(collection.auto_id)),
        ("Loaded", loaded(&catalog.loads)),
        ("Aliases", list(&collection.aliases)),
    ];
    if !collection.properties.is_empty() {
        facts.push(("Properties", tables::params(&collection.properties)));
    }
    if !collection.description.is_empty() {
        facts.push(("Description", collection.description.clone()));
    }
    let mut lines = vec![style.strong(&line(&title))];
    for (name, value) in facts {
        let text = format!("  {:<13}{}", format!("{name}:"), line(&value));
        lines.extend(style.wrapped(&text, "               "));
    }
    lines
}

fn created(collection: &Collection) -> String {
    match collection.created {
        Some(time) => format!("{} UTC", time.second()),
        None => "unknown".to_owned(),
    }
}

fn stored(layout: Layout, collection: &Collection) -> String {
    let form = tables::form(collection.form);
    match layout {
        Layout::V2_1 => "2.1 layout, fields and partitions in the record".to_owned(),
        Layout::V2_2 | Layout::Mixed | Layout::Staged | Layout::Empty => {
            format!("{} layout, {form} form", layout.name())
        }
    }
}

fn holds(collection: &Collection) -> String {
    let segments = counted(collection.segments, "segment");
    let holds = format!("{} rows in {segments}", rows_of(collection.rows));
    match size(collection.bytes, collection.rows) {
        size if size.is_empty() => holds,
        size => format!("{holds}, {size}"),
    }
}

fn loaded(loads: &[Load]) -> String {
    let Some(load) = loads.iter().find(|load| load.kind != "none") else {
        return "no".to_owned();
    };
    let replicas = counted(load.replicas.len() as u64, "replica");
    match load.kind {
        "partitions" => {
            let partitions = counted(load.partitions.len() as u64, "partition");
            format!("{partitions}, {replicas}")
        }
        kind => format!("{kind}, {replicas}"),
    }
}

/// The segments of one state.
struct State {
    name: &'static str,
    segments: u64,
    rows: i64,
    bytes: i64,
    indexed: u64,
}

fn states(segments: &[Segment], how: How) -> Vec<String> {
    type Of = Column<State>;
    let mut states: BTreeMap<&'static str, State> = BTreeMap::new();
    for segment in segments {
        let state = states.entry(segment.state).or_insert(State {
            name: segment.state,
            segments: 0,
            rows: 0,
            bytes: 0,
            indexed: 0,
        });
        state.segments += 1;
        state.rows = state.rows.saturating_add(segment.rows);
        state.bytes = state.bytes.saturating_add(segment.sizes.bytes());
        state.indexed += u64::from(segment.indexes > 0 && segment.indexed == segment.indexes);
    }
    let states: Vec<State> = states.into_values().collect();
    let columns = [
        Of::fixed("STATE", |it| it.name.to_owned()),
        Of::number("SEGMENTS", |it| it.segments.to_string()),
        Of::number("ROWS", |it| rows_of(it.rows)),
        Of::number("SIZE", |it| size(it.bytes, it.rows)),
        Of::number("ALL INDEXES BUILT", |it| it.indexed.to_string()),
    ];
    table(&states, &columns, how)
}

/// Formats the effect of `migrate`, or the findings of `verify`.
fn next(catalog: &Catalog, outlook: &Outlook, style: Style) -> Vec<String> {
    let mut lines = vec![String::new()];
    match outlook.command {
        "migrate" => {
            let title = format!("Migration to {}", outlook.target);
            lines.push(style.strong(&title));
            for change in &outlook.changes {
                let text = format!("  {:<17}{}", format!("{}:", change.object), change.becomes);
                lines.extend(style.wrapped(&text, "                   "));
            }
        }
        "verify" => lines.push(style.strong(&format!("Verified for {}", outlook.target))),
        _ if catalog.layout == Layout::Mixed => {
            let text = "2.1 and 2.2 records are side by side: meta-migration status says why";
            lines.push(style.careful(text));
            return lines;
        }
        _ => return Vec::new(),
    }
    lines.extend(findings::section(
        "Findings about this collection:",
        &outlook.findings,
        style,
    ));
    lines
}
