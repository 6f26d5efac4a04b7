//! Formats a plan as text or as a document, with the findings that block it now.

use serde::{Serialize, Serializer};

use super::columns::{Column, How, table};
use super::findings::{self, SeverityCounts};
use super::style::Style;
use super::table::cell;
use super::terminal::line;
use super::units::{agree, bytes, count, counted, short_digest};
use milvus_meta::finding::Finding;
use milvus_meta::keys::Family;
use milvus_meta::layout::Layout;
use milvus_meta::transform::{FamilyPlan, ObjectKind, ObjectPlan, PlanReport};

/// A plan, with the findings that block its migration now.
#[derive(Debug)]
pub(in crate::cli) struct Planned {
    pub(in crate::cli) plan: PlanReport,
    pub(in crate::cli) blocking: Vec<Finding>,
    /// The backup whose interrupted restore must be finished first.
    pub(in crate::cli) restoring: Option<String>,
    /// Whether to show the keys of each family.
    pub(in crate::cli) is_detailed: bool,
    /// The next commands.
    pub(in crate::cli) next: Vec<String>,
}

impl Planned {
    /// A plan without blocking findings.
    pub(in crate::cli) fn new(plan: PlanReport) -> Self {
        Self {
            plan,
            blocking: Vec::new(),
            restoring: None,
            is_detailed: false,
            next: Vec::new(),
        }
    }

    /// Drops the findings about live sessions: Milvus is stopped later.
    pub(in crate::cli) fn ignore_sessions(&mut self) {
        self.blocking
            .retain(|finding| finding.code != meta_migrate::LIVE_SESSION);
    }
}

/// Serializes the plan with all findings; `blocking` lists the codes of those that block it now.
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

/// Formats the plan as text.
pub(in crate::cli) fn text(planned: &Planned, style: Style) -> String {
    let Planned { plan, blocking, .. } = planned;
    let mut lines = heading(plan, style);
    lines.push(String::new());
    if !plan.objects.is_empty() {
        lines.extend(objects(plan, style));
        lines.push(String::new());
    }
    // A repair has no objects: its findings name them.
    if planned.is_detailed && !plan.families.is_empty() {
        lines.extend(families(plan, style));
        lines.push(String::new());
    }
    if !plan.families.is_empty() {
        lines.push(format!(
            "{}, {} rewritten, {} deleted; {} to write{}",
            counted(plan.put, "new key"),
            count(plan.rewrite),
            count(plan.delete),
            bytes(plan.bytes_put),
            match planned.is_detailed {
                true => "",
                false => " (-v: by family)",
            }
        ));
        lines.push(String::new());
    }
    lines.extend(findings::lines(&plan.findings, style));
    lines.push(String::new());
    if !blocking.is_empty() {
        lines.extend(findings::section("Blocking now:", blocking, style));
        lines.push(String::new());
    }
    lines.extend(style.wrapped(&conclusion(plan, blocking, style), "  "));
    let next = planned.next.iter();
    lines.extend(next.map(|next| format!("  next: {}", line(next))));
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
    if !plan.objects.is_empty() {
        let found = format!("{} {}", style.strong("Found:"), found(&plan.objects));
        lines.extend(style.wrapped(&found, "  "));
    }
    if !plan.digest.is_empty() {
        lines.push(format!(
            "{} {}; collections in the {} form",
            style.strong("Plan:"),
            short_digest(&plan.digest),
            plan.collection_form
        ));
        let roots = plan.storage_roots.iter().map(|root| format!("{root:?}"));
        let roots: Vec<String> = roots.collect();
        if !roots.is_empty() {
            let heading = style.strong("Storage root:");
            lines.push(format!("{heading} {}", roots.join(", ")));
        }
    }
    lines
}

