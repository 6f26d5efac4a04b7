//! `--report`: a page about a plan, a migration or an upgrade, for the person who approves the change.

use std::path::PathBuf;

use super::context::CommandContext;
use super::output::exit::Exit;
use super::output::failure::Failure;
use super::output::findings::SeverityCounts;
use super::output::plan::{Planned, found, object_rows};
use super::output::units::{count, counted, short_digest};
use meta_migrate::BackupSource;
use meta_migrate::journal::Phase;
use meta_report::shell::quoted;
use meta_report::{MigrateOutcome, MigrateReport};
use milvus_meta::finding::Finding;
use milvus_meta::transform::PlanReport;

mod escape;
mod page;
mod protocol;
mod target;
mod timeline;
mod upgrade;

use page::{Check, Page, Tone};
use protocol::Step;
pub(in crate::cli) use target::Target;

/// The option for a report.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Output")]
pub(in crate::cli) struct ReportOptions {
    /// Also write a report for the person who approves the change: one HTML page that needs no network. An older report
    /// is replaced, no other file is
    #[arg(long = "report", value_name = "FILE", env)]
    report: Option<PathBuf>,
}

impl ReportOptions {
    /// Returns the file of the report, if the option is given.
    ///
    /// # Errors
    /// Those of [`Target::new`].
    pub(in crate::cli) fn target(&self) -> Result<Option<Target>, Failure> {
        self.report.clone().map(Target::new).transpose()
    }
}

impl Target {
    /// Writes the page of a plan.
    ///
    /// # Errors
    /// [`Failure`] if the file cannot be written.
    pub(in crate::cli) fn plan(
        &self,
        context: &CommandContext,
        planned: &Planned,
        file: Option<&BackupSource>,
        words: &[String],
    ) -> Result<(), Failure> {
        let plan = &planned.plan;
        let mut findings = plan.findings.clone();
        findings.extend(planned.blocking.iter().cloned());
        findings.sort();
        let ready = !findings.iter().any(Finding::is_error);
        let has_work = plan.put + plan.rewrite + plan.delete > 0;
        let (tone, title, text) = match (ready, has_work) {
            (false, _) => (
                Tone::Bad,
                "Not ready",
                "Resolve the findings of severity error first, then plan again. Nothing was changed.",
            ),
            (true, false) => (
                Tone::Good,
                "Nothing to do",
                "The metadata needs no migration. Nothing was changed.",
            ),
            (true, true) => (
                Tone::Good,
                "Ready",
                "No finding blocks the migration. Nothing was changed yet.",
            ),
        };
        let text = with_counts(text, &findings);
        // The plan of a file says nothing about etcd.
        let blocking = file.is_none().then_some(&planned.blocking[..]);
        let mut page = Page {
            kind: "Migration plan".to_owned(),
            at: Some(Step::Plan),
            checks: checks(Some(plan), blocking, Step::Plan, None),
            ..page(context, Some(plan), findings)
        };
        if let Some(file) = file {
            page.describe_file(file);
        }
        page.verdict = Some((tone, title.to_owned(), text));
        let words = words.iter().map(|word| format!(" {}", quoted(word)));
        let words: String = words.collect();
        if !ready {
            let again = context.next_steps.again();
            page.commands = vec![("To plan again".to_owned(), again)];
        } else if let (true, Some(file)) = (has_work, file) {
            let path = &file.backup().summary().path;
            page.commands = vec![(
                "To migrate the backup file, without etcd".to_owned(),
                format!("{}{words}", context.next_steps.migrate_file(path)),
            )];
        } else if has_work {
            page.commands = vec![
                (
                    "To carry out exactly this plan, with Milvus stopped and etcd running"
                        .to_owned(),
                    format!(
                        "{}{words} --plan {}",
                        context.next_steps.command("migrate"),
                        short_digest(&plan.digest)
                    ),
                ),
                (
                    "To roll back afterwards".to_owned(),
                    context.next_steps.rollback(None),
                ),
            ];
        }
        self.write(&page)
    }

