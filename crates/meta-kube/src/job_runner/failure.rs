//! Why a Job failed, and whether another attempt may succeed.

use k8s_openapi::api::core::v1::Pod;

use super::output::{connection_hint, could_not_reach_etcd, errors_found, final_error};
use crate::CONTAINER;
use crate::client::ClientError;
use crate::condition::{exit_code_meaning, is_retriable, problem, terminated};
use crate::manifest::job::{NEW_IMAGE_CODE, NEW_IMAGE_CONTAINER};

pub(crate) enum JobFailure {
    Ended {
        why: String,
        /// Whether another attempt may succeed.
        again: bool,
        /// Whether the program could not reach etcd.
        unreachable: bool,
        output: String,
    },
    /// The Job takes too long and must not be interrupted.
    StillRunning(String),
    Client(ClientError),
}

impl JobFailure {
    /// The Job ended before its program did.
    pub(super) fn deleted(why: String, again: bool) -> Self {
        Self::Ended {
            why,
            again,
            unreachable: false,
            output: String::new(),
        }
    }
}

impl From<ClientError> for JobFailure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// Whether a warning about a Job says that admission rejects its pods: a quota, a limit range, a policy.
pub(super) fn is_refused(said: &str) -> bool {
    let refused = [" is forbidden: ", " denied the request"];
    said.starts_with("FailedCreate: ") && refused.iter().any(|words| said.contains(words))
}

/// Why a Job failed; `text` is the output of its pods.
pub(super) fn failed(name: &str, reason: &str, pods: &[Pod], text: &str) -> JobFailure {
    // A deleted pod is not listed; an evicted one has no exit code.
    let last = pods.iter().rev().find_map(|pod| terminated(pod, CONTAINER));
    let why = match &last {
        Some(ended) => {
            let message = final_error(text).or_else(|| errors_found(text));
            let message = message
                .map(|words| format!(": {words}"))
                .unwrap_or_default();
            let hint = connection_hint(text).unwrap_or_default();
            let (code, meaning) = (ended.exit_code, exit_code_meaning(ended.exit_code));
            // The kubelet's generic reason for an exit code that is not 0.
            let reason = ended.reason.iter().filter(|reason| *reason != "Error");
            let reason: String = reason.map(|reason| format!(", {reason}")).collect();
            format!("the Job {name} ended with exit code {code} ({meaning}{reason}){message}{hint}")
        }
        None => {
            let seen = pods
                .iter()
                .find_map(|pod| init_failure(pod).or_else(|| problem(pod)));
            let seen = seen.unwrap_or_else(|| "its pod is gone".to_owned());
            format!("the Job {name} failed ({reason}): {seen}")
        }
    };
    JobFailure::Ended {
        why,
        unreachable: last.is_some() && could_not_reach_etcd(text),
        output: text.to_owned(),
        again: is_retriable(last.map(|ended| ended.exit_code))
            && !pods.iter().any(|pod| init_failure(pod).is_some()),
    }
}

/// Why the init container failed: the image of the new release cannot run a shell.
fn init_failure(pod: &Pod) -> Option<String> {
    let mut statuses = pod
        .status
        .as_ref()?
        .init_container_statuses
        .iter()
        .flatten();
    let image_test = statuses.find(|status| status.name == NEW_IMAGE_CONTAINER)?;
    let ended = image_test.state.as_ref()?.terminated.as_ref()?;
    (ended.exit_code != 0).then(|| {
        format!(
            "image {} does not run a shell here (exit code {}, {}: {}); skip this check with --accept {NEW_IMAGE_CODE}",
            image_test.image,
            ended.exit_code,
            ended.reason.as_deref().unwrap_or("no reason"),
            ended.message.as_deref().unwrap_or("no message"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_an_exit_code_is_named_once() {
        let why = |code: i32, reason: &str| {
            let ended = serde_json::json!({"exitCode": code, "reason": reason});
            let status = serde_json::json!({"name": CONTAINER, "state": {"terminated": ended},
                "image": "", "imageID": "", "ready": false, "restartCount": 0});
            let pod = serde_json::json!({"status": {"containerStatuses": [status]}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            match failed("j", "BackoffLimitExceeded", &[pod], "error: no") {
                JobFailure::Ended { why, .. } => why,
                JobFailure::StillRunning(_) | JobFailure::Client(_) => String::new(),
            }
        };
        assert_eq!(
            why(3, "Error"),
            "the Job j ended with exit code 3 (refused; nothing was changed): no"
        );
        let killed = why(137, "OOMKilled");
        assert!(killed.contains("was lost, OOMKilled)"), "{killed}");
    }

    /// Messages of a real job controller.
    #[test]
    fn admission_refusals_differ_from_temporary_failures() {
        for refusal in [
            "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4",
            "pods \"x\" is forbidden: failed quota: q: must specify limits.memory",
            "pods \"x\" is forbidden: maximum memory usage per Container is 64Mi, but request is 256Mi",
            "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
            "admission webhook \"validate.kyverno.svc-fail\" denied the request: labels are required",
        ] {
            assert!(
                is_refused(&format!("FailedCreate: Error creating: {refusal}")),
                "{refusal}"
            );
        }
        for passing in [
            "FailedCreate: Error creating: Internal error occurred: failed calling webhook \"x\": connection refused",
            "FailedCreate: Error creating: Post \"https://127.0.0.1\": i/o timeout",
            "BackoffLimitExceeded: Job has reached the specified backoff limit",
        ] {
            assert!(!is_refused(passing), "{passing}");
        }
    }
}
