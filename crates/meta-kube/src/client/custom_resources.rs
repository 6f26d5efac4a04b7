//! The custom resources of the Milvus Operator and of KEDA.

use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
};
use serde_json::Value;

use super::{Client, ClientError};
use crate::TOOL;
use crate::milvus_resource::{GROUP, VERSION};

impl Client {
    fn dynamic(&self, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.inner.clone(), &self.namespace, &resource)
    }

    /// The custom resource of an instance; `None` too where no operator is installed.
    pub(crate) async fn milvus(&self, name: &str) -> Result<Option<Value>, ClientError> {
        let api = self.dynamic(GROUP, VERSION, "Milvus");
        let action = format!("get Milvus {name}");
        match self.retry(&action, || api.get_opt(name)).await {
            Ok(found) => Ok(found.map(value)),
            Err(error) if error.is_missing() || error.is_forbidden() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a merge patch to the custom resource of an instance.
    pub(crate) async fn patch_milvus(&self, name: &str, patch: &Value) -> Result<(), ClientError> {
        let api = self.dynamic(GROUP, VERSION, "Milvus");
        let action = format!("change Milvus {name}");
        let (parameters, patch) = (PatchParams::apply(TOOL), Patch::Merge(patch));
        let changed = self.once(&action, api.patch(name, &parameters, &patch));
        changed.await.map(|_| ())
    }

    /// Lists custom resources; none where there is no such kind.
    pub(crate) async fn list_dynamic(
        &self,
        group: &str,
        version: &str,
        kind: &str,
    ) -> Result<Vec<Value>, ClientError> {
        let api = self.dynamic(group, version, kind);
        let parameters = ListParams::default();
        let action = format!("list {kind}s");
        match self.retry(&action, || api.list(&parameters)).await {
            Ok(found) => Ok(found.items.into_iter().map(value).collect()),
            Err(error) if error.is_missing() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn value(object: DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}
