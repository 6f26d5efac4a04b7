//! Members that respond but cannot serve requests: without a leader, or as a learner.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use meta_store::ConnectProblem as Problem;
use meta_store::etcd::{EtcdStore, Options};

use super::{put_and_get, refused};
use crate::support::etcd::{Etcd, Settings};

const TIMEOUT: Duration = Duration::from_secs(3);

fn options(endpoints: &[&str]) -> Options {
    Options {
        endpoints: endpoints.iter().map(|&one| one.to_owned()).collect(),
        connect_timeout: TIMEOUT,
        request_timeout: TIMEOUT,
        ..Options::default()
    }
}

#[tokio::test]
async fn a_member_without_a_leader_is_reported_in_time() {
    let mut members = Etcd::start_cluster(3, &Settings::default());
    members[0].kill();
    members[1].kill();
    let all: Vec<&str> = members.iter().map(Etcd::endpoint).collect();
    // The remaining member needs a while to detect the loss.
    let deadline = Instant::now() + Duration::from_secs(30);
    while EtcdStore::connect(&options(&all[2..])).await.is_ok() {
        assert!(Instant::now() < deadline, "the member still has a leader");
    }
    for endpoints in [&all[2..], &all[..]] {
        let started = Instant::now();
        let error = refused(&options(endpoints)).await;
        assert!(started.elapsed() < 2 * TIMEOUT, "{:?}", started.elapsed());
        assert!(
            error.problems.contains(&Problem::NoLeader),
            "{}",
            error.message
        );
        assert!(error.message.contains("no leader"), "{}", error.message);
    }
}

fn free_peer_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn a_learner_is_reported_and_a_voter_is_used() {
    let voter = Etcd::start(Settings::default());
    let client = etcd_client::Client::connect([voter.endpoint()], None)
        .await
        .unwrap();
    let mut cluster = client.cluster_client();
    let members = cluster.member_list().await.unwrap();
    let voting = members.members()[0].peer_urls()[0].clone();
    let learning = free_peer_url();
    let add = etcd_client::MemberAddOptions::new().with_is_learner();
    cluster
        .member_add([learning.clone()], Some(add))
        .await
        .unwrap();
    let learner = Etcd::start(Settings {
        arguments: vec![
            "--name=learner".to_owned(),
            format!("--listen-peer-urls={learning}"),
            format!("--initial-advertise-peer-urls={learning}"),
            format!("--initial-cluster=m0={voting},learner={learning}"),
            "--initial-cluster-state=existing".to_owned(),
        ],
        ..Settings::default()
    });
    let started = Instant::now();
    let error = refused(&options(&[learner.endpoint()])).await;
    assert!(started.elapsed() < 2 * TIMEOUT, "{:?}", started.elapsed());
    assert_eq!(error.problems, [Problem::Learner], "{}", error.message);
    let both = options(&[learner.endpoint(), voter.endpoint()]);
    put_and_get(&EtcdStore::connect(&both).await.unwrap(), "root").await;
}
