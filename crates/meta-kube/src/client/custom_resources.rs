//! The custom resources of the Milvus Operator and of KEDA.

use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch};
use serde_json::Value;

use super::{Client, ClientError, parameters};
use crate::milvus_resource::{GROUP, VERSION};

impl Client {
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

    /// The custom resource of an instance; `None` too where no operator is installed.
    pub(crate) async fn milvus(&self, name: &str) -> Result<Option<Value>, ClientError> {
        let api = self.operators("Milvus", "milvuses");
        let action = format!("get Milvus {name}");
        match self.retry(&action, || api.get_opt(name)).await {
            Ok(found) => Ok(found.and_then(|object| serde_json::to_value(object).ok())),
            Err(error) if error.is_missing() || error.is_forbidden() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a merge patch to the custom resource of an instance.
    pub(crate) async fn patch_milvus(
        &self,
        name: &str,
        patch: &Value,
    ) -> Result<Value, ClientError> {
        let api = self.operators("Milvus", "milvuses");
        let action = format!("change Milvus {name}");
        let changed = self
            .once(
                &action,
                api.patch(name, &parameters(), &Patch::Merge(patch)),
            )
            .await?;
        Ok(serde_json::to_value(changed).unwrap_or_default())
    }

    /// The upgrades that an operator was asked for; none where there is no such kind.
    pub(crate) async fn milvus_upgrades(&self) -> Result<Vec<Value>, ClientError> {
        let api = self.operators("MilvusUpgrade", "milvusupgrades");
        self.list_dynamic(&api, "list MilvusUpgrades").await
    }

    /// KEDA's scalers; none where there is no such kind.
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
        match self.retry(action, || api.list(&parameters)).await {
            Ok(found) => Ok(found
                .items
                .into_iter()
                .filter_map(|object| serde_json::to_value(object).ok())
                .collect()),
            Err(error) if error.is_missing() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}
