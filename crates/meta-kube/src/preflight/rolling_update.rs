//! What a rolling update requires.

use super::Facts;

/// Findings of preflight that block a rolling update too.
pub const ACCEPTABLE: [&str; 2] = ["gitops", "helm-pending"];

/// Why an instance can never be updated so; empty where it can.
pub(crate) fn blockers(facts: &Facts) -> Vec<String> {
    let mut reasons = Vec::new();
    if facts.resource.is_some() || facts.is_operators {
        reasons.push(
            "the Milvus Operator manages the instance: change its custom resource".to_owned(),
        );
    }
    if facts.configured.message_queue.as_deref() == Some("rocksmq") {
        reasons.push(
            "RocksMQ belongs to one process: it cannot be updated in a rolling way".to_owned(),
        );
    }
    reasons
}

/// What has to be configured first, so that a new coordinator can wait beside the old one.
pub(crate) fn standby_lack(facts: &Facts) -> Option<String> {
    let found = &facts.workloads.found;
    let has_coordinator = found.iter().any(|one| one.component.ends_with("coord"));
    (has_coordinator && facts.configured.active_standby != Some(true)).then(|| {
        "no standby coordinator can run: set enableActiveStandby: true for rootCoord, \
         dataCoord, indexCoord and queryCoord (chart 4.0.4 and later have values for it) with helm upgrade"
            .to_owned()
    })
}