    /// Writes the page of a successful migration. A failure to write it is only a warning.
    pub(in crate::cli) fn done(
        &self,
        context: &CommandContext,
        done: &MigrateReport,
        back: Option<&str>,
    ) {
        let plan = done.plan.as_ref();
        let findings = plan.map_or_else(Vec::new, |plan| plan.findings.clone());
        let release = context.config.target_version.as_ref();
        let release = release.map_or_else(|| "2.2".to_owned(), ToString::to_string);
        let started = format!("Milvus {release} can be started.");
        let (title, text, at) = match done.outcome {
            MigrateOutcome::Migrated => ("Migrated", started.as_str(), Some(Step::Done)),
            MigrateOutcome::Repaired => ("Repaired", started.as_str(), Some(Step::Done)),
            MigrateOutcome::AlreadyMigrated => (
                "Already migrated",
                "The metadata has the 2.2 layout. Nothing was changed.",
                Some(Step::Done),
            ),
            MigrateOutcome::NothingToRepair => (
                "Nothing to repair",
                "The 2.2 metadata is complete. Nothing was changed.",
                None,
            ),
            MigrateOutcome::NothingToDo => ("Nothing to do", "Nothing was changed.", None),
        };
        let mut page = Page {
            kind: "Migration report".to_owned(),
            verdict: Some((Tone::Good, title.to_owned(), with_counts(text, &findings))),
            at,
            ..page(context, plan, findings)
        };
        if let Some(at) = at
            && plan.is_some()
        {
            page.checks = checks(plan, Some(&[]), at, Some(done));
        }
        if let Some(backup) = &done.backup {
            page.facts.push((
                "Backup",
                format!(
                    "{} ({}, digest {})",
                    backup.path,
                    counted(backup.entries, "entry"),
                    short_digest(&backup.digest)
                ),
            ));
        }
        page.facts
            .push(("Duration", format!("{:.2} s", done.seconds.total)));
        page.commands = vec![(
            "To verify again".to_owned(),
            context.next_steps.command("verify"),
        )];
        if let Some(back) = back {
            page.commands.push((
                "To roll back, with Milvus stopped".to_owned(),
                back.to_owned(),
            ));
        }
        self.write_or_warn(&page);
    }

    /// Writes the page of a migration that failed in a phase of the journal.
    pub(in crate::cli) fn failed(
        &self,
        context: &CommandContext,
        failure: &Failure,
        phase: Option<Phase>,
    ) {
        let at = match phase {
            None => Step::Plan,
            Some(Phase::Staging) => Step::Stage,
            Some(Phase::Staged | Phase::Restoring) => Step::Commit,
            Some(Phase::Committed | Phase::Tidying) => Step::Cleanup,
            Some(Phase::Done) => Step::Done,
        };
        let (tone, title) = match failure.exit {
            Exit::PartWay | Exit::Interrupted | Exit::Terminated => (Tone::Careful, "Not finished"),
            Exit::Refused => (Tone::Bad, "Refused"),
            Exit::NotMigratable => (Tone::Bad, "Not migratable"),
            Exit::Differences => (Tone::Bad, "Verification failed"),
            Exit::Done | Exit::Failed | Exit::Usage => (Tone::Bad, "Failed"),
        };
        let mut text = vec![capitalized(&failure.message)];
        text.extend_from_slice(&failure.causes);
        text.extend((!failure.changed.is_empty()).then(|| failure.changed.to_string()));
        let text = format!("{}.", text.join("; "));
        let mut page = Page {
            kind: "Migration report".to_owned(),
            verdict: Some((tone, title.to_owned(), text)),
            at: Some(at),
            ..page(context, None, failure.findings.to_vec())
        };
        page.commands = commands(&failure.hints);
        if let Some(backup) = &failure.backup {
            page.facts.push(("Backup", backup.to_string()));
        }
        self.write_or_warn(&page);
    }
}

impl Page {
    /// Names a backup file in place of etcd.
    fn describe_file(&mut self, file: &BackupSource) {
        let path = file.backup().summary().path.display().to_string();
        let root = file.root().meta_root();
        self.instance = format!("{root} in {path}");
        let is_other = |(name, _): &(&str, String)| !matches!(*name, "Endpoints" | "Meta root");
        self.facts.retain(is_other);
        let facts = [("Backup", path), ("Meta root", root.to_owned())];
        self.facts.splice(0..0, facts);
    }
}

/// The next commands, with their purposes.
fn commands(hints: &[String]) -> Vec<(String, String)> {
    let hints = hints.iter();
    hints
        .map(|hint| match hint.split_once("   # ") {
            Some((command, purpose)) => (format!("Next: {purpose}"), command.to_owned()),
            None => ("Next".to_owned(), hint.clone()),
        })
        .collect()
}

