//! The Lease that keeps a second orchestrator out.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::cause::Cause;
use super::client::{Client, ClientError, if_allowed};
use super::{lease_name, manifest};
use crate::object::ResourceExt;

/// After so many seconds without renewal the holder counts as dead.
const DURATION_S: i32 = 15;
const EXPIRES_AFTER: Duration = Duration::from_secs(DURATION_S.unsigned_abs() as u64);
const RENEW_EVERY: Duration = Duration::from_secs(4);
/// How often another program's is inspected.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Tries to take a free one while others come in between, or the server does not answer.
const TRIES: u32 = 20;

/// When the Lease was last renewed; `None` once it was seen in other hands.
type Renewed = Option<Instant>;

/// Whether the Lease is ours. Not renewed for a while, another program may have it: nothing may be changed then.
fn is_ours(renewed: Renewed) -> bool {
    renewed.is_some_and(|renewed| renewed.elapsed() <= EXPIRES_AFTER - RENEW_EVERY)
}

/// Holds the Lease and renews it, until dropped.
pub(crate) struct Held {
    renewed: watch::Receiver<Renewed>,
    renewing: JoinHandle<()>,
    client: Client,
    name: String,
    identity: String,
}

impl Held {
    /// Takes the Lease. A holder that shows no sign of life for 15 s is succeeded; whether it
    /// does is watched here, as its clock may not be ours.
    pub(crate) async fn acquire(
        client: &Client,
        instance: &str,
        identity: &str,
    ) -> Result<Self, Cause> {
        let name = lease_name(instance);
        let mut seen: Option<(Option<MicroTime>, Instant)> = None;
        let mut tries = 0;
        loop {
            let found: Option<Lease> = client.get(&name).await?;
            let spec = found.as_ref().and_then(|lease| lease.spec.as_ref());
            let renewed = spec.and_then(|spec| spec.renew_time.clone());
            if let Some(holder) = found
                .as_ref()
                .and_then(holder)
                .filter(|one| one != identity)
            {
                match &seen {
                    Some((before, since)) if *before == renewed => {
                        if since.elapsed() < EXPIRES_AFTER {
                            tokio::time::sleep(POLL_INTERVAL).await;
                            continue;
                        }
                        tracing::warn!(holder, "its holder is not alive: acquiring the Lease");
                    }
                    Some(_) => return Err(Cause::Held(holder)),
                    None => {
                        tracing::info!(
                            holder,
                            "the Lease is held: checking whether its holder is alive"
                        );
                        seen = Some((renewed, Instant::now()));
                        continue;
                    }
                }
            }
            let version = found.as_ref().and_then(ResourceExt::resource_version);
            let wanted = lease(instance, identity, version);
            let written = if found.is_some() {
                client.replace(&wanted).await
            } else {
                client.create(&wanted).await
            };
            match written {
                Ok(_) => return Ok(Self::begin(client, instance, identity)),
                Err(error) if tries < TRIES && (error.is_conflict() || error.is_transient()) => {
                    tries += 1;
                    seen = None;
                    tokio::time::sleep(POLL_INTERVAL / 4).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn begin(client: &Client, instance: &str, identity: &str) -> Self {
        let (renewal, renewed) = watch::channel(Some(Instant::now()));
        let (instance, owner) = (instance.to_owned(), identity.to_owned());
        Self {
            renewed,
            name: lease_name(&instance),
            renewing: tokio::spawn(renew(client.clone(), instance, owner, renewal)),
            client: client.clone(),
            identity: identity.to_owned(),
        }
    }

    /// Whether it is ours for sure; a doubt ends when the server answers again, and may last up to `limit`.
    pub(crate) async fn is_sure(&self, limit: Duration) -> bool {
        let begun = Instant::now();
        loop {
            let renewed = *self.renewed.borrow();
            if is_ours(renewed) {
                return true;
            }
            if renewed.is_none() || begun.elapsed() >= limit {
                return false;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Gives it back, so that the next command need not wait.
    pub(crate) async fn release(self) {
        self.renewing.abort();
        let found: Result<Option<Lease>, _> = self.client.get(&self.name).await;
        let ours =
            matches!(&found, Ok(Some(lease)) if holder(lease).as_deref() == Some(&self.identity));
        if ours && let Err(error) = self.client.delete::<Lease>(&self.name).await {
            tracing::warn!(%error, "the Lease could not be released: it expires in {DURATION_S} s");
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// A process that is at work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Orchestrator {
    /// Host, process and a number.
    pub holder: String,
    /// Seconds since its last sign of life.
    pub seconds_ago: Option<i64>,
}

impl Orchestrator {
    pub(crate) fn is_alive(&self) -> bool {
        self.seconds_ago
            .is_none_or(|seconds| seconds <= DURATION_S.into())
    }
}

/// Who holds the Lease of an instance; `None` if it is free, and without the right to see it.
pub(crate) async fn orchestrator(
    client: &Client,
    instance: &str,
) -> Result<Option<Orchestrator>, ClientError> {
    let found: Option<Lease> = if_allowed(client.get(&lease_name(instance)).await)?;
    Ok(found.and_then(|lease| {
        let renewed = lease.spec.as_ref()?.renew_time.as_ref();
        let ago = |time: &MicroTime| Timestamp::now().as_second() - time.0.as_second();
        Some(Orchestrator {
            seconds_ago: renewed.map(ago),
            holder: holder(&lease)?,
        })
    }))
}

fn holder(lease: &Lease) -> Option<String> {
    let holder = lease.spec.as_ref()?.holder_identity.clone()?;
    (!holder.is_empty()).then_some(holder)
}

fn lease(instance: &str, holder: &str, resource_version: Option<String>) -> Lease {
    let now = MicroTime(Timestamp::now());
    Lease {
        metadata: ObjectMeta {
            name: Some(lease_name(instance)),
            labels: Some(manifest::labels(instance)),
            resource_version,
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(DURATION_S),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }),
    }
}

/// Renews until the Lease is in other hands. While the server cannot be asked it is in doubt: when it
/// answers again, the Lease itself says whether another one acquired it meanwhile.
async fn renew(
    client: Client,
    instance: String,
    identity: String,
    renewal: watch::Sender<Renewed>,
) {
    let lease = |version| lease(&instance, &identity, version);
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        // Another program counts from the write, which is not before this.
        let now = Instant::now();
        let found: Result<Option<Lease>, _> = client.get(&lease_name(&instance)).await;
        let written = match found {
            Ok(Some(found)) if holder(&found).as_ref() == Some(&identity) => {
                client.replace(&lease(found.resource_version())).await
            }
            // A Lease that was deleted is acquired again, unless another one may have had it meanwhile.
            Ok(None) if is_ours(*renewal.borrow()) => {
                tracing::warn!("the Lease was deleted: acquiring it again");
                client.create(&lease(None)).await
            }
            Ok(_) => break,
            Err(error) => Err(error),
        };
        match written {
            Ok(_) => drop(renewal.send(Some(now))),
            // A write by another program is found by the next get.
            Err(error) => tracing::debug!(%error, "the Lease could not be renewed"),
        }
    }
    let _ = renewal.send(None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn w22_an_unrenewed_lease_is_in_doubt() {
        let renewed = Some(Instant::now());
        assert!(is_ours(renewed));
        tokio::time::advance(Duration::from_secs(12)).await;
        assert!(
            !is_ours(renewed),
            "before anybody may take it, which is after 15 s"
        );
        assert!(is_ours(Some(Instant::now())));
        assert!(!is_ours(None));
    }
}
