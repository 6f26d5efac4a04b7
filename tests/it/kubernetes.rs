//! The orchestrated upgrade on a real control plane.

mod before_the_stop;
mod both_layouts;
mod deleted_state;
mod deploy;
mod documents;
mod etcd_auth_tls;
mod failures;
mod interference;
mod killed;
mod missing_objects;
mod operator_managed;
mod preflight;
mod rbac;
mod resumed;
mod rollback_to_forward;
mod rolling_update;
mod stale_state;
mod test_bed;
mod tool_image;
mod two_pods;
mod upgrade;

use meta_kube::{STATE_KEY, lease_name, state_name};
use milvus_meta::layout::Layout;
use serde_json::Value;

use crate::support::etcd;
use crate::support::kubernetes::behaviour::TOOL_IMAGE;
use crate::support::kubernetes::helm::Helm;
use crate::support::kubernetes::{Bed, Ended, deployed, documents};

const NEW_IMAGE: &str = "milvusdb/milvus:v2.2.16";
const DUMP: &str = "base/in.jsonl";

/// An installed Milvus 2.1.4 with metadata, and a user with the rights of `deploy/`.
struct Scenario {
    bed: Bed,
    helm: Helm,
    before: Vec<(String, Vec<u8>)>,
}

impl Scenario {
    async fn new(helm: Helm) -> Self {
        Self::with_role(helm, role()).await
    }

    /// With other rights than those of `deploy/`.
    async fn with_role(helm: Helm, role: Value) -> Self {
        Self::behind(helm, role, etcd::shared().address()).await
    }

    /// With an empty etcd, for tests without a migration.
    async fn without_metadata(helm: Helm) -> Self {
        let bed = Bed::new(&helm.release).await;
        bed.grant(role()).await;
        helm.install(&bed).await;
        bed.wait_until_settled().await;
        Self {
            bed,
            helm,
            before: Vec::new(),
        }
    }

    /// With an etcd that the pods reach at `address`.
    async fn behind(helm: Helm, role: Value, address: &str) -> Self {
        let bed = Bed::with_etcd(&helm.release, address).await;
        Self::on(bed, helm, role).await
    }

    async fn on(bed: Bed, helm: Helm, role: Value) -> Self {
        bed.metadata.load(DUMP).await;
        bed.grant(role).await;
        helm.install(&bed).await;
        bed.wait_until_settled().await;
        let before = bed.metadata.dump().await;
        Self { bed, helm, before }
    }

    /// The arguments of an upgrade with additional ones.
    fn command<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let mut words = vec![
            "upgrade",
            "-i",
            &self.helm.release,
            "-n",
            &self.bed.namespace,
            "-s",
            "2.1.4",
            "-t",
            "2.2.16",
            "-r",
            &self.bed.root,
            "-m",
            TOOL_IMAGE,
        ];
        words.extend_from_slice(more);
        words
    }

    async fn upgrade(&self, more: &[&str]) -> Ended {
        self.bed.run(&self.command(more)).await
    }

    /// Fails unless each component has this image and its replica count, and the metadata has the
    /// matching layout.
    async fn assert_runs(&self, image: &str) {
        self.bed.wait_until_settled().await;
        let deployments = self.bed.deployments().await;
        for component in self.helm.components() {
            let count = i64::from(self.helm.count(component));
            let found = &deployments[&self.helm.deployment(component)];
            assert_eq!(found, &(image.to_owned(), count), "{component}");
        }
        let layout = if image.contains("2.1.4") {
            Layout::V2_1
        } else {
            Layout::V2_2
        };
        assert_eq!(self.bed.metadata.layout().await, layout);
        self.bed.assert_no_breach();
    }

    /// Fails unless the metadata is unchanged.
    async fn assert_untouched(&self) {
        let now = self.bed.metadata.dump().await;
        assert!(now == self.before, "the metadata has changed");
    }

    async fn saved_state(&self) -> Option<Value> {
        let map = self
            .bed
            .get("configmaps", &state_name(&self.helm.release))
            .await?;
        serde_json::from_str(map["data"][STATE_KEY].as_str()?).ok()
    }

    async fn stage(&self) -> Option<String> {
        Some(self.saved_state().await?["stage"].as_str()?.to_owned())
    }

    /// Deletes the Lease of an orchestrator that is certainly dead.
    async fn delete_lease(&self) {
        self.bed
            .delete("leases", &lease_name(&self.helm.release))
            .await;
    }
}

/// The Role in `deploy/` for users.
pub(crate) fn role() -> Value {
    let text = std::fs::read_to_string(deployed("rbac.yaml")).unwrap();
    let mut roles = documents(&text)
        .into_iter()
        .filter(|document| document["kind"] == "Role");
    roles.next().expect("deploy/rbac.yaml has a Role")
}