/// When and by which version the page was created.
fn created() -> [(&'static str, String); 2] {
    [
        ("Created", meta_migrate::now()),
        (
            "Created by",
            format!("meta-migration {}", env!("CARGO_PKG_VERSION")),
        ),
    ]
}

/// Capitalizes a message for the start of a sentence.
fn capitalized(message: &str) -> String {
    let mut characters = message.chars();
    let first = characters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(characters).collect()
}

/// Adds the number of findings to the verdict.
fn with_counts(text: &str, findings: &[Finding]) -> String {
    match findings {
        [] => text.to_owned(),
        _ => format!("{text} Findings: {}.", SeverityCounts::of(findings).text()),
    }
}

/// Returns the parts that all pages have.
fn page(context: &CommandContext, plan: Option<&PlanReport>, findings: Vec<Finding>) -> Page {
    let config = &context.config;
    let release = |release: Option<&milvus_meta::release::Release>| {
        release.map_or_else(String::new, ToString::to_string)
    };
    let (source, target) = (
        release(config.source_version.as_ref()),
        release(config.target_version.as_ref()),
    );
    let title = match (source.as_str(), target.as_str()) {
        ("", "") => "Milvus metadata to the 2.2 layout".to_owned(),
        ("", target) => format!("Milvus metadata to {target}"),
        (source, "") => format!("Milvus metadata from {source} to the 2.2 layout"),
        (source, target) => format!("Milvus metadata from {source} to {target}"),
    };
    let digest = plan.map_or_else(String::new, |plan| plan.digest.clone());
    let layout = plan.map_or("", |plan| super::output::plan::layout(plan.layout));
    let revision = plan
        .map(|plan| plan.revision)
        .filter(|revision| *revision > 0);
    let mut page = Page {
        title,
        instance: context.target(),
        found: plan.map_or_else(String::new, |plan| found(&plan.objects)),
        objects: plan.map_or_else(Vec::new, object_rows),
        plan: plan.cloned(),
        findings,
        facts: vec![
            ("Endpoints", config.connection.endpoints.join(", ")),
            ("Meta root", config.root.meta_root().to_owned()),
            ("Layout found", layout.to_owned()),
            ("Source release", source),
            ("Target release", target),
            ("Plan digest", digest),
            (
                "Read at revision",
                revision.map_or_else(String::new, |revision| revision.to_string()),
            ),
        ],
        ..Page::default()
    };
    page.facts.extend(created());
    page
}

/// Returns the checks with their results. Without `blocking`, etcd is checked later.
fn checks(
    plan: Option<&PlanReport>,
    blocking: Option<&[Finding]>,
    at: Step,
    done: Option<&MigrateReport>,
) -> Vec<(Check, String)> {
    let ready = "No Milvus component runs, the lock is free, and etcd has the space, limits and permissions";
    let start = match blocking {
        None => (Check::Open, ready.to_owned()),
        Some([]) => (Check::Passed, ready.to_owned()),
        Some(blocking) => {
            let codes: Vec<&str> = blocking.iter().map(|one| one.code.as_str()).collect();
            (Check::Failed, format!("Blocking now: {}", codes.join(", ")))
        }
    };
    let check = |step, text: &str| match at > step {
        true => (Check::Passed, text.to_owned()),
        false => (Check::Open, text.to_owned()),
    };
    let backup = match done {
        Some(done) if done.backup.is_none() => (
            Check::Failed,
            "No backup was written, on request".to_owned(),
        ),
        Some(_) | None => check(
            Step::Backup,
            "Backup written to a file, read back and compared",
        ),
    };
    let staged = "Staged keys read back and compared with the plan";
    let committed = "Nothing written by another program before the commit";
    let result = "Result read back and compared with the plan";
    let later = [
        start,
        backup,
        check(Step::Stage, staged),
        check(Step::Commit, committed),
        check(Step::Verify, result),
    ];
    plan.map(check_of_metadata)
        .into_iter()
        .chain(later)
        .collect()
}

fn check_of_metadata(plan: &PlanReport) -> (Check, String) {
    let read: u64 = plan.families.iter().map(|family| family.read).sum();
    let errors = plan.findings.iter().filter(|one| one.is_error()).count() as u64;
    if errors > 0 {
        let text = format!("{} in the metadata", counted(errors, "error"));
        return (Check::Failed, text);
    }
    let text = format!(
        "All {} keys read at one revision, every record decoded and validated",
        count(read)
    );
    (Check::Passed, text)
}
