//! A plan for a person.

use super::findings::{self, Tally};
use super::palette::Palette;
use super::table::{Align, Table, cell};
use super::units::{bytes, count, counted, short_digest};
use crate::finding::Finding;
use crate::report::{FamilyPlan, Layout, PlanReport};

/// The plan as text.
pub(in crate::cli) fn text(plan: &PlanReport, palette: Palette) -> String {
    let mut lines = heading(plan, palette);
    lines.push(String::new());
    if !plan.families.is_empty() {
        lines.extend(families(plan, palette));
        lines.push(String::new());
        lines.push(format!(
            "{}, {} rewritten, {} deleted; {} to write",
            counted(plan.put, "new key"),
            count(plan.rewrite),
            count(plan.delete),
            bytes(plan.bytes_put)
        ));
        lines.push(String::new());
    }
    lines.extend(findings::lines(&plan.findings, palette));
    lines.push(String::new());
    lines.push(conclusion(plan, palette));
    lines.push(String::new());
    lines.join("\n")
}

fn heading(plan: &PlanReport, palette: Palette) -> Vec<String> {
    let revision = if plan.revision > 0 {
        format!(", read at revision {}", plan.revision)
    } else {
        String::new()
    };
    let mut lines = vec![format!(
        "{} {}{revision}",
        palette.strong("Layout:"),
        layout(plan.layout)
    )];
    if !plan.digest.is_empty() {
        lines.push(format!(
            "{} {} form; plan {}",
            palette.strong("Collections:"),
            plan.collection_form,
            short_digest(&plan.digest)
        ));
    }
    lines
}

/// The layout in words.
pub(in crate::cli) fn layout(layout: Layout) -> &'static str {
    match layout {
        Layout::V2_1 => "2.1",
        Layout::V2_2 => "2.2",
        Layout::Mixed => "mixed: keys of both 2.1 and 2.2",
        Layout::Staged => "staged: 2.1 whole, beside it 2.2 keys of an unfinished run",
        Layout::Empty => "empty: no key that a migration reads",
    }
}

fn families(plan: &PlanReport, palette: Palette) -> Vec<String> {
    let mut table = Table::new(&[
        ("FAMILY", Align::Left),
        ("READ", Align::Right),
        ("PUT", Align::Right),
        ("REWRITE", Align::Right),
        ("DELETE", Align::Right),
    ]);
    let mut row = |family: &FamilyPlan| {
        table.row(vec![
            family.name.clone(),
            cell(family.read),
            cell(family.put),
            cell(family.rewrite),
            cell(family.delete),
        ]);
    };
    for family in &plan.families {
        row(family);
    }
    row(&FamilyPlan {
        name: "total".to_owned(),
        read: plan.families.iter().map(|family| family.read).sum(),
        put: plan.put,
        rewrite: plan.rewrite,
        delete: plan.delete,
    });
    table.painted(palette)
}

fn conclusion(plan: &PlanReport, palette: Palette) -> String {
    let tally = Tally::of(&plan.findings);
    if tally.errors > 0 {
        let errors = counted(tally.errors, "error");
        let way = if plan.findings.iter().any(Finding::is_broken_record) {
            "; --on-broken-record skip leaves out what cannot be migrated"
        } else {
            ""
        };
        return format!(
            "{} {errors} in the way. Nothing is written until there is none{way}",
            palette.bad("Not migratable:")
        );
    }
    if plan
        .findings
        .iter()
        .any(|finding| finding.code == "unfinished")
    {
        return palette
            .careful("Unfinished: there is something to finish before anything is planned");
    }
    if plan
        .findings
        .iter()
        .any(|finding| finding.code == "nothing-to-do")
    {
        return if matches!(plan.layout, Layout::V2_2 | Layout::Mixed) {
            palette.bad("Not ready: the target version does not read what is there")
        } else {
            palette.good("Nothing to do: the target version needs no migration")
        };
    }
    match plan.layout {
        Layout::V2_1 | Layout::Staged => {
            format!("{} nothing stands in the way", palette.good("Ready:"))
        }
        Layout::V2_2 => format!(
            "{} the layout is 2.2 already",
            palette.good("Nothing to do:")
        ),
        Layout::Empty => format!("{} there is no metadata", palette.good("Nothing to do:")),
        Layout::Mixed => format!(
            "{} it is unclear which layout counts",
            palette.bad("Not migratable:")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(name: &str, read: u64, put: u64, rewrite: u64, delete: u64) -> FamilyPlan {
        FamilyPlan {
            name: name.to_owned(),
            read,
            put,
            rewrite,
            delete,
        }
    }

    fn plan() -> PlanReport {
        PlanReport {
            layout: Layout::V2_1,
            revision: 42,
            collection_form: "split".to_owned(),
            families: vec![
                family("root-coord/collection", 3, 0, 3, 0),
                family("segment-index", 0, 104_000, 0, 0),
            ],
            put: 104_000,
            rewrite: 3,
            delete: 12,
            bytes_put: 1536,
            digest: "0123456789abcdef0123".to_owned(),
            findings: vec![Finding::notice("advice", b"", "take 2.2.9")],
        }
    }

    #[test]
    fn a_plan_reads_as_a_table() {
        assert_eq!(
            text(&plan(), Palette::plain()),
            "\
Layout: 2.1, read at revision 42
Collections: split form; plan 0123456789ab

FAMILY                 READ      PUT  REWRITE  DELETE
root-coord/collection     3        -        3       -
segment-index             -  104,000        -       -
total                     3  104,000        3      12

104,000 new keys, 3 rewritten, 12 deleted; 1.5 KiB to write

Findings: 1 notice
  notice advice
    take 2.2.9

Ready: nothing stands in the way
"
        );
    }

    #[test]
    fn a_plan_with_errors_says_that_nothing_is_written() {
        let mut plan = plan();
        plan.findings = vec![Finding::error("broken", b"k", "undecodable")];
        let shown = text(&plan, Palette::plain());
        assert!(
            shown.contains("Not migratable: 1 error in the way"),
            "{shown}"
        );
    }
}
