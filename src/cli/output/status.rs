//! Formats the state of etcd as text.

use serde_json::Value;

use super::columns::{Column, How, table};
use super::findings;
use super::style::Style;
use super::terminal::line;
use super::units::{bytes, count, counted};
use meta_report::{EtcdReport, FamilyStatus, SessionReport, StatusReport};
use milvus_meta::finding::Finding;

/// Formats the status as text.
pub(in crate::cli) fn text(status: &StatusReport, style: Style) -> String {
    let incomplete = if status.findings.iter().any(Finding::is_error) {
        style.bad(", not complete (see the findings below)")
    } else {
        String::new()
    };
    let mut lines = vec![format!(
        "{} {}{incomplete}",
        style.strong("Layout:"),
        super::plan::layout(status.layout)
    )];
    lines.extend(etcd(&status.etcd, style));
    lines.push(match &status.lock {
        Some(lock) => format!(
            "{} held by {}",
            style.strong("Lock:"),
            style.careful(&session(lock))
        ),
        None => format!("{} free", style.strong("Lock:")),
    });
    let journal = match &status.journal_error {
        Some(why) => vec![unusable_journal(why, style)],
        None => journal(status.journal.as_ref(), style),
    };
    lines.extend(journal.iter().flat_map(|line| style.wrapped(line, "  ")));
    if status.sessions.is_empty() {
        lines.push(format!(
            "{} none running",
            style.strong("Milvus components:")
        ));
    } else {
        let number = counted(status.sessions.len() as u64, "session");
        lines.push(format!(
            "{} {}",
            style.strong("Milvus components:"),
            style.careful(&format!(
                "{number}: running, or stopped less than a minute ago"
            ))
        ));
        lines.extend(
            status
                .sessions
                .iter()
                .map(|one| format!("  {}", session(one))),
        );
    }
    if !status.findings.is_empty() {
        lines.push(String::new());
        lines.extend(findings::lines(&status.findings, style));
    }
    if !status.families.is_empty() {
        lines.push(String::new());
        lines.extend(families(&status.families, style));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Formats only the families.
pub(in crate::cli) fn summary(found: &[FamilyStatus], style: Style) -> String {
    let mut lines = families(found, style);
    lines.push(String::new());
    lines.join("\n")
}

fn etcd(etcd: &EtcdReport, style: Style) -> Vec<String> {
    if etcd.members == 0 {
        return vec![format!(
            "{} its status is not available",
            style.strong("etcd:")
        )];
    }
    let server = format!(
        "{} {}, {}; database {}, {} in use, quota {}",
        style.strong("etcd:"),
        line(&etcd.version),
        counted(etcd.members as u64, "member"),
        bytes(etcd.db_size),
        bytes(etcd.db_size_in_use),
        bytes(etcd.quota)
    );
    let mut lines = style.wrapped(&server, "  ");
    if !etcd.alarms.is_empty() {
        lines.push(format!(
            "{} {}",
            style.bad("Alarms:"),
            line(&etcd.alarms.join(", "))
        ));
    }
    lines
}

fn session(session: &SessionReport) -> String {
    let address = if session.address.is_empty() {
        String::new()
    } else {
        format!(" at {}", session.address)
    };
    let ending = session.ending();
    let text = format!("{}{address} ({}, {ending})", session.role, session.key);
    line(&text).into_owned()
}

/// Describes a journal that cannot be read; the layout then follows from the keys alone.
fn unusable_journal(why: &str, style: Style) -> String {
    let text = format!(
        "cannot be read: {why}; a migration may be unfinished, and nothing will be changed until it can be \
         read"
    );
    format!("{} {}", style.strong("Migration:"), style.bad(&line(&text)))
}

/// Formats the journal in a line that starts with its phase, and the backup in another.
fn journal(journal: Option<&Value>, style: Style) -> Vec<String> {
    let heading = style.strong("Migration:");
    let Some(journal) = journal else {
        return vec![format!("{heading} none recorded")];
    };
    let text = |name: &str| journal.get(name).and_then(Value::as_str);
    let Some(phase) = text("phase") else {
        return vec![format!("{heading} {}", line(&journal.to_string()))];
    };
    let backup = journal.pointer("/backup/path").and_then(Value::as_str);
    let mut description = match (phase, text("kind")) {
        ("restoring", _) => restoring_in_words(backup),
        (_, Some("repair")) => repair_in_words(phase),
        _ => phase_in_words(phase),
    };
    if let (Some(form), Some(target)) = (text("collection_form"), text("target_version")) {
        description.push_str(&format!("; for {target}, {form} form"));
    }
    if let Some(at) = text("updated_at") {
        description.push_str(&format!("; {at}"));
    }
    if backup.is_none() {
        description.push_str("; no backup");
    }
    let backup = backup.map(|path| format!("  backup {}", line(path)));
    let first = format!("{heading} {}", line(&description));
    [first].into_iter().chain(backup).collect()
}

fn restoring_in_words(backup: Option<&str>) -> String {
    let file = backup.unwrap_or("FILE");
    format!(
        "restoring: a restore was interrupted, do not start Milvus: run meta-migration restore --backup-file {file} to \
         finish it"
    )
}

fn repair_in_words(phase: &str) -> String {
    let meaning = match phase {
        "staging" | "staged" => {
            "unfinished, existing keys unchanged: repair resumes, rollback deletes the staged keys"
        }
        "committed" | "tidying" => {
            "unfinished, do not start Milvus: repair resumes, rollback restores the metadata before it"
        }
        "done" => "finished",
        _ => return phase_in_words(phase),
    };
    format!("repair, {phase}: {meaning}")
}

fn phase_in_words(phase: &str) -> String {
    let meaning = match phase {
        "staging" | "staged" => {
            "unfinished, 2.1 intact: migrate resumes, rollback deletes the staged keys"
        }
        "committed" | "tidying" => {
            "unfinished, 2.2 can start: migrate resumes, rollback restores 2.1"
        }
        "done" => "finished",
        _ => return phase.to_owned(),
    };
    format!("{phase}: {meaning}")
}

fn families(found: &[FamilyStatus], style: Style) -> Vec<String> {
    type Of = Column<FamilyStatus>;
    let total = FamilyStatus {
        name: "total".to_owned(),
        keys: found.iter().map(|family| family.keys).sum(),
        bytes: found.iter().map(|family| family.bytes).sum(),
    };
    let columns = [
        Of::text("FAMILY", |it| it.name.clone()),
        Of::number("KEYS", |it| count(it.keys)),
        Of::number("SIZE", |it| bytes(it.bytes)),
    ];
    table(&[found, &[total]].concat(), &columns, How::of(style))
}

#[cfg(test)]
mod tests {
    use super::*;
    use milvus_meta::layout::Layout;

    #[test]
    fn a_status_reports_layout_lock_sessions_and_families() {
        let session = |role: &str, ttl| SessionReport {
            role: role.to_owned(),
            key: format!("by-dev/meta/session/{role}"),
            address: "10.0.0.1:53100".to_owned(),
            lease: 7,
            ttl,
        };
        let status = StatusReport {
            layout: Layout::V2_1,
            families: vec![FamilyStatus {
                name: "indexes".to_owned(),
                keys: 1200,
                bytes: 2048,
            }],
            sessions: vec![session("rootcoord", 12)],
            lock: None,
            journal: Some(serde_json::json!({"phase": "staging"})),
            journal_error: None,
            etcd: EtcdReport {
                version: "3.5.1".to_owned(),
                members: 1,
                db_size: 4096,
                db_size_in_use: 1024,
                quota: 2 << 30,
                alarms: vec!["NOSPACE".to_owned()],
            },
            findings: Vec::new(),
        };
        assert_eq!(
            text(&status, Style::plain()),
            "\
Layout: 2.1
etcd: 3.5.1, 1 member; database 4.0 KiB, 1.0 KiB in use, quota 2.0 GiB
Alarms: NOSPACE
Lock: free
Migration: staging: unfinished, 2.1 intact: migrate resumes, rollback deletes the staged keys; no backup
Milvus components: 1 session: running, or stopped less than a minute ago
  rootcoord at 10.0.0.1:53100 (by-dev/meta/session/rootcoord, lease ends in 12 s unless renewed)

FAMILY    KEYS     SIZE
indexes  1,200  2.0 KiB
total    1,200  2.0 KiB
"
        );
    }
}
