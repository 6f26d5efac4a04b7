//! The page of an upgrade on Kubernetes.

use super::page::{Page, Tone};
use super::{Target, capitalized, commands, created};
use crate::cli::output::failure::Failure;
use meta_kube::upgrade::Status;
use meta_kube::upgrade::status::State;

impl Target {
    /// Writes the page of an upgrade, finished or not.
    ///
    /// # Errors
    /// [`Failure`] where the file cannot be written.
    pub(in crate::cli) fn upgrade(&self, status: &Status) -> Result<(), Failure> {
        self.write(&page(status))
    }

    /// Writes the page at the end of an upgrade. That it could not be written is only a warning.
    pub(in crate::cli) fn upgraded(&self, status: &Status) {
        self.write_or_warn(&page(status));
    }
}

fn page(status: &Status) -> Page {
    let (tone, verdict) = match status.state {
        State::None => (Tone::Careful, "No upgrade is saved"),
        State::AtWork => (Tone::Careful, "Not finished"),
        State::Interrupted => (Tone::Careful, "Interrupted"),
        State::Halted => (Tone::Bad, "Halted"),
        State::Upgraded => (Tone::Good, "Upgraded"),
        State::RolledBack => (Tone::Careful, "Rolled back"),
        State::Abandoned => (Tone::Careful, "Not started"),
    };
    let mut text = format!("{}.", capitalized(&status.meaning));
    let mut title = format!("Milvus {}", status.instance);
    let mut facts = vec![
        ("Instance", status.instance.clone()),
        ("Namespace", status.namespace.clone()),
    ];
    if let Some(saved) = &status.saved {
        title.push_str(&format!(
            " from {} to {}",
            saved.source_version, saved.target_version
        ));
        if let Some(failure) = &saved.failure {
            text.push_str(&format!(" {}.", capitalized(failure)));
        }
        facts.extend([
            ("Source release", saved.source_version.clone()),
            ("Target release", saved.target_version.clone()),
            ("Image", saved.image.clone()),
            ("Operation", saved.operation.clone()),
            ("Started", saved.started_at.clone()),
            ("Backup", saved.backup_place().unwrap_or_default()),
        ]);
    }
    facts.extend(created());
    Page {
        kind: "Upgrade report".to_owned(),
        title,
        instance: format!("namespace {}", status.namespace),
        verdict: Some((tone, verdict.to_owned(), text)),
        timeline: status.timeline.clone(),
        important: status.notice.clone(),
        findings: status.all_findings(),
        commands: match status.state {
            State::Upgraded => vec![("To roll back".to_owned(), status.next.join("\n"))],
            State::None
            | State::AtWork
            | State::Interrupted
            | State::Halted
            | State::RolledBack
            | State::Abandoned => commands(&status.next),
        },
        facts,
        ..Page::default()
    }
}
