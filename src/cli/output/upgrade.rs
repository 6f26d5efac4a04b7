//! Formats the reports of the Kubernetes commands as text.

use std::collections::BTreeMap;

use super::findings;
use super::style::Style;
use super::table::{Align, Table};
use super::units::{counted, duration};
use milvus_meta::finding::{Finding, Severity};

use meta_kube::preflight::{PreflightReport, Storage, UpgradePath};
use meta_kube::state::UpgradeState;
use meta_kube::upgrade::status::{Orchestrator, State, Status};
use meta_kube::upgrade::timeline::{Timeline, TimelineStage};
use meta_report::StatusReport;

/// Formats the status of an upgrade.
pub(in crate::cli) fn status(status: &Status, style: Style) -> String {
    let mut lines = Vec::new();
    let mut say = |what: &str, text: String| {
        lines.push(format!("{} {text}", style.strong(&format!("{what}:"))));
    };
    let Some(saved) = &status.saved else {
        say(
            "Upgrade",
            format!(
                "no upgrade of {} is saved{}",
                status.instance, status.other_instances
            ),
        );
        for next in &status.next {
            say("Next", next.clone());
        }
        lines.push(String::new());
        return lines.join("\n");
    };
    say(
        "Upgrade",
        format!(
            "{} from {} to {}, operation {}, started {}",
            saved.instance,
            saved.source_version,
            saved.target_version,
            saved.operation,
            saved.started_at
        ),
    );
    say("Stage", saved.stage.name().to_owned());
    if let Some(who) = &status.orchestrator {
        say("Orchestrator", holder(who));
    } else if matches!(status.state, State::Interrupted | State::Halted) {
        say("Orchestrator", "none".to_owned());
    }
    if let Some(failure) = &saved.failure {
        say("Failure", style.bad(failure));
    }
    say("State", status.meaning.clone());
    if let Some(place) = saved.backup_place() {
        say("Backup", place);
    }
    if let Some(timeline) = &status.timeline {
        lines.extend(self::timeline(timeline, style));
    }
    lines.push(String::new());
    lines.extend(deployments(status, saved, style));
    let running = status.jobs.iter().filter(|job| job.state == "running");
    lines.extend(running.map(|job| format!("Job {} is running", job.name)));
    lines.push(String::new());
    if !status.findings.is_empty() {
        lines.extend(findings::lines(&status.findings, style));
    }
    if let Some(notice) = &status.notice {
        lines.push(format!("{} {notice}", style.strong("Important:")));
    }
    let next = match status.state == State::Upgraded {
        true => "To roll back:",
        false => "Next:",
    };
    let commands = status.next.iter();
    lines.extend(commands.map(|command| format!("{} {command}", style.strong(next))));
    lines.push(String::new());
    lines.join("\n")
}

/// Formats the stages with their times, and the downtime.
fn timeline(timeline: &Timeline, style: Style) -> Vec<String> {
    if timeline.stages.is_empty() {
        return Vec::new();
    }
    let mut table = Table::new(&[
        ("STARTED", Align::Left),
        ("DURATION", Align::Right),
        ("STAGE", Align::Left),
    ]);
    for stage in &timeline.stages {
        let took = stage.seconds.map(duration).unwrap_or_default();
        table.row(vec![stage.began_at.clone(), took, stage.stage.to_owned()]);
    }
    let so_far = if timeline.is_down { " so far" } else { "" };
    let downtime = duration(timeline.downtime_seconds);
    let mut lines = vec![format!("{} {downtime}{so_far}", style.strong("Downtime:"))];
    lines.push(String::new());
    lines.extend(table.painted(style));
    lines
}

/// Formats a stage of the timeline as a line.
pub(in crate::cli) fn began(stage: &TimelineStage) -> String {
    format!("{} {}\n", stage.began_at, stage.stage)
}

fn holder(who: &Orchestrator) -> String {
    match who.seconds_ago {
        Some(seconds) => format!("{}, last seen {seconds} s ago", who.holder),
        None => who.holder.clone(),
    }
}

fn deployments(status: &Status, saved: &UpgradeState, style: Style) -> Vec<String> {
    let mut table = Table::new(&[
        ("DEPLOYMENT", Align::Left),
        ("BEFORE", Align::Right),
        ("NOW", Align::Right),
        ("READY", Align::Right),
        ("IMAGE NOW", Align::Left),
    ]);
    for workload in &saved.workloads {
        let live = status
            .deployments
            .iter()
            .find(|one| one.name == workload.name);
        let cell = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.row(vec![
            workload.name.clone(),
            workload.replicas.to_string(),
            cell(live.map(|live| live.replicas.to_string())),
            cell(live.map(|live| live.ready.to_string())),
            cell(live.map(|live| live.image.clone())),
        ]);
    }
    let mut lines = table.painted(style);
    for live in &status.deployments {
        if let Some(problem) = &live.problem {
            lines.push(format!("{}: {problem}", live.name));
        }
    }
    lines
}

