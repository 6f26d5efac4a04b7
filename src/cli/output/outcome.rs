//! Formats the results of commands as text.

use super::diff;
use super::findings;
use super::style::Style;
use super::terminal::line;
use super::units::{agree, bytes, count, counted, short_digest};
use meta_migrate::RestoreCommand;
use meta_report::{
    BackupRef, BackupReport, MigrateOutcome, MigrateReport, RestoreOutcome, RestoreReport, Seconds,
    VerifyReport,
};

/// Summarizes a backup.
pub(in crate::cli) fn backup(report: &BackupReport, style: Style) -> String {
    let mut lines = vec![
        format!("{} {}", style.good("Backup:"), line(&report.path)),
        format!(
            "  {}, {}, {} format, digest {}",
            counted(report.entries, "entry"),
            bytes(report.bytes),
            report.format,
            short_digest(&report.digest)
        ),
    ];
    if report.revision > 0 {
        lines.push(format!("  shows etcd at revision {}", report.revision));
    }
    if report.skipped_leased > 0 {
        lines.push(format!(
            "  {} on a lease (sessions) skipped",
            counted(report.skipped_leased, "key")
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The next commands for the user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cli) struct Next {
    /// The release to start.
    pub(in crate::cli) start: Option<String>,
    /// The command that rolls back.
    pub(in crate::cli) back: Option<String>,
    /// Whether the recorded backup is not at its path, which is then not shown.
    pub(in crate::cli) backup_is_missing: bool,
    /// Whether the user saw the findings before confirming.
    pub(in crate::cli) findings_shown: bool,
}

impl Next {
    fn lines(&self) -> Vec<String> {
        let start = self.start.iter();
        let start = start.map(|text| format!("  next: {}", line(text)));
        let back = self.back.iter();
        let back = back.map(|text| format!("  To roll back: {}", line(text)));
        start.chain(back).collect()
    }
}

/// Summarizes a migration without its plan, which is shown before the run or by `plan`.
pub(in crate::cli) fn migrate(report: &MigrateReport, next: &Next, style: Style) -> String {
    let mut lines = vec![match report.outcome {
        MigrateOutcome::Migrated if report.resumed => {
            style.good("Migrated: resumed and finished an interrupted run")
        }
        MigrateOutcome::Migrated => style.good("Migrated"),
        MigrateOutcome::AlreadyMigrated => {
            style.good("Already migrated: the metadata has the 2.2 layout; no changes")
        }
        MigrateOutcome::Repaired if report.resumed => {
            style.good("Repaired: resumed and finished an interrupted run")
        }
        MigrateOutcome::Repaired => style.good("Repaired"),
        MigrateOutcome::NothingToRepair => {
            style.good("Nothing to repair: the 2.2 metadata is complete; no changes")
        }
        MigrateOutcome::NothingToDo => style.good("Nothing to do: no changes"),
    }];
    if let Some(plan) = &report.plan {
        lines.push(format!(
            "  {}, {} rewritten, {} deleted; {} form, plan {}",
            counted(plan.put, "new key"),
            count(plan.rewrite),
            count(plan.delete),
            plan.collection_form,
            short_digest(&plan.digest)
        ));
    }
    if let Some(backup) = &report.backup
        && !next.backup_is_missing
    {
        lines.push(backup_line(backup));
    }
    let is_written = matches!(
        report.outcome,
        MigrateOutcome::Migrated | MigrateOutcome::Repaired
    );
    if is_written && report.backup.is_none() {
        let what = if report.outcome == MigrateOutcome::Repaired {
            "repair"
        } else {
            "migration"
        };
        lines.push(format!("  no backup: this {what} cannot be rolled back"));
    }
    if report.verified {
        // A run that was resumed after the commit has no plan to compare with.
        let found = match report.plan {
            Some(_) => "  verified: all keys match the plan",
            None => "  verified: the 2.2 metadata is complete and consistent",
        };
        lines.push(found.to_owned());
    }
    if is_written {
        lines.push(seconds(&report.seconds));
    }
    if let Some(plan) = report.plan.as_ref()
        && !plan.findings.is_empty()
        && !next.findings_shown
    {
        lines.push(String::new());
        lines.extend(findings::lines(&plan.findings, style));
        lines.push(String::new());
    }
    lines.extend(next.lines());
    lines.push(String::new());
    lines.join("\n")
}

fn backup_line(backup: &BackupRef) -> String {
    format!(
        "  backup {} ({}, digest {})",
        line(&backup.path),
        counted(backup.entries, "entry"),
        short_digest(&backup.digest)
    )
}

fn seconds(seconds: &Seconds) -> String {
    format!(
        "  {:.2} s: read {:.2}, transform {:.2}, backup {:.2}, write {:.2}, verify {:.2}",
        seconds.total,
        seconds.read,
        seconds.transform,
        seconds.backup,
        seconds.write,
        seconds.verify
    )
}

/// Summarizes a verification.
pub(in crate::cli) fn verify(report: &VerifyReport, against_backup: bool, style: Style) -> String {
    let mut lines = Vec::new();
    if report.ok && against_backup {
        lines.push(style.good("Verified: matches the expected result of migrating the backup"));
    } else if report.ok {
        lines.push(style.good("Verified: the 2.2 metadata is complete and consistent"));
    } else if report.missing + report.different + report.extra == 0 {
        lines.push(style.bad("Verification failed"));
    } else {
        lines.push(format!(
            "{} {} missing, {} different, {} extra",
            style.bad("Differences:"),
            counted(report.missing, "key"),
            count(report.different),
            count(report.extra)
        ));
    }
    if !report.findings.is_empty() {
        lines.extend(findings::lines(&report.findings, style));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Summarizes a rollback or restore, or with `dry_run` its changes.
pub(in crate::cli) fn restore(
    report: &RestoreReport,
    command: RestoreCommand,
    dry_run: bool,
    next: &Next,
    style: Style,
) -> String {
    let difference = difference(report);
    let mut lines = Vec::new();
    let backup = report.backup.iter().map(backup_line);
    match (report.outcome, dry_run) {
        (RestoreOutcome::Unchanged, false) if !report.verified => {
            lines.push(
                style.good(
                    "No changes: the metadata has the 2.1 layout, and no migration is recorded",
                ),
            );
        }
        (RestoreOutcome::Unchanged, _) => {
            lines.push(style.good(match report.families[..] {
                [] => "No changes: etcd already matches the backup",
                _ => "No changes: the families already match the backup",
            }));
            lines.extend(backup);
            if report.kept > 0 {
                lines.push(format!("  {difference}"));
            }
        }
        (RestoreOutcome::WouldRestore, _) => {
            lines.push(style.strong("Dry run: no changes made; would change:"));
            lines.push(format!("  {difference}"));
            lines.extend(backup);
            if let Some(diff) = &report.diff {
                lines.push(String::new());
                lines.extend(diff::lines(diff, style));
            }
        }
        (RestoreOutcome::Restored, _) => {
            lines.push(style.good(match command {
                RestoreCommand::Rollback => "Rolled back",
                RestoreCommand::Restore => "Restored",
            }));
            lines.push(format!("  {difference}"));
            lines.extend(backup);
        }
    }
    if report.verified && report.outcome == RestoreOutcome::Restored && !dry_run {
        lines.push(format!("  {}", verified(report)));
    }
    if let Some(found) = &report.old_root {
        lines.extend(diff::old_root(found, style));
    }
    lines.extend(next.lines());
    lines.push(String::new());
    lines.join("\n")
}

/// Describes the verified state after a rollback or restore.
fn verified(report: &RestoreReport) -> String {
    if report.discards {
        return "verified: no staged keys are left, and the 2.1 metadata is what they were staged from"
            .to_owned();
    }
    match report.kept {
        0 if !report.families.is_empty() => {
            "verified: the restored families match the backup".to_owned()
        }
        0 => "verified: etcd matches the backup".to_owned(),
        kept => format!(
            "verified: all keys of the backup match. {} that the backup does not hold; run status for the \
                resulting layout",
            format_args!("{} {}", counted(kept, "key"), agree(kept, "stays", "stay"))
        ),
    }
}

/// Returns the question before a rollback or restore. `action` names the command and the instance.
pub(in crate::cli) fn question(report: &RestoreReport, action: &str) -> String {
    let from = match &report.backup {
        Some(backup) => format!(" from {}", backup.path),
        None => String::new(),
    };
    format!("{action}{from}: {}?", difference(report))
}

/// Counts the keys that are put, deleted and kept.
pub(in crate::cli) fn difference(report: &RestoreReport) -> String {
    if report.discards {
        return format!("{} deleted", counted(report.delete, "staged key"));
    }
    let kept = match report.kept {
        0 => String::new(),
        kept => format!(", {} kept that are not in the backup", count(kept)),
    };
    let of = match report.families[..] {
        [] => String::new(),
        _ => format!(" of {}", report.families.join(", ")),
    };
    format!(
        "{} put, {} deleted{kept}{of}",
        counted(report.put, "key"),
        count(report.delete)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migration_names_result_and_backup() {
        let report = MigrateReport {
            outcome: MigrateOutcome::Migrated,
            resumed: true,
            plan: None,
            backup: Some(BackupRef {
                path: "/b/x.backup".to_owned(),
                entries: 1,
                digest: "aabbccddeeff00112233".to_owned(),
            }),
            verified: true,
            seconds: Seconds {
                total: 1.25,
                ..Seconds::default()
            },
        };
        let next = Next {
            start: Some("start Milvus 2.2.16".to_owned()),
            back: Some("meta-migration rollback".to_owned()),
            ..Next::default()
        };
        assert_eq!(
            migrate(&report, &next, Style::plain()),
            "\
Migrated: resumed and finished an interrupted run
  backup /b/x.backup (1 entry, digest aabbccddeeff)
  verified: the 2.2 metadata is complete and consistent
  1.25 s: read 0.00, transform 0.00, backup 0.00, write 0.00, verify 0.00
  next: start Milvus 2.2.16
  To roll back: meta-migration rollback
"
        );
    }

    #[test]
    fn restore_claims_no_more_than_was_compared() {
        let complete = RestoreReport {
            outcome: RestoreOutcome::Restored,
            put: 4,
            delete: 2,
            verified: true,
            ..RestoreReport::default()
        };
        let kept = RestoreReport {
            kept: 3,
            ..complete.clone()
        };
        let discarded = RestoreReport {
            put: 0,
            discards: true,
            ..complete.clone()
        };
        let text = |report: &RestoreReport| {
            let command = RestoreCommand::Rollback;
            restore(report, command, false, &Next::default(), Style::plain())
        };
        assert!(text(&complete).starts_with("Rolled back\n"));
        assert!(text(&complete).contains("verified: etcd matches the backup"));
        assert!(
            !text(&kept).contains("etcd matches the backup"),
            "{}",
            text(&kept)
        );
        assert!(text(&kept).contains("3 keys stay that the backup does not hold"));
        assert!(!text(&discarded).contains("backup"), "{}", text(&discarded));
        assert!(text(&discarded).contains("no staged keys are left"));
    }

    #[test]
    fn dry_run_reports_no_changes() {
        let report = RestoreReport {
            outcome: RestoreOutcome::WouldRestore,
            put: 1,
            delete: 2000,
            ..RestoreReport::default()
        };
        assert_eq!(
            restore(
                &report,
                RestoreCommand::Restore,
                true,
                &Next::default(),
                Style::plain()
            ),
            "\
Dry run: no changes made; would change:
  1 key put, 2,000 deleted
"
        );
    }
}
