//! The Lease that keeps a second orchestrator out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

use super::cluster::{Cluster, ClusterError};
use super::{lease_name, manifest};

/// After so many seconds without renewal the holder counts as dead.
const DURATION_S: i32 = 15;
/// How often it is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(4);
/// How often somebody else's is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why the Lease could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// It is alive in other hands.
    #[error("another orchestrator is at work on this instance: {holder}")]
    Held {
        /// Who holds it.
        holder: String,
    },
    /// The server.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// Holds the Lease and renews it, until dropped.
pub struct Held {
    lost: Arc<AtomicBool>,
    renewing: tokio::task::JoinHandle<()>,
    cluster: Cluster,
    name: String,
    identity: String,
}

impl Held {
    /// Takes the Lease. A holder that shows no sign of life for 15 s is succeeded; whether it
    /// does is watched here, as its clock may not be ours.
    ///
    /// # Errors
    /// [`LeaseError::Held`] when the holder lives.
    pub async fn acquire(
        cluster: &Cluster,
        instance: &str,
        identity: &str,
    ) -> Result<Self, LeaseError> {
        let name = lease_name(instance);
        let mut seen: Option<(Option<MicroTime>, tokio::time::Instant)> = None;
        loop {
            let found: Option<Lease> = cluster.get(&name).await?;
            let holder = found.as_ref().and_then(holder);
            let renewed = found
                .as_ref()
                .and_then(|lease| lease.spec.as_ref()?.renew_time.clone());
            if let Some(holder) = holder.filter(|holder| holder != identity) {
                match &seen {
                    Some((before, since)) if *before == renewed => {
                        let limit = Duration::from_secs(u64::from(DURATION_S.unsigned_abs()));
                        if since.elapsed() < limit {
                            tokio::time::sleep(LOOK_EVERY).await;
                            continue;
                        }
                        tracing::warn!(holder, "its holder shows no sign of life: taking over");
                    }
                    Some(_) => return Err(LeaseError::Held { holder }),
                    None => {
                        tracing::info!(holder, "the lease is taken: does its holder live?");
                        seen = Some((renewed, tokio::time::Instant::now()));
                        continue;
                    }
                }
            }
            let version = found
                .as_ref()
                .and_then(|lease| lease.metadata.resource_version.clone());
            let wanted = lease(instance, Some(identity), version);
            let written = if found.is_some() {
                cluster.replace(&wanted).await
            } else {
                cluster.create(&wanted).await
            };
            match written {
                Ok(_) => return Ok(Self::begin(cluster, instance, identity)),
                Err(error) if error.is_conflict() || error.is_transient() => seen = None,
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn begin(cluster: &Cluster, instance: &str, identity: &str) -> Self {
        let lost = Arc::new(AtomicBool::new(false));
        let renewing = tokio::spawn(renew(
            cluster.clone(),
            instance.to_owned(),
            identity.to_owned(),
            Arc::clone(&lost),
        ));
        Self {
            lost,
            renewing,
            cluster: cluster.clone(),
            name: lease_name(instance),
            identity: identity.to_owned(),
        }
    }

    /// Whether somebody else may have it by now.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Gives it back, so that the next command need not wait.
    pub async fn release(self) {
        self.renewing.abort();
        let found: Result<Option<Lease>, _> = self.cluster.get(&self.name).await;
        let ours =
            matches!(&found, Ok(Some(lease)) if holder(lease).as_deref() == Some(&self.identity));
        if ours && let Err(error) = self.cluster.delete::<Lease>(&self.name).await {
            tracing::warn!(%error, "the lease could not be given back: it ends in {DURATION_S} s");
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

fn holder(lease: &Lease) -> Option<String> {
    let holder = lease.spec.as_ref()?.holder_identity.clone()?;
    (!holder.is_empty()).then_some(holder)
}

fn lease(instance: &str, holder: Option<&str>, resource_version: Option<String>) -> Lease {
    let now = MicroTime(Timestamp::now());
    Lease {
        metadata: ObjectMeta {
            name: Some(lease_name(instance)),
            labels: Some(manifest::labels(instance)),
            resource_version,
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(DURATION_S),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    }
}

/// Renews until the Lease is in other hands, or was not renewed for too long.
async fn renew(cluster: Cluster, instance: String, identity: String, lost: Arc<AtomicBool>) {
    let limit = Duration::from_secs(u64::from(DURATION_S.unsigned_abs())) - RENEW_EVERY;
    let mut renewed = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        let found: Result<Option<Lease>, _> = cluster.get(&lease_name(&instance)).await;
        let outcome = match found {
            Ok(Some(found)) if holder(&found).as_deref() == Some(&identity) => {
                let version = found.metadata.resource_version.clone();
                cluster
                    .replace(&lease(&instance, Some(&identity), version))
                    .await
                    .map(|_| ())
            }
            Ok(_) => break,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => renewed = tokio::time::Instant::now(),
            Err(error) => {
                tracing::warn!(%error, "the lease could not be renewed");
                if renewed.elapsed() > limit {
                    break;
                }
            }
        }
    }
    lost.store(true, Ordering::Release);
}
