//! `upgrade` on a real control plane whose Milvus pods run real servers.

use etcd_client::Client as EtcdClient;
use serde_json::Value;
use tokio::task::block_in_place;

use super::compare::{assert_same, upgraded};
use crate::kubernetes::role;
use crate::support::etcd::{Etcd, Settings};
use crate::support::kubernetes::Bed;
use crate::support::kubernetes::behaviour::TOOL_IMAGE;
use crate::support::kubernetes::helm::Helm;
use crate::support::milvus::{Place, SOURCE};

const RELEASE: &str = "my-release";
const TARGET: &str = "2.2.16";

/// Runs the client against the server that was started last.
fn client(bed: &Bed, arguments: &[&str]) -> String {
    let client = bed.shared.client().unwrap();
    block_in_place(|| client.run(arguments)).unwrap()
}

fn describe(bed: &Bed) -> Value {
    serde_json::from_str(&client(bed, &["describe"])).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Milvus servers: make test-milvus"]
async fn upgrade_preserves_the_answers_of_real_servers() {
    let etcd = Etcd::start(Settings::default());
    let connection = EtcdClient::connect([etcd.address()], None).await.unwrap();
    let bed = Bed::with_own_etcd(RELEASE, etcd.address(), connection).await;
    let folder = tempfile::tempdir().unwrap();
    bed.shared.behaviour().servers = Some(Place {
        folder: folder.path().to_owned(),
        etcd: etcd.address().to_owned(),
        root: bed.root.clone(),
    });
    bed.grant(role()).await;
    let mut helm = Helm::standalone(RELEASE);
    helm.image = format!("milvusdb/milvus:v{SOURCE}");
    helm.install(&bed).await;
    bed.wait_until_settled().await;
    client(&bed, &["fill", "articles"]);
    let before = describe(&bed);
    let arguments = [
        "upgrade",
        "-i",
        RELEASE,
        "-n",
        &bed.namespace,
        "-s",
        SOURCE,
        "-t",
        TARGET,
        "-r",
        &bed.root,
        "-m",
        TOOL_IMAGE,
    ];
    bed.run(&arguments).await.expect(0);
    bed.wait_until_settled().await;
    let image = format!("milvusdb/milvus:v{TARGET}");
    let deployments = bed.deployments().await;
    assert_eq!(deployments[&helm.deployment("standalone")], (image, 1));
    bed.assert_no_breach();
    assert_same(&upgraded(before), &describe(&bed), TARGET, "upgraded");
}
