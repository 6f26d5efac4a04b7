//! Errors of requests, each in one sentence.

use std::sync::Arc;
use std::time::Duration;

pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no usable configuration of a Kubernetes cluster in {kubeconfig}")]
    Configure {
        kubeconfig: String,
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server refused the request, or could not be reached.
    #[error("failed to {action}: {}", reason(cause, server))]
    Request {
        action: String,
        cause: Box<kube::Error>,
        /// The address of the API server, and the kubeconfig that contains it.
        server: Arc<str>,
    },
    #[error("failed to {action}: no answer within {} s ({server})", REQUEST_TIMEOUT.as_secs())]
    TimedOut {
        action: String,
        /// The address of the API server, and the kubeconfig that contains it.
        server: Arc<str>,
    },
}

/// Why a request failed, in one sentence.
fn reason(error: &kube::Error, server: &str) -> String {
    if let kube::Error::Api(status) = error {
        return match status.code {
            401 => format!(
                "the API server does not accept the credentials (401): log in again, or check the kubeconfig ({server})"
            ),
            403 if is_of_quota(status) => format!(
                "{}: delete what is no longer needed, or raise the quota",
                status.message
            ),
            code if status.message.is_empty() => {
                format!("the API server answers {code} {}", status.reason)
            }
            _ => status.message.clone(),
        };
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let reported = error.to_string();
        if !text.ends_with(&reported) {
            text = format!("{text}: {reported}");
        }
        cause = error.source();
    }
    format!("{text} ({server})")
}

/// Whether a quota rejects the object; the status code is the same as for a missing right.
fn is_of_quota(status: &kube::core::Status) -> bool {
    status.message.contains(" exceeded quota: ")
}

impl ClientError {
    fn status(&self) -> Option<&kube::core::Status> {
        if let Self::Request { cause, .. } = self
            && let kube::Error::Api(status) = cause.as_ref()
        {
            return Some(status);
        }
        None
    }

    /// Whether another program changed or created the object first.
    pub(crate) fn is_conflict(&self) -> bool {
        self.status()
            .is_some_and(|status| status.is_conflict() || status.is_already_exists())
    }

    pub fn is_forbidden(&self) -> bool {
        let is_right = |status: &kube::core::Status| status.is_forbidden() && !is_of_quota(status);
        self.status().is_some_and(is_right)
    }

    /// Whether the object, or its kind, does not exist.
    pub fn is_missing(&self) -> bool {
        // A server without the kind answers with plain text: only the code is reliable.
        self.status().is_some_and(|status| status.code == 404)
    }

    /// Whether the same request may succeed in a moment.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::TimedOut { .. } => true,
            Self::Configure { .. } => false,
            Self::Request { cause, .. } => {
                let unreached = matches!(
                    cause.as_ref(),
                    kube::Error::HyperError(_) | kube::Error::Service(_)
                );
                let busy = |status: &kube::core::Status| status.code == 429 || status.code >= 500;
                unreached || self.status().is_some_and(busy)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SERVER: &str = "https://localhost:6443, kubeconfig k";

    fn refused(code: u16, reason: &str, message: &str) -> ClientError {
        let status =
            json!({"status": "Failure", "code": code, "reason": reason, "message": message});
        let status = serde_json::from_value(status).unwrap();
        ClientError::Request {
            action: "create Job j".to_owned(),
            cause: Box::new(kube::Error::Api(Box::new(status))),
            server: SERVER.into(),
        }
    }

    #[test]
    fn an_api_refusal_is_one_sentence_with_a_remedy() {
        let error = refused(401, "Unauthorized", "Unauthorized");
        assert_eq!(
            error.to_string(),
            "failed to create Job j: the API server does not accept the credentials (401): log in again, or check \
             the kubeconfig (https://localhost:6443, kubeconfig k)"
        );
        let message = "jobs.batch is forbidden: User \"u\" cannot create resource \"jobs\" in API group \"batch\"";
        let error = refused(403, "Forbidden", message);
        assert_eq!(
            error.to_string(),
            format!("failed to create Job j: {message}")
        );
        assert!(error.is_forbidden());
        let message = "jobs.batch \"j\" is forbidden: exceeded quota: q, requested: count/jobs.batch=1, used: \
                       count/jobs.batch=3, limited: count/jobs.batch=3";
        let error = refused(403, "Forbidden", message);
        assert_eq!(
            error.to_string(),
            format!(
                "failed to create Job j: {message}: delete what is no longer needed, or raise the quota"
            )
        );
        assert!(!error.is_forbidden(), "no right is missing");
    }

    #[test]
    fn a_connection_error_names_server_and_kubeconfig() {
        let cause = kube::Error::Service("connection refused".into());
        let error = ClientError::Request {
            action: "list Jobs".to_owned(),
            cause: Box::new(cause),
            server: SERVER.into(),
        };
        let text = error.to_string();
        assert!(
            text.ends_with(&format!("connection refused ({SERVER})")),
            "{text}"
        );
        assert!(error.is_transient());
    }
}
