//! Formats diffs: by family with the first keys, and by collection.

use super::columns::{Column, How, table};
use super::style::Style;
use super::table::cell;
use super::terminal::line;
use super::units::{count, counted};
use meta_report::{Change, ChangeCounts, DiffReport, FamilyDiff, OldRoot};

/// Number of keys shown of each family.
const KEYS_SHOWN: usize = 3;

/// Formats a diff.
pub(in crate::cli) fn lines(diff: &DiffReport, style: Style) -> Vec<String> {
    if diff.counts.total() == 0 {
        return Vec::new();
    }
    let families = diff.families.iter();
    let families = families.map(|family| (family.name.clone(), family.counts));
    let mut lines = counts("FAMILY", families.collect(), style);
    let collections = diff.collections.iter().map(|collection| {
        let name = match &collection.name {
            Some(name) => format!("{name:?} ({})", collection.id),
            None => collection.id.clone(),
        };
        (name, collection.counts)
    });
    if !diff.collections.is_empty() {
        lines.push(String::new());
        lines.extend(counts("COLLECTION", collections.collect(), style));
    }
    lines.push(String::new());
    for family in &diff.families {
        lines.extend(keys(family, style));
    }
    lines
}

fn counts(first: &'static str, rows: Vec<(String, ChangeCounts)>, style: Style) -> Vec<String> {
    type Of = Column<(String, ChangeCounts)>;
    let columns = [
        Of::text(first, |(name, _)| name.clone()),
        Of::number("ADDED", |(_, counts)| cell(counts.added)),
        Of::number("CHANGED", |(_, counts)| cell(counts.changed)),
        Of::number("REMOVED", |(_, counts)| cell(counts.removed)),
    ];
    table(&rows, &columns, How::of(style))
}

fn keys(family: &FamilyDiff, style: Style) -> Vec<String> {
    let shown = family.keys.iter().take(KEYS_SHOWN);
    let mut lines: Vec<String> = shown
        .clone()
        .map(|found| {
            let key = line(&found.key);
            match found.change {
                Change::Added => style.good(&format!("+ {key}")),
                Change::Changed => style.careful(&format!("~ {key}")),
                Change::Removed => style.bad(&format!("- {key}")),
            }
        })
        .collect();
    let more = family.counts.total().saturating_sub(shown.len() as u64);
    if more > 0 {
        lines.push(format!("  … and {} more in {}", count(more), family.name));
    }
    lines
}

/// Formats the values that contain the root path of the backup.
pub(in crate::cli) fn old_root(found: &OldRoot, style: Style) -> Vec<String> {
    let name = line(&found.root);
    let text = format!(
        "{} the old root path {name:?} and are restored as they are. Channel names, for example, stay those of the \
         old instance: do not run both instances on the same message queue",
        match found.values {
            1 => "1 value contains".to_owned(),
            values => format!("{} contain", counted(values, "value")),
        }
    );
    let mut lines = style.wrapped(&text, "  ");
    let keys = found.keys.iter().take(KEYS_SHOWN);
    lines.extend(keys.clone().map(|key| format!("  {}", line(key))));
    let more = found.values.saturating_sub(keys.len() as u64);
    if more > 0 {
        lines.push(format!("  … and {} more", count(more)));
    }
    lines
}
