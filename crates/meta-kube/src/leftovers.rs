//! Objects that earlier upgrades left in the namespace, found by their labels.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use super::condition::{JobState, job_state};
use super::job_kind::JobKind;
use super::options::UpgradeOptions;
use super::preflight::{Facts, running};
use super::{BACKUP_FOLDER, LABEL_OPERATION, LABEL_STEP};
use crate::object::ResourceExt;

/// The path, in a Job, of the backup that the newest finished backup Job wrote.
pub(crate) fn last_backup(jobs: &[Job]) -> Option<String> {
    let operation = last_operation(jobs)?;
    Some(format!("{BACKUP_FOLDER}/{operation}.mmb"))
}

/// The operation of the newest finished backup Job.
pub(crate) fn last_operation(jobs: &[Job]) -> Option<String> {
    let is_backup = |job: &&Job| {
        let step = job.labels().get(LABEL_STEP);
        step.is_some_and(|step| step == JobKind::Backup.name())
    };
    let is_complete = |job: &&Job| job_state(job) == JobState::Complete;
    let made = jobs.iter().filter(is_backup).filter(is_complete);
    let newest = made.max_by_key(|job| job.creation_timestamp().map(|time| time.0))?;
    newest.labels().get(LABEL_OPERATION).cloned()
}

/// The old and the new release of an upgrade, from the configuration of its Jobs.
pub(crate) fn versions(config: &ConfigMap) -> Option<(String, String)> {
    let text = config.data.as_ref()?.get("migrate.yaml")?;
    let file: Value = serde_saphyr::from_str(text).ok()?;
    let version = |name: &str| Some(file["config"][name].as_str()?.to_owned());
    version("sourceVersion").zip(version("targetVersion"))
}

/// The command that rolls back an upgrade whose saved state was deleted.
pub(crate) fn rollback_command(facts: &Facts, options: &UpgradeOptions) -> String {
    let unknown = || ("OLD-VERSION".to_owned(), "NEW-VERSION".to_owned());
    let (old, new) = facts.last_versions.clone().unwrap_or_else(unknown);
    format!(
        "meta-migration upgrade{} -s {old} -t {new} -o rollback",
        options.repeated.place
    )
}

/// Describes what earlier upgrades left if no upgrade state is saved; `None` if they left nothing.
pub(crate) fn leftovers(facts: &Facts, options: &UpgradeOptions) -> Option<String> {
    let names: Vec<String> = facts.jobs.iter().map(ResourceExt::name_any).collect();
    let claim =
        Some(&facts.storage.claim).filter(|_| facts.storage.exists && options.claim.is_none());
    let mut objects = Vec::new();
    objects.extend(claim.map(|claim| format!("volume claim {claim}")));
    if !names.is_empty() {
        objects.push(format!("Jobs {}", names.join(", ")));
    }
    if objects.is_empty() {
        return None;
    }
    let backup = last_backup(&facts.jobs).filter(|_| facts.storage.exists);
    let backup = backup
        .map(|file| format!("; the last backup is {file}"))
        .unwrap_or_default();
    let new_runs = running(facts).is_some_and(|release| release.has_2_2_layout());
    let mut next = String::new();
    if new_runs && !backup.is_empty() {
        let command = rollback_command(facts, options);
        next = format!(". To roll back with it, run {command}");
    }
    Some(format!(
        "no upgrade state of {} is saved, but an earlier upgrade left {}{backup}{next}",
        facts.instance,
        objects.join(" and ")
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::state::tests::example;

    fn job(name: &str, step: &str, operation: &str, created: &str) -> Job {
        let labels = json!({LABEL_STEP: step, LABEL_OPERATION: operation});
        let metadata = json!({"name": name, "labels": labels, "creationTimestamp": created});
        let conditions = json!([{"type": "Complete", "status": "True"}]);
        let job = json!({"metadata": metadata, "status": {"conditions": conditions}});
        serde_json::from_value(job).unwrap()
    }

    fn facts(image: &str) -> Facts {
        let mut facts = Facts {
            instance: "prod".to_owned(),
            ..Facts::default()
        };
        facts.workloads.found = example().workloads;
        for workload in &mut facts.workloads.found {
            image.clone_into(&mut workload.image);
        }
        facts
    }

    #[test]
    fn leftovers_of_an_upgrade_without_state_are_named() {
        let mut options = UpgradeOptions::default();
        " -i prod -n data".clone_into(&mut options.repeated.place);
        let mut facts = facts("milvusdb/milvus:v2.2.16");
        assert_eq!(leftovers(&facts, &options), None);
        facts.jobs = vec![
            job("b-2", "backup", "bbbbbbbb", "2026-02-01T00:00:00Z"),
            job("b-1", "backup", "aaaaaaaa", "2026-01-01T00:00:00Z"),
        ];
        let said = leftovers(&facts, &options).unwrap();
        assert!(said.ends_with("left Jobs b-2, b-1"), "{said}");
        facts.storage.claim = "meta-migration-backup-prod".to_owned();
        facts.storage.exists = true;
        assert_eq!(
            leftovers(&facts, &options).unwrap(),
            "no upgrade state of prod is saved, but an earlier upgrade left volume claim meta-migration-backup-prod \
             and Jobs b-2, b-1; the last backup is /milvus/data/bbbbbbbb.mmb. To roll back with it, run \
             meta-migration upgrade -i prod -n data -s OLD-VERSION -t NEW-VERSION -o rollback"
        );
    }

    #[test]
    fn a_rollback_command_has_the_versions_of_the_configuration() {
        let state = example();
        let config = crate::manifest::config_map(&state);
        let mut facts = facts("milvusdb/milvus:v2.2.16");
        facts.last_versions = versions(&config);
        let expected = "meta-migration upgrade -s 2.1.4 -t 2.2.16 -o rollback";
        assert_eq!(
            rollback_command(&facts, &UpgradeOptions::default()),
            expected
        );
        assert_eq!(versions(&ConfigMap::default()), None);
    }

    #[test]
    fn the_old_release_gets_no_rollback_command() {
        let mut facts = facts("milvusdb/milvus:v2.1.4");
        facts.storage.claim = "mine".to_owned();
        facts.storage.exists = true;
        let mut options = UpgradeOptions::default();
        let said = leftovers(&facts, &options).unwrap();
        assert!(said.ends_with("left volume claim mine"), "{said}");
        options.claim = Some("mine".to_owned());
        assert_eq!(leftovers(&facts, &options), None, "the user's own claim");
    }
}
