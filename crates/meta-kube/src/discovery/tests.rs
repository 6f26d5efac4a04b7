//! Deployments as charts and the Milvus Operator create them.

use serde_json::{Value, json};

use super::*;

fn deployment(name: &str, labels: &Value, containers: &Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": labels},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"component": name}},
            "template": {"spec": {"containers": containers}},
        },
    }))
    .unwrap()
}

fn chart(component: &str, chart_name: &str) -> Deployment {
    let labels = json!({
        "app.kubernetes.io/name": chart_name,
        "app.kubernetes.io/instance": "prod",
        "component": component,
    });
    let containers = json!([{
        "name": component,
        "image": "milvusdb/milvus:v2.1.4",
        "args": ["milvus", "run", component],
    }]);
    deployment(&format!("prod-milvus-{component}"), &labels, &containers)
}

fn components(workloads: &Workloads) -> Vec<&str> {
    let found = workloads.found.iter();
    found.map(|one| one.component.as_str()).collect()
}

#[test]
fn w17_attu_is_ignored() {
    let mut attu = chart("attu", "milvus");
    attu.spec
        .as_mut()
        .unwrap()
        .template
        .spec
        .as_mut()
        .unwrap()
        .containers[0]
        .args = None;
    let sorted = workloads(&[chart("proxy", "milvus"), attu, chart("rootcoord", "milvus")]);
    assert_eq!(
        components(&sorted),
        ["rootcoord", "proxy"],
        "coordinators first"
    );
    assert_eq!(sorted.others, ["prod-milvus-attu"]);
    assert!(sorted.ambiguous.is_empty());
}

#[test]
fn w18_an_instance_with_a_replaced_chart_name_is_found() {
    let sorted = workloads(&[chart("querynode", "vectors")]);
    assert_eq!(components(&sorted), ["querynode"]);
}

#[test]
fn w18_deployments_of_the_milvus_operator_are_recognized() {
    let labels = json!({
        "app.kubernetes.io/name": "milvus",
        "app.kubernetes.io/component": "proxy",
        "app.kubernetes.io/managed-by": "milvus-operator",
    });
    let containers =
        json!([{"name": "proxy", "image": "m", "args": ["/run.sh", "milvus", "run", "proxy"]}]);
    let proxy = deployment("mine-milvus-proxy", &labels, &containers);
    assert!(is_operator_managed(&proxy));
    assert!(!is_operator_managed(&chart("proxy", "milvus")));
    assert_eq!(components(&workloads(&[proxy])), ["proxy"]);
}

#[test]
fn a_component_label_alone_is_not_milvus() {
    let labels = json!({"app.kubernetes.io/name": "pulsar", "component": "proxy"});
    let containers = json!([{"name": "proxy", "image": "pulsar:2"}]);
    let sorted = workloads(&[deployment("prod-pulsar-proxy", &labels, &containers)]);
    assert!(sorted.found.is_empty());
    assert_eq!(sorted.others, ["prod-pulsar-proxy"]);
}

#[test]
fn w11_the_container_is_known_before_the_stop() {
    let labels = json!({"app.kubernetes.io/name": "milvus", "component": "proxy"});
    let named = |containers: &Value| {
        workloads(&[
            chart("rootcoord", "milvus"),
            deployment("p", &labels, containers),
        ])
    };
    let sidecar = json!({"name": "istio-proxy", "image": "istio:1"});
    let renamed = json!({"name": "main", "image": "milvusdb/milvus:v2.1.4"});
    let sorted = named(&json!([sidecar, renamed]));
    let proxy = sorted
        .found
        .iter()
        .find(|one| one.component == "proxy")
        .unwrap();
    assert_eq!(
        proxy.container, "main",
        "the only one with the image of Milvus"
    );
    let twice = json!([renamed, {"name": "other", "image": "milvusdb/milvus:v2.1.4"}]);
    let sorted = named(&twice);
    assert!(sorted.ambiguous[0].contains("main, other"), "{sorted:?}");
    assert!(named(&json!([sidecar])).ambiguous[0].contains("no container"));
}

#[test]
fn an_image_names_its_version() {
    let version = |image: &str| image_version(image).map(|release| release.to_string());
    assert_eq!(version("milvusdb/milvus:v2.1.4").as_deref(), Some("2.1.4"));
    assert_eq!(
        version("registry:5000/m/milvus:2.2.0-20221118-abc@sha256:00").as_deref(),
        Some("2.2.0-20221118-abc")
    );
    assert_eq!(version("registry:5000/m/milvus"), None);
    assert_eq!(version("milvusdb/milvus:latest"), None);
}

#[test]
fn init_containers_and_sidecars_are_ignored() {
    let mut proxy = chart("proxy", "milvus");
    let pod = proxy.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
    let mut config = pod.containers[0].clone();
    config.name = "config".to_owned();
    config.image = Some("milvusdb/milvus-config-tool:v0".to_owned());
    pod.init_containers = Some(vec![config]);
    let sorted = workloads(&[proxy]);
    assert_eq!(sorted.found[0].image, "milvusdb/milvus:v2.1.4");
}

#[test]
fn pods_are_selected_by_labels_and_expressions() {
    let mut proxy = chart("proxy", "milvus");
    proxy.spec.as_mut().unwrap().selector = serde_json::from_value(json!({
        "matchLabels": {"component": "proxy"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "canary", "operator": "DoesNotExist"},
        ],
    }))
    .unwrap();
    assert_eq!(
        pod_selector(&proxy).as_deref(),
        Some("component=proxy,tier in (a,b),!canary")
    );
}

#[test]
fn an_image_has_a_repository_and_a_tag() {
    for (image, expected) in [
        (
            "milvusdb/milvus:v2.1.4",
            ("milvusdb/milvus", Some("v2.1.4")),
        ),
        ("mirror:5000/milvus", ("mirror:5000/milvus", None)),
        (
            "mirror:5000/milvus:v2.1.4",
            ("mirror:5000/milvus", Some("v2.1.4")),
        ),
        ("milvus@sha256:0a", ("milvus", None)),
        ("milvus:v2.1.4@sha256:0a", ("milvus", Some("v2.1.4"))),
    ] {
        assert_eq!(image_parts(image), expected, "{image}");
    }
}

#[test]
fn a_stopped_deployment_counts_as_annotated() {
    let mut stopped = chart("proxy", "milvus");
    stopped.spec.as_mut().unwrap().replicas = Some(0);
    let counted = |deployment: &Deployment| {
        let one = workloads(std::slice::from_ref(deployment)).found.remove(0);
        (one.replicas, one.image)
    };
    assert_eq!(counted(&stopped), (0, "milvusdb/milvus:v2.1.4".to_owned()));
    stopped.metadata.annotations = Some(
        [
            (annotations::REPLICAS, "4"),
            (annotations::IMAGE, "mirror/milvus:v2.1.4"),
        ]
        .map(|(key, text)| (key.to_owned(), text.to_owned()))
        .into(),
    );
    assert_eq!(counted(&stopped), (4, "mirror/milvus:v2.1.4".to_owned()));
    stopped.spec.as_mut().unwrap().replicas = Some(1);
    assert_eq!(
        counted(&stopped),
        (1, "milvusdb/milvus:v2.1.4".to_owned()),
        "it runs again"
    );
}

#[test]
fn coordinators_come_first_including_mixcoord() {
    let all = ["proxy", "querynode", "mixcoord", "rootcoord"];
    let sorted = workloads(&all.map(|component| chart(component, "milvus")));
    let order = ["rootcoord", "mixcoord", "querynode", "proxy"];
    assert_eq!(components(&sorted), order);
}
