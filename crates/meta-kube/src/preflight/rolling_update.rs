//! The requirements of a rolling update.

use super::Facts;

/// Findings of preflight that block a rolling update, too.
pub const ACCEPTABLE: [&str; 2] = ["gitops", "helm-pending"];

/// Why a rolling update of an instance is impossible; empty if it is possible.
pub(crate) fn blockers(facts: &Facts) -> Vec<String> {
    let mut reasons = Vec::new();
    if facts.resource.is_some() || facts.is_operator_managed {
        reasons.push(
            "the Milvus Operator manages the instance: change its custom resource".to_owned(),
        );
    }
    if facts.configured.message_queue.as_deref() == Some("rocksmq") {
        reasons.push(
            "RocksMQ runs inside the Milvus process: a rolling update is not possible".to_owned(),
        );
    }
    reasons
}

/// What must be configured first, so that a new coordinator can run in standby next to the old one.
pub(crate) fn standby_problem(facts: &Facts) -> Option<String> {
    let found = &facts.workloads.found;
    let has_coordinator = found.iter().any(|one| one.component.ends_with("coord"));
    (has_coordinator && facts.configured.active_standby != Some(true)).then(|| {
        "no standby coordinator can run: set enableActiveStandby: true for rootCoord, \
         dataCoord, indexCoord and queryCoord (chart 4.0.4 and later have values for it) with helm upgrade"
            .to_owned()
    })
}
