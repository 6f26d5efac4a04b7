//! What the Kubernetes commands report, for a person.

use super::palette::Palette;
use super::table::{Align, Table};
use crate::finding::Severity;
use crate::kubernetes::preflight::{PreflightReport, UpgradePath};
use crate::kubernetes::record::Record;

/// How far an upgrade is.
pub(in crate::cli) fn status(record: Option<&Record>, palette: Palette) -> String {
    let Some(record) = record else {
        return "No upgrade is recorded.\n".to_owned();
    };
    let mut lines = vec![
        format!(
            "{} {} from {} to {}",
            palette.strong("Upgrade:"),
            record.instance,
            record.source_version,
            record.target_version
        ),
        format!("{} {}", palette.strong("Stage:"), record.stage.name()),
        format!(
            "{} {}, begun {}",
            palette.strong("Operation:"),
            record.operation,
            record.started_at
        ),
    ];
    if let Some(failure) = &record.failure {
        lines.push(format!(
            "{} {}",
            palette.strong("Failure:"),
            palette.bad(failure)
        ));
    }
    if record.has_backup {
        lines.push(format!(
            "{} {} in volume claim {}",
            palette.strong("Backup:"),
            record.backup_file,
            record.claim
        ));
    }
    let mut table = Table::new(&[
        ("DEPLOYMENT", Align::Left),
        ("COUNT", Align::Right),
        ("IMAGE BEFORE", Align::Left),
    ]);
    for workload in &record.workloads {
        table.row(vec![
            workload.name.clone(),
            workload.replicas.to_string(),
            workload.image.clone(),
        ]);
    }
    lines.push(String::new());
    lines.extend(table.lines());
    lines.push(String::new());
    lines.join("\n")
}

/// What preflight found.
pub(in crate::cli) fn preflight(report: &PreflightReport, palette: Palette) -> String {
    let mut lines = vec![format!(
        "{} {} in namespace {}, managed by {}",
        palette.strong("Instance:"),
        report.instance,
        report.namespace,
        report.managed_by
    )];
    if let Some(helm) = &report.helm {
        let revision = if helm.revision == 0 {
            "its record cannot be read; this is what labels tell".to_owned()
        } else {
            format!("revision {}, {}", helm.revision, helm.status)
        };
        lines.push(format!(
            "{} chart {}, app version {}, {revision}",
            palette.strong("Helm:"),
            helm.chart,
            helm.app_version
        ));
    }
    let etcd = &report.etcd;
    lines.push(format!(
        "{} {}, root path {}, sub-paths {} and {}",
        palette.strong("etcd:"),
        etcd.endpoints.join(","),
        etcd.root_path,
        etcd.meta_sub_path,
        etcd.kv_sub_path
    ));
    if let Some(status) = &report.metadata {
        lines.push(format!(
            "{} {}, {} sessions; etcd {}",
            palette.strong("Metadata:"),
            super::plan::layout(status.layout),
            status.sessions.len(),
            status.etcd.version
        ));
    }
    lines.push(String::new());
    lines.extend(workloads(report));
    if !report.left_alone.is_empty() {
        lines.push(format!("left alone: {}", report.left_alone.join(", ")));
    }
    lines.push(String::new());
    for concern in &report.concerns {
        let severity = match concern.severity {
            Severity::Error => palette.bad("error"),
            Severity::Warning => palette.careful("warning"),
            Severity::Notice => palette.faint("notice"),
        };
        lines.push(format!(
            "{severity} [{}]: {}",
            concern.code, concern.message
        ));
    }
    lines.push(format!("{} {}", palette.strong("Way:"), way(report.path)));
    lines.push(format!("{} {}", palette.strong("Next:"), report.next));
    lines.push(String::new());
    lines.join("\n")
}

fn workloads(report: &PreflightReport) -> Vec<String> {
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
    table.lines()
}

fn way(path: UpgradePath) -> &'static str {
    match path {
        UpgradePath::MetadataMigration => "migration of the metadata, from 2.1 to 2.2",
        UpgradePath::ImageChange => "a new image, with a short interruption (below 2.2.3)",
        UpgradePath::RollingUpdate => "rolling update (from 2.2.3 on)",
        UpgradePath::Nothing => "none: it runs what is asked for",
        UpgradePath::Unknown => "not known: give --source-version",
    }
}
