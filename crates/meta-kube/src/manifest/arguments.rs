//! The arguments of the program in a Job.

use super::job_config::session_wait;
use crate::job_kind::JobKind;
use crate::state::UpgradeState;
use crate::{BACKUP_FOLDER, CONFIG_FOLDER};

/// Returns the arguments of the program. Commands of the official tool use its syntax.
pub(crate) fn arguments(kind: JobKind, state: &UpgradeState) -> Vec<String> {
    let config = |name: &str| format!("{CONFIG_FOLDER}/{name}.yaml");
    let command = |name: &str, file: &str, more: &[&str]| {
        let file = config(file);
        let words = [&[name, "--config", &file], more].concat();
        words.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut arguments = match kind {
        JobKind::Backup | JobKind::Migrate | JobKind::Rollback => {
            vec![format!("-config={}", config(kind.name()))]
        }
        // Milvus still runs: an unwritable volume is detected now, not after the stop.
        JobKind::Status if state.stage.row().is_probe && !state.claim.is_empty() => {
            let folder = ["--backup-folder", BACKUP_FOLDER, "--report-only"];
            command("status", "migrate", &folder)
        }
        // The orchestrator checks the report.
        JobKind::Status => command("status", "migrate", &["--report-only"]),
        // Milvus still runs, and is stopped only if the plan is valid.
        JobKind::Plan => command("plan", "migrate", &["--ignore-sessions"]),
        JobKind::Verify if state.has_backup => {
            command("verify", "migrate", &["--backup", &state.backup_file])
        }
        JobKind::Verify | JobKind::VerifyAlone => command("verify", "migrate", &[]),
        JobKind::Preview => {
            let loss = state.policy.accept_loss.then_some("--accept-loss");
            let preview = ["--dry-run", "--backup-file", &state.backup_file];
            let more: Vec<&str> = preview.into_iter().chain(loss).collect();
            command("rollback", "rollback", &more)
        }
        JobKind::Save => {
            let (file, wait) = (state.saved_file(), session_wait(state));
            let more = ["--backup-file", &file, "--wait-sessions", &wait];
            command("backup", "backup", &more)
        }
        JobKind::List => ["backup", "list", BACKUP_FOLDER]
            .map(str::to_owned)
            .to_vec(),
    };
    arguments.extend(["--format", "json", "--no-progress"].map(str::to_owned));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Stage;
    use crate::state::tests::example;

    #[test]
    fn the_volume_is_tested_only_before_the_stop() {
        let mut state = example();
        let tries = |state: &UpgradeState, kind: JobKind| {
            let arguments = super::arguments(kind, state);
            arguments.iter().any(|word| word == "--backup-folder")
        };
        state.stage = Stage::PROBE;
        assert!(tries(&state, JobKind::Status));
        assert!(!tries(&state, JobKind::Plan));
        state.stage = Stage::DRAIN;
        assert!(!tries(&state, JobKind::Status), "later it would cost time");
        state.stage = Stage::PROBE;
        state.claim = String::new();
        assert!(!tries(&state, JobKind::Status), "preflight has no volume");
    }
}