/// Lists the objects in a sentence: `7 collections, 12 partitions, 6 indexes on 54 segments, 2 aliases`.
pub(in crate::cli) fn found(objects: &[ObjectPlan]) -> String {
    let of = |kind| objects.iter().find(|it| it.kind == kind).map(|it| it.found);
    let named = |kind: ObjectKind| of(kind).map(|number| counted(number, kind.name()));
    let indexes = match (named(ObjectKind::Index), named(ObjectKind::Segment)) {
        (Some(indexes), Some(segments)) => Some(format!("{indexes} on {segments}")),
        (indexes, segments) => indexes.or(segments),
    };
    let parts = [
        named(ObjectKind::Collection),
        named(ObjectKind::Partition),
        indexes,
        named(ObjectKind::Alias),
        named(ObjectKind::LoadedCollection),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Formats the changes to each kind of object as a table.
fn objects(plan: &PlanReport, style: Style) -> Vec<String> {
    type Of = Column<[String; 4]>;
    let columns = [
        Of::fixed("OBJECTS", |[kind, ..]| kind.clone()),
        Of::number("2.1", |[_, before, ..]| before.clone()),
        Of::number("2.2", |[_, _, after, _]| after.clone()),
        Of::text("WHAT CHANGES", |[.., change]| change.clone()),
    ];
    table(&object_rows(plan), &columns, How::of(style))
}

/// Returns a row for each kind of object: its name, the numbers before and after, and the change.
pub(in crate::cli) fn object_rows(plan: &PlanReport) -> Vec<[String; 4]> {
    let rows = plan.objects.iter().map(|object| {
        let plural = counted(2_u64, object.kind.name());
        [
            plural.trim_start_matches("2 ").to_owned(),
            count(object.found),
            count(object.kept),
            change(object, plan),
        ]
    });
    rows.collect()
}

fn change(object: &ObjectPlan, plan: &PlanReport) -> String {
    let lost = object.found.saturating_sub(object.kept);
    let left_out = |what: &str| match lost {
        0 => what.to_owned(),
        lost => format!("{what}; {} skipped", count(lost)),
    };
    let renamed = plan
        .findings
        .iter()
        .filter(|one| one.code == "index-renamed");
    match (object.kind, plan.collection_form.as_str()) {
        (ObjectKind::Collection, "database") => left_out("move into the database \"default\""),
        (ObjectKind::Collection | ObjectKind::Partition, "embedded") => {
            left_out("keep their records")
        }
        (ObjectKind::Collection, _) => left_out("partitions and fields move out of the records"),
        (ObjectKind::Partition, _) => left_out("get separate records"),
        (ObjectKind::Alias | ObjectKind::SegmentIndex, _) => {
            left_out("get records of the 2.2 form")
        }
        (ObjectKind::Segment, _) => match plan.families.iter().any(holds_new_logs) {
            true => "stay; their logs get separate records".to_owned(),
            false => "stay as they are".to_owned(),
        },
        (ObjectKind::Index, _) => match renamed.count() {
            0 => left_out("get records of the 2.2 form"),
            number => left_out(&format!("get records of the 2.2 form; {number} renamed")),
        },
        (ObjectKind::LoadedCollection, _) => match lost {
            0 => "stay loaded".to_owned(),
            lost => format!(
                "stay loaded; {} {} to be loaded again",
                count(lost),
                agree(lost, "has", "have")
            ),
        },
    }
}

/// Whether logs of segments get separate keys.
fn holds_new_logs(family: &FamilyPlan) -> bool {
    let logs = [Family::Binlog, Family::Deltalog, Family::Statslog];
    family.put > 0 && logs.iter().any(|it| it.name() == family.name)
}

/// Describes the layout.
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
    type Of = Column<FamilyPlan>;
    let total = FamilyPlan {
        name: "total".to_owned(),
        read: plan.families.iter().map(|family| family.read).sum(),
        put: plan.put,
        rewrite: plan.rewrite,
        delete: plan.delete,
    };
    let columns = [
        Of::text("FAMILY", |it| it.name.clone()),
        Of::number("READ", |it| cell(it.read)),
        Of::number("PUT", |it| cell(it.put)),
        Of::number("REWRITE", |it| cell(it.rewrite)),
        Of::number("DELETE", |it| cell(it.delete)),
    ];
    let rows = [&plan.families[..], &[total]].concat();
    table(&rows, &columns, How::of(style))
}

fn conclusion(plan: &PlanReport, blocking: &[Finding], style: Style) -> String {
    let has = |code: &str| plan.findings.iter().any(|finding| finding.code == code);
    if has("newer-layout") {
        return style.bad("Not ready: the target version cannot read this layout");
    }
    let counts = SeverityCounts::of(&plan.findings);
    if counts.errors > 0 {
        let errors = counted(counts.errors, "error");
        let way = if plan.findings.iter().any(Finding::is_broken_record) {
            "; use --on-broken-record skip to migrate the rest"
        } else {
            ""
        };
        return format!(
            "{} {errors} to resolve. Nothing is written until then{way}",
            // In the 2.2 layout there is nothing to migrate, only to repair.
            style.bad(match plan.layout {
                Layout::V2_2 => "Not ready:",
                Layout::V2_1 | Layout::Staged | Layout::Mixed | Layout::Empty => "Not migratable:",
            })
        );
    }
    if !blocking.is_empty() {
        return format!(
            "{} {} to resolve; then run plan again",
            style.bad("Not ready:"),
            counted(blocking.len() as u64, "blocking finding")
        );
    }
    if has("unfinished") {
        return style.careful("Unfinished: finish the interrupted operation first");
    }
    if has("nothing-to-do") {
        return style.good("Nothing to do: the target version needs no migration");
    }
    match plan.layout {
        // Only a repair changes keys in this layout.
        Layout::V2_2 if plan.put + plan.rewrite + plan.delete == 0 => {
            format!("{} the layout is 2.2 already", style.good("Nothing to do:"))
        }
        Layout::V2_1 | Layout::V2_2 | Layout::Staged | Layout::Mixed => {
            format!("{} no blocking findings", style.good("Ready:"))
        }
        Layout::Empty => format!("{} there is no metadata", style.good("Nothing to do:")),
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

    fn object(kind: ObjectKind, found: u64, kept: u64) -> ObjectPlan {
        ObjectPlan { kind, found, kept }
    }

    fn plan() -> PlanReport {
        PlanReport {
            layout: Layout::V2_1,
            revision: 42,
            collection_form: "split".to_owned(),
            segment_form: "auto".to_owned(),
            storage_roots: vec!["files".to_owned()],
            objects: vec![
                object(ObjectKind::Collection, 7, 7),
                object(ObjectKind::Partition, 12, 12),
                object(ObjectKind::Index, 6, 6),
                object(ObjectKind::Segment, 54, 54),
                object(ObjectKind::SegmentIndex, 50, 48),
                object(ObjectKind::Alias, 1, 1),
                object(ObjectKind::LoadedCollection, 4, 3),
            ],
            families: vec![
                family("root-coord/collection", 3, 0, 3, 0),
                family("segment-index", 0, 104_000, 0, 0),
            ],
            put: 104_000,
            rewrite: 3,
            delete: 12,
            bytes_put: 1536,
            digest: "0123456789abcdef0123".to_owned(),
            findings: vec![Finding::notice(
                "index-renamed",
                b"k",
                "index \"_default_idx\" gets the name _default_idx_101",
            )],
        }
    }

    #[test]
    fn a_plan_lists_milvus_objects_first() {
        let planned = Planned {
            next: vec!["meta-migration migrate".to_owned()],
            ..Planned::new(plan())
        };
        assert_eq!(
            text(&planned, Style::plain()),
            "\
Layout: 2.1, read at revision 42
Found: 7 collections, 12 partitions, 6 indexes on 54 segments, 1 alias, 4 loaded collections
Plan: 0123456789ab; collections in the split form
Storage root: \"files\"

OBJECTS             2.1  2.2  WHAT CHANGES
collections           7    7  partitions and fields move out of the records
partitions           12   12  get separate records
indexes               6    6  get records of the 2.2 form; 1 renamed
segments             54   54  stay as they are
segment indexes      50   48  get records of the 2.2 form; 2 skipped
aliases               1    1  get records of the 2.2 form
loaded collections    4    3  stay loaded; 1 has to be loaded again

104,000 new keys, 3 rewritten, 12 deleted; 1.5 KiB to write (-v: by family)

Findings: 1 notice
  notice index-renamed
    index \"_default_idx\" gets the name _default_idx_101
      key k

Ready: no blocking findings
  next: meta-migration migrate
"
        );
    }

    #[test]
    fn a_detailed_plan_has_the_keys_of_each_family() {
        let planned = Planned {
            is_detailed: true,
            ..Planned::new(plan())
        };
        let shown = text(&planned, Style::plain());
        let table = "\
FAMILY                 READ      PUT  REWRITE  DELETE
root-coord/collection     3        -        3       -
segment-index             -  104,000        -       -
total                     3  104,000        3      12

104,000 new keys, 3 rewritten, 12 deleted; 1.5 KiB to write
";
        assert!(shown.contains(table), "{shown}");
    }

    #[test]
    fn findings_that_block_now_are_separate() {
        let planned = Planned {
            blocking: vec![Finding::error(
                "live-session",
                b"s/rootcoord",
                "stop Milvus",
            )],
            ..Planned::new(plan())
        };
        let shown = text(&planned, Style::plain());
        let end = "\nBlocking now: 1 error\n  error live-session\n    stop Milvus\n      key s/rootcoord\n\nNot ready: 1 \
                   blocking finding to resolve; then run plan again\n";
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
