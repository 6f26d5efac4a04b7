//! What `--dry-run` prints: the steps that would follow, with every object, as YAML with comments.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::job_kind::JobKind;
use crate::stage::{Next, Outcome, Patch, Stage, next};
use crate::state::{UpgradeState, Workload};
use crate::{manifest, milvus_resource};
use milvus_meta::layout::Layout;

/// The steps that follow from a record's stage if everything goes well, and their manifests; nothing is
/// touched.
pub(crate) fn manifests(state: &UpgradeState, creates_claim: bool) -> String {
    let way = if state.stage.is_rollback() {
        "rollback"
    } else {
        "upgrade"
    };
    let mut text = format!(
        "# {way} of {} {} {} {} {}\n",
        state.instance,
        if way == "upgrade" { "from" } else { "to" },
        state.source_version,
        if way == "upgrade" { "to" } else { "from" },
        state.target_version
    );
    if creates_claim {
        text.push_str(&document(
            Ok(manifest::claim(state)),
            "PersistentVolumeClaim",
            "v1",
        ));
    }
    let config = manifest::config_map(state);
    text.push_str(&document(serde_json::to_value(config), "ConfigMap", "v1"));
    let mut state = state.clone();
    let mut attempts = BTreeMap::new();
    let mut number = 0;
    while !state.stage.is_final() {
        let stage = state.stage;
        number += 1;
        text.push_str(&format!("# step {number}: {}\n", stage.name()));
        if let Some(step) = step(stage, &state) {
            let attempt = attempts.entry(step).or_insert_with(|| state.attempt(step));
            *attempt += 1;
            let job = manifest::job::job(&state, step, *attempt);
            text.push_str(&document(Ok(job), "Job", "batch/v1"));
        }
        for line in changes(&state, stage) {
            text.push_str(&format!("#   {line}\n"));
        }
        match following(&mut state) {
            Next::Go(following) => state.stage = following,
            Next::Halt => break,
        }
    }
    text
}

/// What follows a record's stage if everything goes well.
fn following(state: &mut UpgradeState) -> Next {
    let stage = state.stage;
    let row = stage.row();
    state.has_backup |= row.job == Some(JobKind::Backup);
    let outcome = if row.by_layout.is_some() {
        let before = state.layout_before.unwrap_or(Layout::V2_1);
        Outcome::Metadata(row.expects.unwrap_or(before))
    } else {
        Outcome::Done
    };
    next(stage, outcome, state.layout_before, state.policy)
}

/// The steps that follow from a record's stage if everything goes well, a line each.
pub(crate) fn outline(state: &UpgradeState, namespace: &str) -> String {
    let (what, from, to) = if state.stage.is_rollback() {
        ("Roll back", &state.target_version, &state.source_version)
    } else {
        ("Upgrade", &state.source_version, &state.target_version)
    };
    let mut text = format!(
        "{what} {} in namespace {namespace} from {from} to {to}:\n",
        state.instance
    );
    let mut state = state.clone();
    let mut number = 0;
    while !state.stage.is_final() {
        number += 1;
        text.push_str(&format!("  {number}. {}\n", state.stage.name()));
        match following(&mut state) {
            Next::Go(following) => state.stage = following,
            Next::Halt => break,
        }
    }
    text
}

fn document(object: Result<Value, serde_json::Error>, kind: &str, api: &str) -> String {
    let mut value = object.unwrap_or_default();
    value["apiVersion"] = Value::from(api);
    value["kind"] = Value::from(kind);
    format!(
        "---\n{}",
        serde_saphyr::to_string(&value).unwrap_or_default()
    )
}

/// The Job that a stage runs: what is not discarded is not saved.
fn step(stage: Stage, state: &UpgradeState) -> Option<JobKind> {
    let saves = |kind: &JobKind| *kind != JobKind::Save || state.policy.accept_loss;
    stage.row().job.filter(saves)
}

fn changes(state: &UpgradeState, stage: Stage) -> Vec<String> {
    let Some(patch) = stage.row().patch else {
        return Vec::new();
    };
    let start = patch == Patch::Start;
    let new = !stage.is_rollback();
    if let Some(saved) = &state.resource {
        let patch = if start {
            milvus_resource::start_patch(saved, new.then_some(state.image.as_str()), None)
        } else {
            milvus_resource::stop_patch(saved, None)
        };
        return vec![format!(
            "patch Milvus {}: {}",
            state.instance, patch["spec"]
        )];
    }
    let one = |workload: &Workload| {
        if start {
            format!(
                "Deployment {}: container {} to {}, {} replicas",
                workload.name,
                workload.container,
                if new { &state.image } else { &workload.image },
                workload.replicas
            )
        } else {
            format!(
                "Deployment {}: {} replicas to 0",
                workload.name, workload.replicas
            )
        }
    };
    state.workloads.iter().map(one).collect()
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
        let text = document(Ok(value.clone()), "Job", "batch/v1");
        let yaml = text.strip_prefix("---\n").unwrap();
        let mut read: serde_json::Value = serde_saphyr::from_str(yaml).unwrap();
        let members = read.as_object_mut().unwrap();
        assert_eq!(members.remove("kind"), Some("Job".into()));
        assert_eq!(members.remove("apiVersion"), Some("batch/v1".into()));
        assert_eq!(read, value);
        // kubectl reads YAML 1.1, in which these are booleans.
        assert!(
            !yaml.contains("- yes\n") && !yaml.contains("- off\n"),
            "{yaml}"
        );
        assert!(yaml.contains("text: |\n  one: 1\n"), "{yaml}");
    }
}
