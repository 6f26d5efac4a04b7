//! The door to the API server: get, list, create, patch, delete, logs, each within a time limit.
//!
//! What is not there is `None`, deleting what is not there succeeds. Nothing here decides.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams,
    PostParams, PropagationPolicy,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Config, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::milvus_resource::{GROUP, VERSION};
use super::{CONTAINER, TOOL};

/// The time limit of one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the server may be silent before that is reported.
const REPORT_AFTER: Duration = Duration::from_secs(5);
/// Tries of a request that did not reach the server.
const TRIES: u32 = 4;
/// The pause before another try.
const PAUSE: Duration = Duration::from_millis(500);
/// The most that is read of a pod's log.
const LOG_BYTES_MAX: i64 = 8 << 20;

/// What went wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No configuration for a cluster.
    #[error("failed to find out how to reach the cluster")]
    Configure(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server refused, or could not be reached.
    #[error("failed to {action}: {}", reason(cause))]
    Request {
        /// What was tried.
        action: String,
        /// Why.
        cause: Box<kube::Error>,
    },
    /// The server did not answer in time.
    #[error("failed to {action}: no answer within {} s", REQUEST_TIMEOUT.as_secs())]
    TimedOut {
        /// What was tried.
        action: String,
    },
}

/// Why a request failed, in one sentence.
fn reason(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return match status.code {
            401 => "the API server does not accept the credentials (401): log in again, or check the kubeconfig"
                .to_owned(),
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
        let told = error.to_string();
        if !text.ends_with(&told) {
            text = format!("{text}: {told}");
        }
        cause = error.source();
    }
    text
}

/// Whether a quota refuses the object, with the same code as a missing right.
fn is_of_quota(status: &kube::core::Status) -> bool {
    status.message.contains(" exceeded quota: ")
}

impl ClientError {
    fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Request { cause, .. } => {
                if let kube::Error::Api(status) = cause.as_ref() {
                    Some(status)
                } else {
                    None
                }
            }
            Self::Configure(_) | Self::TimedOut { .. } => None,
        }
    }

    /// Whether another program changed or made the object first.
    #[must_use]
    pub(crate) fn is_conflict(&self) -> bool {
        self.status()
            .is_some_and(|status| status.is_conflict() || status.is_already_exists())
    }

    /// Whether the right is missing.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        let is_right = |status: &kube::core::Status| status.is_forbidden() && !is_of_quota(status);
        self.status().is_some_and(is_right)
    }

    /// Whether the object, or its whole kind, is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        // A server without the kind answers with plain text: only the code tells.
        self.status().is_some_and(|status| status.code == 404)
    }

    /// Whether the same request may succeed in a moment.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::TimedOut { .. } => true,
            Self::Configure(_) => false,
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

/// A namespace of a cluster.
#[derive(Clone)]
pub struct Client {
    inner: kube::Client,
    namespace: String,
}

