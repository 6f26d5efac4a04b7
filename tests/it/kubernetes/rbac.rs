//! `deploy/rbac.yaml` grants the needed rights, and missing ones are reported.

use std::collections::BTreeSet;

use meta_kube::preflight::rights;
use serde_json::{Value, json};

use super::{Scenario, role};
use crate::support::kubernetes::helm::Helm;

/// The rights documented as optional.
const OPTIONAL: [&str; 8] = [
    "limitranges",
    "resourcequotas",
    "namespaces",
    "milvuses",
    "milvusupgrades",
    "horizontalpodautoscalers",
    "scaledobjects",
    "events",
];

/// Group, resource and verb of each right in a Role.
fn given(role: &Value) -> BTreeSet<(String, String, String)> {
    let words = |list: &Value| -> Vec<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut all = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    all.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    all
}

fn role_of(rights: &BTreeSet<(String, String, String)>) -> Value {
    let rules = rights.iter().map(|(group, resource, verb)| {
        json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]})
    });
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "rules": rules.collect::<Vec<_>>(),
    })
}

#[test]
fn the_role_in_deploy_grants_exactly_the_needed_rights() {
    let given = given(&role());
    assert!(!given.iter().any(|right| {
        [&right.0, &right.1, &right.2]
            .iter()
            .any(|word| *word == "*")
    }));
    let mut needed = BTreeSet::new();
    for right in rights(true).into_iter().chain(rights(false)) {
        let words = [right.group, right.resource, right.verb].map(str::to_owned);
        needed.insert(words.into());
    }
    let missing: Vec<_> = needed.difference(&given).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let mut more = given.difference(&needed);
    let is_read_only =
        |right: &(String, String, String)| ["get", "list"].contains(&right.2.as_str());
    assert!(
        more.all(|right| OPTIONAL.contains(&right.1.as_str()) && is_read_only(right)),
        "{:?}",
        given.difference(&needed).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn w19_preflight_names_each_missing_right() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    let preflight = [
        "preflight",
        "-i",
        "my-release",
        "-n",
        &bed.namespace,
        "--no-job",
    ];
    bed.run(&preflight).await.expect(0);
    let complete = given(&role());
    for right in &complete {
        let (group, resource, verb) = right;
        if OPTIONAL.contains(&resource.as_str()) {
            continue;
        }
        let mut rest = complete.clone();
        rest.remove(right);
        bed.merge(
            "roles",
            "upgrader",
            &json!({"rules": role_of(&rest)["rules"]}),
        )
        .await;
        bed.wait("the right to be removed", async || {
            let may = bed.may(group, resource, verb).await;
            (!may).then_some(())
        })
        .await;
        let ended = bed.run(&preflight).await;
        assert_ne!(ended.code, 0, "{right:?}");
        let said = format!("{}\n{}", ended.stdout, ended.stderr);
        let plain = |line: &str| line.contains(&format!("{verb} {resource}"));
        let server = |line: &str| line.contains(&format!("cannot {verb} resource \"{resource}\""));
        let named = said.lines().any(|line| plain(line) || server(line));
        assert!(named, "{right:?} is not named in:\n{said}");
    }
    let stopped = bed.list("deployments").await;
    assert!(stopped.iter().all(|one| one["spec"]["replicas"] == 1));
}

#[tokio::test]
async fn w19_an_upgrade_without_a_right_stops_nothing() {
    let mut rights = given(&role());
    let right = (
        "apps".to_owned(),
        "deployments".to_owned(),
        "patch".to_owned(),
    );
    assert!(rights.remove(&right));
    let scenario = Scenario::with_role(Helm::standalone("my-release"), role_of(&rights)).await;
    let ended = scenario.upgrade(&[]).await;
    assert_ne!(ended.code, 0);
    ended.says("patch deployments");
    scenario.assert_untouched().await;
    let deployments = scenario.bed.deployments().await;
    assert_eq!(deployments["my-release-milvus-standalone"].1, 1);
}

#[tokio::test]
async fn an_upgrade_works_without_the_optional_rights() {
    let mut rights = given(&role());
    rights.retain(|right| !OPTIONAL.contains(&right.1.as_str()));
    let scenario = Scenario::with_role(Helm::standalone("my-release"), role_of(&rights)).await;
    scenario.upgrade(&[]).await.expect(0);
    scenario.assert_runs(super::NEW_IMAGE).await;
}
