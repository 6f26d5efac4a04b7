//! The API client: get, list, create, patch, delete and logs, each with a timeout.
//!
//! A missing object is `None`, and deleting one succeeds. No decisions are made here.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Config, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::TOOL;
use super::options::Access;

mod error;
mod queries;
mod request;

pub use error::ClientError;

/// A namespaced object of a known kind.
pub(crate) trait Object:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + DeserializeOwned
    + Serialize
    + Debug
{
}

impl<K> Object for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Serialize
        + Debug
{
}

/// A client for one namespace of a cluster.
#[derive(Clone)]
pub struct Client {
    inner: kube::Client,
    namespace: String,
    /// The address of the API server, and the kubeconfig that contains it.
    server: Arc<str>,
}

async fn configuration(
    access: &Access,
) -> Result<Config, Box<dyn std::error::Error + Send + Sync>> {
    let options = KubeConfigOptions {
        context: access.context.clone(),
        ..KubeConfigOptions::default()
    };
    Ok(match (&access.kubeconfig, &access.context) {
        (Some(path), _) => {
            let file = Kubeconfig::read_from(path)?;
            Config::from_custom_kubeconfig(file, &options).await?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await?,
        (None, None) => Config::infer().await?,
    })
}

impl Client {
    /// Connects to a cluster; `source` says where the configuration comes from.
    pub async fn connect(access: &Access, source: String) -> Result<Self, ClientError> {
        let config = configuration(access).await;
        let connected = config.and_then(|config| {
            let server = format!("{}, {source}", config.cluster_url);
            let server = server.replacen("/,", ",", 1);
            let given = access.namespace.clone();
            let namespace = given.unwrap_or_else(|| config.default_namespace.clone());
            Ok(Self {
                inner: kube::Client::try_from(config)?,
                namespace,
                server: server.into(),
            })
        });
        connected.map_err(|cause| ClientError::Configure {
            kubeconfig: source,
            cause,
        })
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    fn api<K: Object>(&self) -> Api<K> {
        Api::namespaced(self.inner.clone(), &self.namespace)
    }

    /// Gets an object; `None` if it does not exist, or the server does not know the kind.
    pub(crate) async fn get<K: Object>(&self, name: &str) -> Result<Option<K>, ClientError> {
        let api: Api<K> = self.api();
        let action = format!("get {} {name}", kind::<K>());
        match self.retry(&action, || api.get_opt(name)).await {
            Err(error) if error.is_missing() => Ok(None),
            found => found,
        }
    }

    /// Lists objects; none if the server does not know the kind.
    pub(crate) async fn list<K: Object>(&self, selector: &str) -> Result<Vec<K>, ClientError> {
        let api: Api<K> = self.api();
        let parameters = ListParams::default().labels(selector);
        let action = format!("list {} with {selector:?}", kind::<K>());
        match self.retry(&action, || api.list(&parameters)).await {
            Err(error) if error.is_missing() => Ok(Vec::new()),
            found => Ok(found?.items),
        }
    }

    /// Creates an object. If another program created one of the same name, that is a conflict.
    pub(crate) async fn create<K: Object>(&self, object: &K) -> Result<K, ClientError> {
        let api: Api<K> = self.api();
        let action = format!("create {} {}", kind::<K>(), object.name_any());
        self.once(&action, api.create(&posting(), object)).await
    }

    /// Creates an object from its manifest, unless one of its name exists.
    pub(crate) async fn create_unless_exists<K: Object>(
        &self,
        manifest: Value,
    ) -> Result<(), ClientError> {
        let object = serde_json::from_value(manifest).map_err(|error| ClientError::Request {
            action: format!("create {}", kind::<K>()),
            cause: Box::new(kube::Error::SerdeError(error)),
            server: Arc::clone(&self.server),
        })?;
        match self.create::<K>(&object).await {
            Err(error) if !error.is_conflict() => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Replaces an object, if it still has the resource version of `object`.
    pub(crate) async fn replace<K: Object>(&self, object: &K) -> Result<K, ClientError> {
        let api: Api<K> = self.api();
        let name = object.name_any();
        let action = format!("update {} {name}", kind::<K>());
        self.once(&action, api.replace(&name, &posting(), object))
            .await
    }

    /// Sends a strategic merge patch, or a merge patch for custom resources.
    pub(crate) async fn patch<K: Object>(
        &self,
        name: &str,
        patch: Patch<&Value>,
    ) -> Result<K, ClientError> {
        let api: Api<K> = self.api();
        let action = format!("change {} {name}", kind::<K>());
        let parameters = PatchParams::apply(TOOL);
        self.once(&action, api.patch(name, &parameters, &patch))
            .await
    }

    /// Deletes an object and its dependents; a missing one is no error.
    pub(crate) async fn delete<K: Object>(&self, name: &str) -> Result<(), ClientError> {
        let api: Api<K> = self.api();
        let action = format!("delete {} {name}", kind::<K>());
        // Otherwise the API server orphans a Job's pods.
        let how = DeleteParams::background();
        match self.retry(&action, || api.delete(name, &how)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_missing() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Returns the default instead of an error without the right to read.
pub(crate) fn if_allowed<T: Default>(found: Result<T, ClientError>) -> Result<T, ClientError> {
    match found {
        Err(error) if error.is_forbidden() => Ok(T::default()),
        found => found,
    }
}

fn posting() -> PostParams {
    PostParams {
        field_manager: Some(TOOL.to_owned()),
        ..PostParams::default()
    }
}

fn kind<K: Object>() -> String {
    K::kind(&()).into_owned()
}
