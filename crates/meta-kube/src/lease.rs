//! The Lease that prevents a second orchestrator.

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

/// A holder that does not renew for this time counts as dead.
const DURATION_S: i32 = 15;
const EXPIRES_AFTER: Duration = Duration::from_secs(DURATION_S.unsigned_abs() as u64);
const RENEW_EVERY: Duration = Duration::from_secs(4);
/// How often the Lease of another holder is checked.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Attempts at acquiring a free Lease, on conflicts and transient errors.
const TRIES: u32 = 20;

/// When the Lease was last renewed; `None` after another holder was seen.
type Renewed = Option<Instant>;

/// Whether the Lease is ours. Without a recent renewal another program may hold it, and nothing may be changed.
fn is_ours(renewed: Renewed) -> bool {
    renewed.is_some_and(|renewed| renewed.elapsed() <= EXPIRES_AFTER - RENEW_EVERY)
}

/// A Lease that is held and renewed until dropped.
pub(crate) struct HeldLease {
    renewed: watch::Receiver<Renewed>,
    renewing: JoinHandle<()>,
    client: Client,
    name: String,
    identity: String,
}

impl HeldLease {
    /// Acquires the Lease. A holder that does not renew for 15 s is replaced; the time is measured
    /// here, because its clock may differ.
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
                        tracing::warn!(
                            holder,
                            "the holder no longer renews the Lease: acquiring it"
                        );
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

    /// Whether the Lease is ours. If it was not renewed recently, waits up to `limit` for the next renewal.
    pub(crate) async fn is_held(&self, limit: Duration) -> bool {
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

    /// Releases the Lease, so that the next command need not wait.
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

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// A running orchestrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Orchestrator {
    /// Host, process and a number.
    pub holder: String,
    /// Seconds since the last renewal.
    pub seconds_ago: Option<i64>,
}

impl Orchestrator {
    pub(crate) fn is_alive(&self) -> bool {
        self.seconds_ago
            .is_none_or(|seconds| seconds <= DURATION_S.into())
    }
}

/// Returns the holder of an instance's Lease; `None` if it is free, or without the right to read it.
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

/// Renews the Lease until another holder is seen. Failed requests are retried: once the server
/// answers again, the Lease shows whether another program acquired it.
async fn renew(
    client: Client,
    instance: String,
    identity: String,
    renewal: watch::Sender<Renewed>,
) {
    let lease = |version| lease(&instance, &identity, version);
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        // Taken before the request: another program counts from the write, which is later.
        let now = Instant::now();
        let found: Result<Option<Lease>, _> = client.get(&lease_name(&instance)).await;
        let written = match found {
            Ok(Some(found)) if holder(&found).as_ref() == Some(&identity) => {
                client.replace(&lease(found.resource_version())).await
            }
            // A deleted Lease is acquired again, unless it may have expired and had another holder since.
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
            "in doubt before another holder may acquire it, after 15 s"
        );
        assert!(is_ours(Some(Instant::now())));
        assert!(!is_ours(None));
    }
}
