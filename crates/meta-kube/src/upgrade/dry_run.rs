//! The output of `--dry-run`: the steps that would follow, with every object, as YAML with comments.

use serde::Serialize;

use crate::job_kind::JobKind;
use crate::stage::{Action, Outcome, next};
use crate::state::{UpgradeState, Workload};
use crate::{manifest, milvus_resource};
use milvus_meta::layout::Layout;

/// The states of an upgrade from this one on if everything succeeds, without the end.
fn course(state: &UpgradeState) -> impl Iterator<Item = UpgradeState> {
    let all = std::iter::successors(Some(state.clone()), following);
    all.take_while(|state| !state.stage.is_final())
}

fn following(state: &UpgradeState) -> Option<UpgradeState> {
    let stage = state.stage;
    let row = stage.row();
    let before = state.layout_before;
    let outcome = if row.by_layout.is_some() {
        let found = row.expects.or(before).unwrap_or(Layout::V2_1);
        Outcome::Metadata(found)
    } else {
        Outcome::Done
    };
    Some(UpgradeState {
        stage: next(stage, outcome, before, state.policy)?,
        has_backup: state.has_backup || row.job == Some(JobKind::Backup),
        ..state.clone()
    })
}

/// The operation in one phrase.
fn title(state: &UpgradeState, namespace: &str) -> String {
    let (what, from, to) = if state.stage.is_rollback() {
        ("Roll back", &state.target_version, &state.source_version)
    } else {
        ("Upgrade", &state.source_version, &state.target_version)
    };
    let instance = &state.instance;
    format!("{what} {instance} in namespace {namespace} from {from} to {to}")
}

/// The next steps if everything succeeds, a line each.
pub(crate) fn outline(state: &UpgradeState, namespace: &str) -> String {
    let mut text = format!("{}:\n", title(state, namespace));
    for (number, state) in course(state).enumerate() {
        text.push_str(&format!("  {}. {}\n", number + 1, state.stage.name()));
    }
    text
}

/// The next steps if everything succeeds, with their manifests. Changes nothing.
pub(crate) fn manifests(state: &UpgradeState, namespace: &str, creates_claim: bool) -> String {
    let mut text = format!("# {}\n", title(state, namespace));
    if creates_claim {
        text.push_str(&document(&manifest::claim(state)));
    }
    text.push_str(&document(&manifest::config_map(state)));
    let mut attempts = state.attempts.clone();
    for (number, state) in course(state).enumerate() {
        text.push_str(&format!("# step {}: {}\n", number + 1, state.stage.name()));
        if let Some(step) = step(&state) {
            let attempt = attempts.entry(step).or_default();
            *attempt += 1;
            let job = manifest::job::job(&state, step, *attempt);
            text.push_str(&document(&job));
        }
        for line in changes(&state) {
            text.push_str(&format!("#   {line}\n"));
        }
    }
    text
}

fn document(object: &impl Serialize) -> String {
    format!(
        "---\n{}",
        serde_saphyr::to_string(object).unwrap_or_default()
    )
}

/// The Job that a stage runs. A save is needed only for what is discarded.
fn step(state: &UpgradeState) -> Option<JobKind> {
    let saves = |kind: &JobKind| *kind != JobKind::Save || state.policy.accept_loss;
    state.stage.row().job.filter(saves)
}

fn changes(state: &UpgradeState) -> Vec<String> {
    let action = state.stage.row().action;
    if !matches!(action, Action::Start | Action::Stop) {
        return Vec::new();
    }
    let starts = action == Action::Start;
    let new = !state.stage.is_rollback();
    if let Some(saved) = &state.resource {
        let patch = if starts {
            milvus_resource::start_patch(saved, new.then_some(state.image.as_str()))
        } else {
            milvus_resource::stop_patch(saved)
        };
        return vec![format!(
            "patch Milvus {}: {}",
            state.instance, patch["spec"]
        )];
    }
    let change = |workload: &Workload| {
        let (name, replicas) = (&workload.name, workload.replicas);
        if starts {
            let container = &workload.container;
            let image = state.image_of(workload, new);
            format!(
                "Deployment {name}: image of container {container} to {image}, replicas to {replicas}"
            )
        } else {
            format!("Deployment {name}: replicas from {replicas} to 0")
        }
    };
    state.workloads.iter().map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_keeps_texts_that_look_like_something_else() {
        let value = serde_json::json!({
            "count": 3,
            "empty": {},
            "list": [{"args": ["-x=1", "true"], "name": "a"}, "b"],
            "looks": ["yes", "off", "null", "2.1", "0123", "1e3", "", " x", "a: b", "# c"],
            "text": "one: 1\ntwo: 2\n",
        });
        let text = document(&value);
        let yaml = text.strip_prefix("---\n").unwrap();
        let read: serde_json::Value = serde_saphyr::from_str(yaml).unwrap();
        assert_eq!(read, value);
        // kubectl reads YAML 1.1, in which these are booleans.
        assert!(
            !yaml.contains("- yes\n") && !yaml.contains("- off\n"),
            "{yaml}"
        );
        assert!(yaml.contains("text: |\n  one: 1\n"), "{yaml}");
    }
}
