//! Runs the commands of docs/kubernetes.md and of other documents on the control plane.
//!
//! The documents use the namespace `milvus`, the root path `by-dev` and the image of a registry;
//! the tests replace them. Times and generated names are not compared.

use std::sync::LazyLock;

use regex::Regex;

use super::preflight::with_secrets;
use super::stale_state::{hold, wait_for_pod};
use super::{NEW_IMAGE, Scenario};
use crate::support::documents::{Block, Step, section};
use crate::support::etcd;
use crate::support::kubernetes::behaviour::TOOL_IMAGE;
use crate::support::kubernetes::helm::{Helm, OLD_IMAGE};
use crate::support::kubernetes::{Ended, ended};

const PAGE: &str = "docs/kubernetes.md";
const IMAGE: &str = "registry.example.com/meta-migration:0.1.0";
const USER: &str = "upgrader";

/// The cluster of the examples.
fn cluster() -> Helm {
    let mut helm = Helm::cluster("my-release").with_replicas("querynode", 3);
    helm.attu = true;
    helm
}

/// Removes what differs between runs: times, durations and generated names.
fn stable(text: &str) -> String {
    static VARIABLE: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        let patterns = [
            (r"\d{4}-\d\d-\d\dT[\d:.]+Z", ""),
            (r#"[^\s"]+-\d+-[0-9a-f]{8}\b"#, "HOLDER"),
            (r"-[a-z0-9]{8,10}-[a-z0-9]{5}\b", "-POD"),
            (r"\b[0-9a-f]{8}\b", "ID"),
            (r"\b\d+ ?s\b", "SECONDS"),
            (r"\betcd 3\.\d+\.\d+", "etcd VERSION"),
        ];
        patterns
            .map(|(pattern, name)| (Regex::new(pattern).unwrap(), name))
            .into()
    });
    let variable = VARIABLE.iter();
    variable.fold(text.to_owned(), |text, (pattern, name)| {
        pattern.replace_all(&text, *name).into_owned()
    })
}

/// The words of a documented command with the names of the scenario.
fn words(scenario: &Scenario, step: &Step) -> Vec<String> {
    let command = step.command.replace(IMAGE, TOOL_IMAGE);
    let words = command.split_whitespace();
    let words = words.map(|word| match word {
        "milvus" => scenario.bed.namespace.clone(),
        word => word.to_owned(),
    });
    let mut words: Vec<String> = words.collect();
    let has = |option: &str| words.iter().any(|word| word == option);
    if has("-t") && !has("-m") {
        words.extend(["-m", TOOL_IMAGE].map(str::to_owned));
    }
    words
}

/// The arguments of a documented command of the program.
fn arguments(scenario: &Scenario, step: &Step) -> Vec<String> {
    words(scenario, step).split_off(1)
}

/// Fails unless a command ended as documented.
fn expect(scenario: &Scenario, step: Step, ended: &Ended) {
    let names = [
        (scenario.bed.namespace.as_str(), "milvus"),
        (&scenario.bed.root, "by-dev"),
        (etcd::shared().endpoint(), "my-release-etcd:2379"),
        (etcd::shared().address(), "my-release-etcd:2379"),
        (TOOL_IMAGE, IMAGE),
    ];
    let output = ended.stderr.clone() + &ended.stdout;
    // Only complete names: one may be the prefix of another.
    let output = names.iter().fold(output, |output, (real, documented)| {
        let real = Regex::new(&format!(r"\b{}\b", regex::escape(real))).unwrap();
        real.replace_all(&output, *documented).into_owned()
    });
    step.map(stable).expect(ended.code, &stable(&output));
}

async fn follow(scenario: &Scenario, block: &Block) {
    for step in block.steps() {
        let words = words(scenario, &step);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ended = match words.as_slice() {
            ["meta-migration", arguments @ ..] => scenario.bed.run(arguments).await,
            others => scenario.bed.run_shell(&others.join(" ")).await,
        };
        expect(scenario, step, &ended);
    }
}

