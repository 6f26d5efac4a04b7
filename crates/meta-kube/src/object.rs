//! Metadata and selectors of objects, and custom resources.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
pub(crate) use kube::ResourceExt;
pub(crate) use kube::api::Patch;
pub(crate) use kube::core::Selector;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Declares a namespaced custom resource with typed metadata; the rest is JSON.
macro_rules! custom_resource {
    ($kind:ident, $plural:literal, $group:literal, $version:literal) => {
        #[derive(Debug, Clone, Serialize, Deserialize)]
        pub(crate) struct $kind {
            pub metadata: ObjectMeta,
            #[serde(flatten)]
            pub content: Value,
        }

        impl k8s_openapi::Resource for $kind {
            const API_VERSION: &'static str = concat!($group, "/", $version);
            const GROUP: &'static str = $group;
            const KIND: &'static str = stringify!($kind);
            const VERSION: &'static str = $version;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = k8s_openapi::NamespaceResourceScope;
        }

        impl k8s_openapi::Metadata for $kind {
            type Ty = ObjectMeta;

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

custom_resource!(Milvus, "milvuses", "milvus.io", "v1beta1");
custom_resource!(MilvusUpgrade, "milvusupgrades", "milvus.io", "v1beta1");
custom_resource!(ScaledObject, "scaledobjects", "keda.sh", "v1alpha1");

/// The text at a JSON pointer; empty if missing.
pub(crate) fn text<'v>(content: &'v Value, pointer: &str) -> &'v str {
    let found = content.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default()
}
