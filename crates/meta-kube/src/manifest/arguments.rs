//! The arguments of the program in a Job.

use super::job_config::session_wait;
use crate::job_kind::JobKind;
use crate::state::UpgradeState;
use crate::{BACKUP_FOLDER, CONFIG_FOLDER};

/// The arguments of the program. The official tool's commands are given in its form.
pub(crate) fn arguments(kind: JobKind, state: &UpgradeState) -> Vec<String> {
    let config = |name: &str| format!("{CONFIG_FOLDER}/{name}.yaml");
    let command =
        |name: &str, file: &str| vec![name.to_owned(), "--config".to_owned(), config(file)];
    let mut arguments = match kind {
        JobKind::Backup | JobKind::Migrate | JobKind::Rollback => {
            vec![format!("-config={}", config(kind.name()))]
        }
        JobKind::Status | JobKind::Plan => command(kind.name(), "migrate"),
        JobKind::Verify | JobKind::VerifyAlone => command("verify", "migrate"),
        JobKind::Preview => command("rollback", "rollback"),
        JobKind::Save => command("backup", "backup"),
        JobKind::List => ["backup", "list", BACKUP_FOLDER]
            .map(str::to_owned)
            .to_vec(),
    };
    match kind {
        // While Milvus still runs: a volume that takes no backup is found now, not after the stop.
        JobKind::Status if state.stage.row().proves && !state.claim.is_empty() => {
            arguments.extend(["--backup-folder", BACKUP_FOLDER].map(str::to_owned));
        }
        JobKind::Preview => {
            arguments.extend(["--dry-run", "--backup-file"].map(str::to_owned));
            arguments.push(state.backup_file.clone());
            if state.policy.accept_loss {
                arguments.push("--accept-loss".to_owned());
            }
        }
        JobKind::Save => {
            arguments.extend(["--backup-file".to_owned(), state.saved_file()]);
            arguments.extend(["--wait-sessions".to_owned(), session_wait(state)]);
        }
        // Milvus still runs, and is stopped only for a valid plan.
        JobKind::Plan => arguments.push("--ignore-sessions".to_owned()),
        JobKind::Status
        | JobKind::Backup
        | JobKind::Migrate
        | JobKind::Verify
        | JobKind::VerifyAlone
        | JobKind::Rollback
        | JobKind::List => {}
    }
    if kind == JobKind::Status {
        // The orchestrator checks the report.
        arguments.push("--report-only".to_owned());
    }
    if kind == JobKind::Verify && state.has_backup {
        arguments.extend(["--backup".to_owned(), state.backup_file.clone()]);
    }
    arguments.extend(["--format", "json", "--no-progress"].map(str::to_owned));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Stage;
    use crate::state::tests::example;

    #[test]
    fn the_volume_is_tried_only_before_the_stop() {
        let mut state = example();
        let tries = |state: &UpgradeState, kind: JobKind| {
            let arguments = super::arguments(kind, state);
            arguments.iter().any(|word| word == "--backup-folder")
        };
        state.stage = Stage::PROBE;
        assert!(tries(&state, JobKind::Status));
        assert!(!tries(&state, JobKind::Plan));
        state.stage = Stage::DRAIN;
        assert!(!tries(&state, JobKind::Status), "no time is lost later");
        state.stage = Stage::PROBE;
        state.claim = String::new();
        assert!(!tries(&state, JobKind::Status), "preflight has no volume");
    }
}