/// Which cluster, and as whom.
#[derive(Debug, Clone, Default)]
pub struct Access<'a> {
    /// The namespace to work in; otherwise that of the context, or of the pod.
    pub namespace: Option<&'a str>,
    /// A kubeconfig file; otherwise what the surroundings offer.
    pub kubeconfig: Option<&'a Path>,
    /// A context of it; otherwise the current one.
    pub context: Option<&'a str>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// [`ClientError::Configure`].
    pub async fn connect(access: Access<'_>) -> Result<Self, ClientError> {
        let failed =
            |error: Box<dyn std::error::Error + Send + Sync>| ClientError::Configure(error);
        let options = KubeConfigOptions {
            context: access.context.map(str::to_owned),
            ..KubeConfigOptions::default()
        };
        let config = match (access.kubeconfig, access.context) {
            (Some(path), _) => {
                let file = Kubeconfig::read_from(path).map_err(|error| failed(error.into()))?;
                Config::from_custom_kubeconfig(file, &options)
                    .await
                    .map_err(|error| failed(error.into()))?
            }
            (None, Some(_)) => Config::from_kubeconfig(&options)
                .await
                .map_err(|error| failed(error.into()))?,
            (None, None) => Config::infer()
                .await
                .map_err(|error| failed(error.into()))?,
        };
        let namespace = access
            .namespace
            .map_or_else(|| config.default_namespace.clone(), str::to_owned);
        let inner = kube::Client::try_from(config).map_err(|error| failed(error.into()))?;
        Ok(Self { inner, namespace })
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.inner.clone(), &self.namespace)
    }

    fn operators(&self, kind: &str, plural: &str) -> Api<DynamicObject> {
        self.dynamic(GROUP, VERSION, kind, plural)
    }

    fn dynamic(&self, group: &str, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: format!("{group}/{version}"),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        };
        Api::namespaced_with(self.inner.clone(), &self.namespace, &resource)
    }

    /// Gets an object; `None` if there is none of that name.
    ///
    /// # Errors
    /// Everything but a missing object.
    pub async fn get<K>(&self, name: &str) -> Result<Option<K>, ClientError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> = self.api();
        let action = format!("get {} {name}", kind::<K>());
        with_retry(&action, || api.get_opt(name)).await
    }

    /// Lists objects by label selector.
    ///
    /// # Errors
    /// Of the request.
    pub async fn list<K>(&self, selector: &str) -> Result<Vec<K>, ClientError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> = self.api();
        let parameters = ListParams::default().labels(selector);
        let action = format!("list {} with {selector:?}", kind::<K>());
        Ok(with_retry(&action, || api.list(&parameters)).await?.items)
    }

    /// Makes an object; another program's of the same name is a conflict.
    ///
    /// # Errors
    /// Of the request.
    pub async fn create<K>(&self, object: &K) -> Result<K, ClientError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> = self.api();
        let name = object.meta().name.clone().unwrap_or_default();
        with_timeout(
            &format!("create {} {name}", kind::<K>()),
            api.create(&posting(), object),
        )
        .await
    }

    /// Replaces an object, if it still has the resource version that `object` bears.
    ///
    /// # Errors
    /// Of the request.
    pub async fn replace<K>(&self, object: &K) -> Result<K, ClientError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> = self.api();
        let name = object.meta().name.clone().unwrap_or_default();
        with_timeout(
            &format!("update {} {name}", kind::<K>()),
            api.replace(&name, &posting(), object),
        )
        .await
    }

    /// Sends a strategic merge patch.
    ///
    /// # Errors
    /// Of the request.
    pub async fn patch<K>(&self, name: &str, patch: &Value) -> Result<K, ClientError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> = self.api();
        let action = format!("change {} {name}", kind::<K>());
        with_timeout(
            &action,
            api.patch(name, &parameters(), &Patch::Strategic(patch)),
        )
        .await
    }

    /// Deletes an object with what belongs to it; one that is not there is fine.
    ///
    /// # Errors
    /// Of the request.
    pub async fn delete<K>(&self, name: &str) -> Result<(), ClientError>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        let api: Api<K> = self.api();
        let action = format!("delete {} {name}", kind::<K>());
        let how = DeleteParams {
            // Without it the API orphans a Job's pods.
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        match with_retry(&action, || api.delete(name, &how)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_missing() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Everything that a pod's program has written so far; empty where the log cannot be had.
    pub async fn log(&self, pod: &str) -> String {
        let api: Api<Pod> = self.api();
        let parameters = LogParams {
            container: Some(CONTAINER.to_owned()),
            limit_bytes: Some(LOG_BYTES_MAX),
            ..LogParams::default()
        };
        // A node that is gone has no logs; the exit code is known without.
        with_timeout("read a log", api.logs(pod, &parameters))
            .await
            .unwrap_or_default()
    }

    /// What the cluster last warned of about an object, in words; `None` where it did not, or where events
    /// may not be seen.
    pub async fn warning(&self, kind: &str, name: &str) -> Option<String> {
        let api: Api<Event> = self.api();
        let fields = format!("involvedObject.kind={kind},involvedObject.name={name},type=Warning");
        let parameters = ListParams::default().fields(&fields);
        let found = with_timeout("list events", api.list(&parameters))
            .await
            .ok()?;
        let newest = found.items.into_iter().max_by_key(|event| {
            let last = event.last_timestamp.clone();
            last.or_else(|| event.metadata.creation_timestamp.clone())
                .map(|time| time.0)
        })?;
        let reason = newest.reason.unwrap_or_default();
        Some(format!("{reason}: {}", newest.message.unwrap_or_default()))
    }

    /// The storage classes of the cluster; `None` without the right to see them.
    ///
    /// # Errors
    /// Of the request.
    pub(crate) async fn storage_classes(&self) -> Result<Option<Vec<StorageClass>>, ClientError> {
        let api: Api<StorageClass> = Api::all(self.inner.clone());
        let parameters = ListParams::default();
        match with_retry("list storage classes", || api.list(&parameters)).await {
            Ok(found) => Ok(Some(found.items)),
            Err(error) if error.is_forbidden() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The annotations of the namespace; `None` without the right to get it.
    pub(crate) async fn namespace_annotations(&self) -> Option<BTreeMap<String, String>> {
        let api: Api<Namespace> = Api::all(self.inner.clone());
        let found = with_timeout("get the namespace", api.get(&self.namespace))
            .await
            .ok()?;
        Some(found.metadata.annotations.unwrap_or_default())
    }

    /// The custom resource of an instance; `None` too where no operator is installed.
    ///
    /// # Errors
    /// Of the request, but for a missing right: without an operator nobody needs it.
    pub async fn milvus(&self, name: &str) -> Result<Option<Value>, ClientError> {
        let api = self.operators("Milvus", "milvuses");
        let action = format!("get Milvus {name}");
        match with_retry(&action, || api.get_opt(name)).await {
            Ok(found) => Ok(found.and_then(|object| serde_json::to_value(object).ok())),
            Err(error) if error.is_missing() || error.is_forbidden() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a merge patch to the custom resource of an instance.
    ///
    /// # Errors
    /// Of the request.
    pub(crate) async fn patch_milvus(
        &self,
        name: &str,
        patch: &Value,
    ) -> Result<Value, ClientError> {
        let api = self.operators("Milvus", "milvuses");
        let action = format!("change Milvus {name}");
        let changed = with_timeout(
            &action,
            api.patch(name, &parameters(), &Patch::Merge(patch)),
        )
        .await?;
        Ok(serde_json::to_value(changed).unwrap_or_default())
    }

    /// The upgrades that an operator was asked for; none where there is no such kind.
    ///
    /// # Errors
    /// Of the request.
    pub(crate) async fn milvus_upgrades(&self) -> Result<Vec<Value>, ClientError> {
        let api = self.operators("MilvusUpgrade", "milvusupgrades");
        self.list_dynamic(&api, "list MilvusUpgrades").await
    }

    /// KEDA's scalers; none where there is no such kind.
    ///
    /// # Errors
    /// Of the request.
    pub(crate) async fn scaled_objects(&self) -> Result<Vec<Value>, ClientError> {
        let api = self.dynamic("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects");
        self.list_dynamic(&api, "list ScaledObjects").await
    }

    async fn list_dynamic(
        &self,
        api: &Api<DynamicObject>,
        action: &str,
    ) -> Result<Vec<Value>, ClientError> {
        let parameters = ListParams::default();
        match with_retry(action, || api.list(&parameters)).await {
            Ok(found) => Ok(found
                .items
                .into_iter()
                .filter_map(|object| serde_json::to_value(object).ok())
                .collect()),
            Err(error) if error.is_missing() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Whether we may do something.
    ///
    /// # Errors
    /// Of the request.
    pub async fn can_i(&self, right: &super::preflight::Right) -> Result<bool, ClientError> {
        let api: Api<SelfSubjectAccessReview> = Api::all(self.inner.clone());
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(self.namespace.clone()),
                    group: Some(right.group.to_owned()),
                    resource: Some(right.resource.to_owned()),
                    subresource: right.subresource.map(str::to_owned),
                    verb: Some(right.verb.to_owned()),
                    name: right.name.clone(),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let post = PostParams::default();
        let answer = with_retry("ask for our rights", || api.create(&post, &review)).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}

fn parameters() -> PatchParams {
    PatchParams {
        field_manager: Some(TOOL.to_owned()),
        ..PatchParams::default()
    }
}

fn posting() -> PostParams {
    PostParams {
        field_manager: Some(TOOL.to_owned()),
        ..PostParams::default()
    }
}

fn kind<K: Resource>() -> String
where
    K::DynamicType: Default,
{
    K::kind(&K::DynamicType::default()).into_owned()
}

async fn with_timeout<T>(
    action: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, ClientError> {
    let slow = async {
        tokio::time::sleep(REPORT_AFTER).await;
        tracing::warn!(
            action,
            "the API server does not answer for {} s",
            REPORT_AFTER.as_secs()
        );
        std::future::pending().await
    };
    let answer = async {
        tokio::select! {
            answer = request => answer,
            never = slow => never,
        }
    };
    match tokio::time::timeout(REQUEST_TIMEOUT, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(cause)) => Err(ClientError::Request {
            action: action.to_owned(),
            cause: Box::new(cause),
        }),
        Err(_) => Err(ClientError::TimedOut {
            action: action.to_owned(),
        }),
    }
}

/// For requests that may be sent twice.
async fn with_retry<T, F: Future<Output = Result<T, kube::Error>>>(
    action: &str,
    request: impl Fn() -> F,
) -> Result<T, ClientError> {
    let mut tried = 1;
    loop {
        match with_timeout(action, request()).await {
            Err(error) if error.is_transient() && tried < TRIES => {
                tracing::debug!(action, tried, %error, "trying again");
                tokio::time::sleep(PAUSE * tried).await;
                tried += 1;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::{Arc, Mutex};

    use serde_json::json;
    use tokio::time::{Instant, timeout};

    use super::*;

    fn refused(code: u16, reason: &str, message: &str) -> ClientError {
        let status =
            json!({"status": "Failure", "code": code, "reason": reason, "message": message});
        let status = serde_json::from_value(status).unwrap();
        ClientError::Request {
            action: "create Job j".to_owned(),
            cause: Box::new(kube::Error::Api(Box::new(status))),
        }
    }

    #[test]
    fn an_api_refusal_is_one_sentence_with_a_remedy() {
        let error = refused(401, "Unauthorized", "Unauthorized");
        assert_eq!(
            error.to_string(),
            "failed to create Job j: the API server does not accept the credentials (401): log in again, or check \
             the kubeconfig"
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

    /// A log that a test reads.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_frozen_api_server_is_reported_after_five_seconds() {
        let log = Log::default();
        let lines = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || lines.clone())
            .finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        let begun = Instant::now();
        let mut request = Box::pin(with_timeout(
            "list Jobs",
            pending::<Result<(), kube::Error>>(),
        ));
        assert!(
            timeout(Duration::from_millis(4900), &mut request)
                .await
                .is_err()
        );
        assert_eq!(log.text(), "");
        assert!(
            timeout(Duration::from_millis(200), &mut request)
                .await
                .is_err()
        );
        assert!(
            log.text().contains("does not answer for 5 s"),
            "{}",
            log.text()
        );
        let error = request.await.unwrap_err();
        assert_eq!(begun.elapsed().as_secs(), REQUEST_TIMEOUT.as_secs());
        assert_eq!(
            error.to_string(),
            "failed to list Jobs: no answer within 30 s"
        );
        assert_eq!(log.text().lines().count(), 1, "once for each request");
    }
}