#[tokio::test]
async fn a_cluster_upgrades_and_rolls_back_as_documented() {
    let scenario = Scenario::with_role(cluster(), with_secrets()).await;
    for heading in ["Before you start", "The upgrade"] {
        for block in section(PAGE, heading) {
            follow(&scenario, &block).await;
        }
    }
    scenario.assert_runs(NEW_IMAGE).await;
    follow(&scenario, &section(PAGE, "Rollback")[0]).await;
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn status_and_a_second_upgrade_print_the_documented_lines() {
    let scenario = Scenario::new(cluster()).await;
    hold(&scenario, "-migrate-");
    let child = scenario.bed.start(USER, &scenario.command(&[]));
    wait_for_pod(&scenario, "-migrate-").await;
    for block in section(PAGE, "Progress") {
        follow(&scenario, &block).await;
    }
    scenario.bed.shared.behaviour().held_tools.clear();
    ended(child.wait_with_output().await.unwrap()).expect(0);
    scenario.assert_runs(NEW_IMAGE).await;
}

/// The first command is interrupted, and the second finds no image of the new release.
#[tokio::test]
async fn an_interrupted_upgrade_prints_the_documented_lines() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let bed = &scenario.bed;
    let blocks = section(PAGE, "Interruptions");
    hold(&scenario, "-backup-");
    let step = blocks[0].steps().remove(0);
    let words = arguments(&scenario, &step);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let child = bed.start(USER, &words);
    wait_for_pod(&scenario, "-backup-").await;
    let pid = child.id().unwrap().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(sent.unwrap().success());
    let interrupted = ended(child.wait_with_output().await.unwrap());
    expect(&scenario, step, &interrupted);

    bed.shared.behaviour().held_tools.clear();
    bed.fail_pulls_of(NEW_IMAGE);
    follow(&scenario, &blocks[1]).await;
    bed.assert_no_breach();
}

#[tokio::test]
async fn a_rollback_over_later_writes_prints_the_documented_lines() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    scenario.upgrade(&[]).await.expect(0);
    let checkpoint = "datacoord-meta/checkpoint/x";
    scenario.bed.metadata.put(checkpoint, b"later").await;
    let blocks = section(PAGE, "Rollback");
    follow(&scenario, &blocks[1]).await;
    scenario.assert_runs(NEW_IMAGE).await;
    follow(&scenario, &blocks[2]).await;
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn the_readme_upgrades_and_the_runbook_rolls_back() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    for block in section("README.md", "What do you want to do?") {
        follow(&scenario, &block).await;
    }
    scenario.assert_runs(NEW_IMAGE).await;
    for block in section("docs/restore.md", "On Kubernetes") {
        follow(&scenario, &block).await;
    }
    scenario.assert_runs(OLD_IMAGE).await;
    scenario.assert_untouched().await;
}

#[tokio::test]
async fn what_an_upgrade_left_is_deleted_as_documented() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    scenario.upgrade(&[]).await.expect(0);
    for block in section(PAGE, "Cleanup") {
        follow(&scenario, &block).await;
    }
    for kind in ["jobs", "persistentvolumeclaims", "configmaps", "leases"] {
        let left = scenario.bed.list(kind).await;
        let ours = left.iter().filter(|one| {
            let name = one["metadata"]["name"].as_str().unwrap();
            name.starts_with("meta-migration-")
        });
        assert_eq!(ours.count(), 0, "{kind}: {left:?}");
    }
}

#[tokio::test]
async fn kubectl_runs_the_program_as_a_plugin() {
    let scenario = Scenario::new(Helm::standalone("my-release")).await;
    let blocks = section("docs/releases.md", "As a kubectl plugin");
    let mut steps = blocks.iter().flat_map(Block::steps);
    let mut link = steps.next().unwrap();
    let programs = scenario.bed.programs();
    link.command = link
        .command
        .replace("/usr/local/bin", programs.to_str().unwrap());
    let linked = scenario.bed.run_shell(&link.command).await;
    linked.expect(0);
    for step in steps {
        let command = words(&scenario, &step).join(" ");
        let ended = scenario.bed.run_shell(&command).await;
        expect(&scenario, step, &ended);
    }
}
