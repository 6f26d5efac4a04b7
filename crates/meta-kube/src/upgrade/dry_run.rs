//! What `--dry-run` prints: the steps that would follow, with every object, as YAML with comments.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::job_kind::JobKind;
use crate::record::{Record, Workload};
use crate::stage::{Action, Next, Outcome, Stage, next};
use crate::{manifest, operator};
use milvus_meta::layout::Layout;

/// The steps that follow from a record's stage if everything goes well, and their manifests; nothing is
/// touched.
#[must_use]
pub fn manifests(record: &Record, creates_claim: bool) -> String {
    let way = if record.stage.is_way_back() {
        "rollback"
    } else {
        "upgrade"
    };
    let mut text = format!(
        "# {way} of {} {} {} {} {}\n",
        record.instance,
        if way == "upgrade" { "from" } else { "to" },
        record.source_version,
        if way == "upgrade" { "to" } else { "from" },
        record.target_version
    );
    if creates_claim {
        let class = record.storage_class.as_deref();
        let claim = manifest::claim(&record.claim, &record.instance, record.size(), class);
        text.push_str(&document(
            serde_json::to_value(claim),
            "PersistentVolumeClaim",
            "v1",
        ));
    }
    let config = manifest::config_map(record);
    text.push_str(&document(serde_json::to_value(config), "ConfigMap", "v1"));
    let mut record = record.clone();
    let mut attempts = BTreeMap::new();
    let mut number = 0;
    while !record.stage.is_final() {
        let stage = record.stage;
        number += 1;
        text.push_str(&format!("# step {number}: {}\n", stage.name()));
        if let Some(step) = step(stage, &record) {
            let attempt = attempts.entry(step).or_insert_with(|| record.attempt(step));
            *attempt += 1;
            let job = manifest::job::job(&record, step, *attempt);
            text.push_str(&document(serde_json::to_value(job), "Job", "batch/v1"));
        }
        for line in changes(&record, stage) {
            text.push_str(&format!("#   {line}\n"));
        }
        match following(&mut record) {
            Next::Go(following) => record.stage = following,
            Next::Halt => break,
        }
    }
    text
}

/// What follows a record's stage if everything goes well.
fn following(record: &mut Record) -> Next {
    let stage = record.stage;
    record.has_backup |= stage == Stage::BACKUP;
    let outcome = match stage.action {
        Action::Probe => Outcome::Metadata(record.layout_before.unwrap_or(Layout::V2_1)),
        Action::CheckLayout if !stage.is_way_back() => Outcome::Metadata(Layout::V2_2),
        Action::CheckLayout | Action::Diagnose => Outcome::Metadata(Layout::V2_1),
        Action::Plan
        | Action::CheckRollback
        | Action::Stop
        | Action::Drain
        | Action::Backup
        | Action::Convert
        | Action::Verify
        | Action::Start
        | Action::WaitReady
        | Action::Done
        | Action::Aborted => Outcome::Done,
    };
    next(stage, outcome, record.layout_before, record.policy)
}

/// The steps that follow from a record's stage if everything goes well, a line each.
#[must_use]
pub(crate) fn outline(record: &Record, namespace: &str) -> String {
    let (what, from, to) = if record.stage.is_way_back() {
        ("Roll back", &record.target_version, &record.source_version)
    } else {
        ("Upgrade", &record.source_version, &record.target_version)
    };
    let mut text = format!(
        "{what} {} in namespace {namespace} from {from} to {to}:\n",
        record.instance
    );
    let mut record = record.clone();
    let mut number = 0;
    while !record.stage.is_final() {
        number += 1;
        text.push_str(&format!("  {number}. {}\n", record.stage.name()));
        match following(&mut record) {
            Next::Go(following) => record.stage = following,
            Next::Halt => break,
        }
    }
    text
}

fn document(object: Result<Value, serde_json::Error>, kind: &str, api: &str) -> String {
    let mut value = object.unwrap_or_default();
    value["apiVersion"] = Value::from(api);
    value["kind"] = Value::from(kind);
    manifest::yaml::document(&value)
}

/// The Job that a stage runs: what nobody gave up is not saved.
fn step(stage: Stage, record: &Record) -> Option<JobKind> {
    let saves = |kind: &JobKind| *kind != JobKind::Save || record.policy.accept_loss;
    stage.row().job.filter(saves)
}

fn changes(record: &Record, stage: Stage) -> Vec<String> {
    let start = stage.action == Action::Start;
    if !start && stage.action != Action::Stop {
        return Vec::new();
    }
    let new = !stage.is_way_back();
    if let Some(saved) = &record.resource {
        let patch = if start {
            operator::start_patch(saved, new.then_some(record.image.as_str()), None)
        } else {
            operator::stop_patch(saved, None)
        };
        return vec![format!(
            "patch Milvus {}: {}",
            record.instance, patch["spec"]
        )];
    }
    let one = |workload: &Workload| {
        if start {
            format!(
                "Deployment {}: container {} to {}, {} replicas",
                workload.name,
                workload.container,
                if new { &record.image } else { &workload.image },
                workload.replicas
            )
        } else {
            format!(
                "Deployment {}: {} replicas to 0",
                workload.name, workload.replicas
            )
        }
    };
    record.workloads.iter().map(one).collect()
}
