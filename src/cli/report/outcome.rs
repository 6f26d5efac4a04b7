//! What commands did, for a person.

use super::findings;
use super::palette::Palette;
use super::terminal::line;
use super::units::{bytes, count, counted, short_digest};
use crate::report::{
    BackupReport, MigrateOutcome, MigrateReport, RestoreOutcome, RestoreReport, Seconds,
    VerifyReport,
};

/// A backup in a few lines.
pub(in crate::cli) fn backup(report: &BackupReport, palette: Palette) -> String {
    let mut lines = vec![
        format!("{} {}", palette.good("Backup:"), line(&report.path)),
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
            "  {} on a lease (sessions) left out",
            counted(report.skipped_leased, "key")
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What a person does next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::cli) struct Next {
    /// What is to be started now.
    pub(in crate::cli) start: Option<String>,
    /// The command that goes back.
    pub(in crate::cli) back: Option<String>,
}

impl Next {
    fn lines(&self) -> Vec<String> {
        let start = self.start.iter();
        let start = start.map(|text| format!("  next: {}", line(text)));
        let back = self.back.iter();
        let back = back.map(|text| format!("  way back: {}", line(text)));
        start.chain(back).collect()
    }
}

/// A migration in a few lines; the plan was shown before, or is asked for with `plan`.
pub(in crate::cli) fn migrate(report: &MigrateReport, next: &Next, palette: Palette) -> String {
    let mut lines = vec![match report.outcome {
        MigrateOutcome::Migrated if report.resumed => {
            palette.good("Migrated: an interrupted run was carried on and finished")
        }
        MigrateOutcome::Migrated => palette.good("Migrated"),
        MigrateOutcome::AlreadyMigrated => {
            palette.good("Already migrated: the 2.2 layout is there, nothing was changed")
        }
        MigrateOutcome::NothingToDo => palette.good("Nothing to do: nothing was changed"),
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
    if let Some(backup) = &report.backup {
        lines.push(format!(
            "  backup {} ({}, digest {})",
            line(&backup.path),
            counted(backup.entries, "entry"),
            short_digest(&backup.digest)
        ));
    }
    if report.outcome == MigrateOutcome::Migrated && report.backup.is_none() {
        lines.push("  no backup: this migration cannot be rolled back".to_owned());
    }
    if report.verified {
        // A run that came back after the switch has no plan to compare with.
        let found = match report.plan {
            Some(_) => "  read back and compared: everything is as planned",
            None => "  read back: the 2.2 layout is complete and consistent",
        };
        lines.push(found.to_owned());
    }
    if report.outcome == MigrateOutcome::Migrated {
        lines.push(seconds(&report.seconds));
    }
    if let Some(plan) = report.plan.as_ref()
        && !plan.findings.is_empty()
    {
        lines.extend(
            findings::lines(&plan.findings, palette)
                .iter()
                .map(|line| format!("  {line}")),
        );
    }
    lines.extend(next.lines());
    lines.push(String::new());
    lines.join("\n")
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

/// A verification in a few lines.
pub(in crate::cli) fn verify(
    report: &VerifyReport,
    against_backup: bool,
    palette: Palette,
) -> String {
    let mut lines = Vec::new();
    if report.ok && against_backup {
        lines.push(palette.good("Verified: exactly what the migration of the backup gives"));
    } else if report.ok {
        lines.push(palette.good("Verified: the 2.2 layout is complete and consistent"));
    } else if report.missing + report.different + report.extra == 0 {
        lines.push(palette.bad("Not as it should be"));
    } else {
        lines.push(format!(
            "{} {} missing, {} different, {} too many",
            palette.bad("Differences:"),
            counted(report.missing, "key"),
            count(report.different),
            count(report.extra)
        ));
    }
    if !report.findings.is_empty() {
        lines.extend(findings::lines(&report.findings, palette));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// A rollback or restore in a few lines. `dry_run`: nothing was done, only compared.
pub(in crate::cli) fn restore(
    report: &RestoreReport,
    dry_run: bool,
    next: &Next,
    palette: Palette,
) -> String {
    let difference = difference(report);
    let mut lines = Vec::new();
    match (report.outcome, dry_run) {
        (RestoreOutcome::Unchanged, false) if !report.verified => {
            lines.push(
                palette.good("Unchanged: the 2.1 layout is there, and no migration was begun"),
            );
        }
        (RestoreOutcome::Unchanged, _) => {
            lines.push(palette.good("Unchanged: all that the backup holds is there already"));
            if report.kept > 0 {
                lines.push(format!("  {difference}"));
            }
        }
        (RestoreOutcome::WouldRestore, _) => {
            lines.push(palette.strong("Dry run: nothing was changed; going back would mean"));
            lines.push(format!("  {difference}"));
        }
        (RestoreOutcome::Restored, _) => {
            lines.push(palette.good("Restored"));
            lines.push(format!("  {difference}"));
        }
    }
    if report.verified && !dry_run {
        lines.push(format!("  {}", standing(report)));
    }
    lines.extend(next.lines());
    lines.push(String::new());
    lines.join("\n")
}

/// What stands now, and how that is known.
fn standing(report: &RestoreReport) -> String {
    if report.discards {
        return "verified: nothing is left of what was staged, and the 2.1 metadata is what it was staged from"
            .to_owned();
    }
    match report.kept {
        0 => "read back and compared: everything is as it was".to_owned(),
        kept => format!(
            "read back and compared: what the backup holds is as it was. {} beside it that the backup does not \
             hold; status tells which layout they make together",
            match kept {
                1 => "1 key stays".to_owned(),
                more => format!("{} keys stay", count(more)),
            }
        ),
    }
}

/// What a rollback or restore is about to do, for the question before it.
pub(in crate::cli) fn intention(report: &RestoreReport) -> String {
    format!("About to go back: {}\n", difference(report))
}

/// What goes and comes, in a few words.
pub(in crate::cli) fn difference(report: &RestoreReport) -> String {
    let kept = match report.kept {
        0 => String::new(),
        kept => format!(", {} kept that the backup does not hold", count(kept)),
    };
    format!(
        "{} put, {} deleted{kept}",
        counted(report.put, "key"),
        count(report.delete)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::BackupRef;

    #[test]
    fn a_migration_tells_what_it_did_and_where_the_backup_is() {
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
        };
        assert_eq!(
            migrate(&report, &next, Palette::plain()),
            "\
Migrated: an interrupted run was carried on and finished
  backup /b/x.backup (1 entry, digest aabbccddeeff)
  read back: the 2.2 layout is complete and consistent
  1.25 s: read 0.00, transform 0.00, backup 0.00, write 0.00, verify 0.00
  next: start Milvus 2.2.16
  way back: meta-migration rollback
"
        );
    }

    #[test]
    fn a_way_back_claims_no_more_than_was_looked_at() {
        let whole = RestoreReport {
            outcome: RestoreOutcome::Restored,
            put: 4,
            delete: 2,
            kept: 0,
            verified: true,
            discards: false,
        };
        let kept = RestoreReport { kept: 3, ..whole };
        let discarded = RestoreReport {
            put: 0,
            discards: true,
            ..whole
        };
        let text = |report| restore(&report, false, &Next::default(), Palette::plain());
        assert!(text(whole).contains("compared: everything is as it was"));
        assert!(!text(kept).contains("everything"), "{}", text(kept));
        assert!(text(kept).contains("3 keys stay beside it"));
        assert!(!text(discarded).contains("compared"), "{}", text(discarded));
        assert!(text(discarded).contains("nothing is left of what was staged"));
    }

    #[test]
    fn a_dry_run_says_that_nothing_was_changed() {
        let report = RestoreReport {
            outcome: RestoreOutcome::WouldRestore,
            put: 1,
            delete: 2000,
            kept: 0,
            verified: false,
            discards: false,
        };
        assert_eq!(
            restore(&report, true, &Next::default(), Palette::plain()),
            "\
Dry run: nothing was changed; going back would mean
  1 key put, 2,000 deleted
"
        );
    }
}
