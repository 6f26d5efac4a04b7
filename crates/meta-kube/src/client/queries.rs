//! Queries other than objects by name or label: logs, events, rights, and cluster-wide objects.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{Api, ListParams, LogParams, PostParams};

use super::{Client, ClientError, if_allowed};
use crate::CONTAINER;
use crate::discovery::pod_selector;
use crate::preflight::Right;

/// Maximum size of a pod's log that is read.
const LOG_BYTES_MAX: i64 = 8 << 20;

impl Client {
    /// The log of a pod's program so far; empty if it is not available.
    pub(crate) async fn log(&self, pod: &str) -> String {
        let api: Api<Pod> = self.api();
        let parameters = LogParams {
            container: Some(CONTAINER.to_owned()),
            limit_bytes: Some(LOG_BYTES_MAX),
            ..LogParams::default()
        };
        // The log is lost with its node; the exit code is known without it.
        self.once("read a log", api.logs(pod, &parameters))
            .await
            .unwrap_or_default()
    }

    /// The pods of a Deployment; none if it is missing.
    pub(crate) async fn pods_of(
        &self,
        deployment: Option<&Deployment>,
    ) -> Result<Vec<Pod>, ClientError> {
        match deployment.and_then(pod_selector) {
            Some(selector) => self.list(&selector).await,
            None => Ok(Vec::new()),
        }
    }

    /// The latest warning event of an object; `None` if there is none, or without the right to list
    /// events.
    pub(crate) async fn warning(&self, kind: &str, name: &str) -> Option<String> {
        let api: Api<Event> = self.api();
        let fields = format!("involvedObject.kind={kind},involvedObject.name={name},type=Warning");
        let parameters = ListParams::default().fields(&fields);
        let found = self.once("list events", api.list(&parameters)).await.ok()?;
        let newest = found.items.into_iter().max_by_key(|event| {
            let last = event.last_timestamp.clone();
            last.or_else(|| event.creation_timestamp())
                .map(|time| time.0)
        })?;
        let reason = newest.reason.unwrap_or_default();
        Some(format!("{reason}: {}", newest.message.unwrap_or_default()))
    }

    /// The storage classes of the cluster; `None` without the right to list them.
    pub(crate) async fn storage_classes(&self) -> Result<Option<Vec<StorageClass>>, ClientError> {
        let api: Api<StorageClass> = Api::all(self.inner.clone());
        let parameters = ListParams::default();
        let found = self.retry("list storage classes", || api.list(&parameters));
        if_allowed(found.await.map(|found| Some(found.items)))
    }

    /// The annotations of the namespace; `None` without the right to get it.
    pub(crate) async fn namespace_annotations(&self) -> Option<BTreeMap<String, String>> {
        let api: Api<Namespace> = Api::all(self.inner.clone());
        let found = self
            .once("get the namespace", api.get(&self.namespace))
            .await
            .ok()?;
        Some(found.metadata.annotations.unwrap_or_default())
    }

    pub(crate) async fn can_i(&self, right: &Right) -> Result<bool, ClientError> {
        let api: Api<SelfSubjectAccessReview> = Api::all(self.inner.clone());
        let (resource, subresource) = match right.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource)),
            None => (right.resource, None),
        };
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(self.namespace.clone()),
                    group: Some(right.group.to_owned()),
                    resource: Some(resource.to_owned()),
                    subresource: subresource.map(str::to_owned),
                    verb: Some(right.verb.to_owned()),
                    name: right.name.clone(),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let post = PostParams::default();
        let answer = self
            .retry("ask for our rights", || api.create(&post, &review))
            .await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}
