//! A plan as text, and as JSON with what blocks it now.

use serde::{Serialize, Serializer};

use super::findings::{self, Tally};
use super::style::Style;
use super::table::{Align, Table, cell};
use super::units::{bytes, count, counted, short_digest};
use milvus_meta::finding::Finding;
use milvus_meta::layout::Layout;
use milvus_meta::transform::{FamilyPlan, PlanReport};

/// A plan, and what keeps its migration from starting now.
#[derive(Debug)]
pub(in crate::cli) struct Planned {
    pub(in crate::cli) plan: PlanReport,
    pub(in crate::cli) blocking: Vec<Finding>,
}

impl Planned {
    /// A plan that nothing blocks.
    pub(in crate::cli) fn new(plan: PlanReport) -> Self {
        Self {
            plan,
            blocking: Vec::new(),
        }
    }
}

/// The plan with all findings; `blocking` has the codes of those that do not concern its validity.
impl Serialize for Planned {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Document {
            #[serde(flatten)]
            plan: PlanReport,
            blocking: Vec<String>,
        }
        let mut blocking: Vec<String> = self.blocking.iter().map(|one| one.code.clone()).collect();
        blocking.dedup();
        let mut plan = self.plan.clone();
        plan.findings.extend(self.blocking.iter().cloned());
        plan.findings.sort();
        Document { plan, blocking }.serialize(serializer)
    }
}

/// The plan as text.
pub(in crate::cli) fn text(planned: &Planned, style: Style) -> String {
    let Planned { plan, blocking } = planned;
    let mut lines = heading(plan, style);
    lines.push(String::new());
    if !plan.families.is_empty() {
        lines.extend(families(plan, style));
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
    lines.extend(findings::lines(&plan.findings, style));
    lines.push(String::new());
    if !blocking.is_empty() {
        lines.extend(findings::section("Blocking now:", blocking, style));
        lines.push(String::new());
    }
    lines.push(conclusion(plan, blocking, style));
    lines.push(String::new());
    lines.join("\n")
}

fn heading(plan: &PlanReport, style: Style) -> Vec<String> {
    let revision = if plan.revision > 0 {
        format!(", read at revision {}", plan.revision)
    } else {
        String::new()
    };
    let mut lines = vec![format!(
        "{} {}{revision}",
        style.strong("Layout:"),
        layout(plan.layout)
    )];
    if !plan.digest.is_empty() {
        lines.push(format!(
            "{} {} form; plan {}",
            style.strong("Collections:"),
            plan.collection_form,
            short_digest(&plan.digest)
        ));
        let roots = plan.storage_roots.iter().map(|root| format!("{root:?}"));
        let roots: Vec<String> = roots.collect();
        if !roots.is_empty() {
            lines.push(format!(
                "{} {} form; storage root {}",
                style.strong("Segments:"),
                plan.segment_form,
                roots.join(", ")
            ));
        }
    }
    lines
}

/// The layout in words.
pub(in crate::cli) fn layout(layout: Layout) -> &'static str {
    match layout {
        Layout::V2_1 => "2.1",
        Layout::V2_2 => "2.2",
        Layout::Mixed => "mixed: keys of 2.1 and 2.2",
        Layout::Staged => "staged: 2.1 intact; 2.2 keys partly written",
        Layout::Empty => "empty: no metadata to migrate",
    }
}

fn families(plan: &PlanReport, style: Style) -> Vec<String> {
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
    table.painted(style)
}

fn conclusion(plan: &PlanReport, blocking: &[Finding], style: Style) -> String {
    let tally = Tally::of(&plan.findings);
    if tally.errors > 0 {
        let errors = counted(tally.errors, "error");
        // A repair, whose source is the 2.2 layout, leaves no record out.
        let can_skip = plan.layout != Layout::V2_2;
        let way = if can_skip && plan.findings.iter().any(Finding::is_broken_record) {
            "; use --on-broken-record skip to leave out what cannot be migrated"
        } else {
            ""
        };
        return format!(
            "{} {errors} to resolve. Nothing is written until then{way}",
            style.bad("Not migratable:")
        );
    }
    if !blocking.is_empty() {
        return format!(
            "{} {} to resolve; then run plan again",
            style.bad("Not ready:"),
            counted(blocking.len() as u64, "blocking finding")
        );
    }
    if plan
        .findings
        .iter()
        .any(|finding| finding.code == "unfinished")
    {
        return style.careful("Unfinished: finish the interrupted operation first");
    }
    if plan
        .findings
        .iter()
        .any(|finding| finding.code == "nothing-to-do")
    {
        return if matches!(plan.layout, Layout::V2_2 | Layout::Mixed) {
            style.bad("Not ready: the target version cannot read this layout")
        } else {
            style.good("Nothing to do: the target version needs no migration")
        };
    }
    match plan.layout {
        // Of a migration there are none in this layout.
        Layout::V2_2 if plan.put + plan.rewrite + plan.delete > 0 => {
            format!("{} no blocking findings", style.good("Ready:"))
        }
        Layout::V2_1 | Layout::Staged => {
            format!("{} no blocking findings", style.good("Ready:"))
        }
        Layout::V2_2 => format!("{} the layout is 2.2 already", style.good("Nothing to do:")),
        Layout::Empty => format!("{} there is no metadata", style.good("Nothing to do:")),
        Layout::Mixed => format!(
            "{} keys of both layouts are present",
            style.bad("Not migratable:")
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
            segment_form: "auto".to_owned(),
            storage_roots: vec!["files".to_owned()],
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
            text(&Planned::new(plan()), Style::plain()),
            "\
Layout: 2.1, read at revision 42
Collections: split form; plan 0123456789ab
Segments: auto form; storage root \"files\"

FAMILY                 READ      PUT  REWRITE  DELETE
root-coord/collection     3        -        3       -
segment-index             -  104,000        -       -
total                     3  104,000        3      12

104,000 new keys, 3 rewritten, 12 deleted; 1.5 KiB to write

Findings: 1 notice
  notice advice
    take 2.2.9

Ready: no blocking findings
"
        );
    }

    #[test]
    fn what_blocks_a_valid_plan_is_shown_apart() {
        let planned = Planned {
            plan: plan(),
            blocking: vec![Finding::error(
                "live-session",
                b"s/rootcoord",
                "stop Milvus",
            )],
        };
        let shown = text(&planned, Style::plain());
        let end = "Findings: 1 notice\n  notice advice\n    take 2.2.9\n\nBlocking now: 1 error\n  error \
                   live-session\n    s/rootcoord\n      stop Milvus\n\nNot ready: 1 blocking finding to resolve; then run plan again\n";
        assert!(shown.ends_with(end), "{shown}");
        let json = serde_json::to_value(&planned).unwrap();
        assert_eq!(json["blocking"], serde_json::json!(["live-session"]));
        assert_eq!(json["findings"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn a_plan_with_errors_says_that_nothing_is_written() {
        let mut plan = plan();
        plan.findings = vec![Finding::error("broken", b"k", "undecodable")];
        let shown = text(&Planned::new(plan), Style::plain());
        assert!(
            shown.contains("Not migratable: 1 error to resolve"),
            "{shown}"
        );
    }
}