/// Formats the report of preflight.
pub(in crate::cli) fn preflight(report: &PreflightReport, style: Style) -> String {
    let mut lines = vec![format!(
        "{} {} in namespace {}, managed by {}",
        style.strong("Instance:"),
        report.instance,
        report.namespace,
        report.managed_by
    )];
    if let Some(helm) = &report.helm {
        let revision = if helm.revision == 0 {
            "according to labels: Helm's own record cannot be read".to_owned()
        } else {
            format!("revision {}, {}", helm.revision, helm.status)
        };
        lines.push(format!(
            "{} release {}, chart {}, app version {}, {revision}",
            style.strong("Helm:"),
            helm.name,
            helm.chart,
            helm.app_version
        ));
    }
    let etcd = &report.etcd;
    lines.push(format!(
        "{} {}, root path {}, sub-paths {} and {}",
        style.strong("etcd:"),
        if etcd.endpoints.is_empty() {
            "address not known".to_owned()
        } else {
            etcd.endpoints.join(",")
        },
        etcd.root_path,
        etcd.meta_sub_path,
        etcd.kv_sub_path
    ));
    if let Some(status) = &report.metadata {
        lines.push(format!(
            "{} {}; etcd {}, {}",
            style.strong("Metadata:"),
            super::plan::layout(status.layout),
            status.etcd.version,
            counted(status.etcd.members as u64, "member")
        ));
        lines.push(sessions(status, style));
    }
    lines.extend(storage(&report.storage, style));
    lines.push(String::new());
    lines.extend(workloads(report, style));
    if !report.left_alone.is_empty() {
        lines.push(format!("not changed: {}", report.left_alone.join(", ")));
    }
    lines.push(String::new());
    let blocks_now =
        |one: &Finding| one.severity == Severity::Error && report.blocks_now.contains(&one.code);
    let (now, lasting): (Vec<Finding>, Vec<Finding>) =
        report.findings.iter().cloned().partition(blocks_now);
    if !now.is_empty() {
        lines.extend(findings::section("Blocks an upgrade now:", &now, style));
        lines.push(String::new());
    }
    lines.extend(findings::lines(&lasting, style));
    lines.push(String::new());
    lines.push(format!("{} {}", style.strong("Method:"), way(report.path)));
    lines.push(format!("{} {}", style.strong("Next:"), report.next));
    lines.push(String::new());
    lines.join("\n")
}

fn sessions(status: &StatusReport, style: Style) -> String {
    let mut roles: BTreeMap<&str, usize> = BTreeMap::new();
    for session in &status.sessions {
        *roles.entry(session.role.as_str()).or_default() += 1;
    }
    let roles = roles.into_iter().map(|(role, count)| match count {
        1 => role.to_owned(),
        count => format!("{count} {role}"),
    });
    let roles = roles.collect::<Vec<_>>().join(", ");
    let roles = if roles.is_empty() { "none" } else { &roles };
    format!("{} {roles}", style.strong("Sessions:"))
}

fn storage(storage: &Storage, style: Style) -> Option<String> {
    if storage.claim.is_empty() {
        return None;
    }
    let (heading, claim) = (style.strong("Backup:"), &storage.claim);
    if storage.exists {
        return Some(format!("{heading} existing volume claim {claim}"));
    }
    let class = match (&storage.classes, &storage.default_class) {
        (None, _) => "no right to list storage classes".to_owned(),
        (Some(_), Some(class)) => format!("default storage class {class}"),
        (Some(classes), None) => format!("no default storage class among {}", classes.len()),
    };
    Some(format!(
        "{heading} volume claim {claim} will be created; {class}"
    ))
}

fn workloads(report: &PreflightReport, style: Style) -> Vec<String> {
    let mut table = Table::new(&[
        ("COMPONENT", Align::Left),
        ("DEPLOYMENT", Align::Left),
        ("READY", Align::Right),
        ("IMAGE", Align::Left),
    ]);
    for workload in &report.workloads {
        table.row(vec![
            workload.component.clone(),
            workload.name.clone(),
            format!("{}/{}", workload.ready, workload.replicas),
            workload.image.clone(),
        ]);
    }
    table.painted(style)
}

fn way(path: UpgradePath) -> &'static str {
    match path {
        UpgradePath::MetadataMigration => "migration of the metadata, from 2.1 to 2.2",
        UpgradePath::ImageChange => "a new image, with a short interruption; no metadata migration",
        UpgradePath::RollingUpdate => "rolling update (from 2.2.3 on)",
        UpgradePath::Downgrade => "none: the target is older than the running release",
        UpgradePath::TooOld => "none: upgrade to 2.1 first",
        UpgradePath::Nothing => "none: the target release is running",
        UpgradePath::Unknown => "unknown: use --source-version",
    }
}
