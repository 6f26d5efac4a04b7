//! The Lease that keeps a second orchestrator out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

use super::client::{Client, ClientError};
use super::{lease_name, manifest};

/// After so many seconds without renewal the holder counts as dead.
pub(super) const DURATION_S: i32 = 15;
/// How often it is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(4);
/// How often another program's is inspected.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Tries to take a free one while others come in between, or the server does not answer.
const TRIES: u32 = 20;

/// Whether the Lease is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It is.
    Ours,
    /// It was not renewed for so long that another program may have it: nothing may be changed now.
    InDoubt,
    /// Somebody else has it.
    Lost,
}

/// Why the Lease could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// It is alive in other hands.
    #[error("another orchestrator is running for this instance: {holder}")]
    Held {
        /// Who holds it.
        holder: String,
    },
    /// The server.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// What the renewing task knows.
struct Renewal {
    begun: tokio::time::Instant,
    /// When the Lease was last renewed, after `started`.
    renewed_ms: AtomicU64,
    /// Whether it was seen in other hands.
    lost: AtomicBool,
}

impl Renewal {
    fn renewed(&self) {
        let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.renewed_ms.store(elapsed, Ordering::Release);
    }

    fn hold(&self) -> Hold {
        if self.lost.load(Ordering::Acquire) {
            return Hold::Lost;
        }
        let limit = Duration::from_secs(u64::from(DURATION_S.unsigned_abs())) - RENEW_EVERY;
        let renewed = Duration::from_millis(self.renewed_ms.load(Ordering::Acquire));
        if self.begun.elapsed().saturating_sub(renewed) > limit {
            Hold::InDoubt
        } else {
            Hold::Ours
        }
    }
}

/// Holds the Lease and renews it, until dropped.
pub struct Held {
    renewal: Arc<Renewal>,
    renewing: tokio::task::JoinHandle<()>,
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
    ) -> Result<Self, LeaseError> {
        let name = lease_name(instance);
        let mut seen: Option<(Option<MicroTime>, tokio::time::Instant)> = None;
        let mut tries = 0;
        loop {
            let found: Option<Lease> = client.get(&name).await?;
            let holder = found.as_ref().and_then(holder);
            let renewed = found
                .as_ref()
                .and_then(|lease| lease.spec.as_ref()?.renew_time.clone());
            if let Some(holder) = holder.filter(|holder| holder != identity) {
                match &seen {
                    Some((before, since)) if *before == renewed => {
                        let limit = Duration::from_secs(u64::from(DURATION_S.unsigned_abs()));
                        if since.elapsed() < limit {
                            tokio::time::sleep(POLL_INTERVAL).await;
                            continue;
                        }
                        tracing::warn!(holder, "its holder is not alive: acquiring the Lease");
                    }
                    Some(_) => return Err(LeaseError::Held { holder }),
                    None => {
                        tracing::info!(
                            holder,
                            "the Lease is held: checking whether its holder is alive"
                        );
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
        let renewal = Arc::new(Renewal {
            begun: tokio::time::Instant::now(),
            renewed_ms: AtomicU64::new(0),
            lost: AtomicBool::new(false),
        });
        let renewing = tokio::spawn(renew(
            client.clone(),
            instance.to_owned(),
            identity.to_owned(),
            Arc::clone(&renewal),
        ));
        Self {
            renewal,
            renewing,
            client: client.clone(),
            name: lease_name(instance),
            identity: identity.to_owned(),
        }
    }

    /// Whether it is ours.
    pub(crate) fn hold(&self) -> Hold {
        self.renewal.hold()
    }

    /// Whether it is ours for sure; a doubt ends when the server answers again, and may last up to `limit`.
    pub(crate) async fn is_sure(&self, limit: Duration) -> bool {
        let begun = tokio::time::Instant::now();
        loop {
            match self.hold() {
                Hold::Ours => return true,
                Hold::InDoubt if begun.elapsed() < limit => {
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
                Hold::InDoubt | Hold::Lost => return false,
            }
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

/// Who holds the Lease of an instance, and since when without a sign of life; `None` if it is free.
pub(crate) async fn holder_of(
    client: &Client,
    instance: &str,
) -> Result<Option<(String, Option<i64>)>, ClientError> {
    let found: Option<Lease> = client.get(&lease_name(instance)).await?;
    let Some(lease) = found else { return Ok(None) };
    let renewed = lease
        .spec
        .as_ref()
        .and_then(|spec| spec.renew_time.as_ref())
        .map(|MicroTime(time)| Timestamp::now().as_second() - time.as_second());
    Ok(holder(&lease).map(|holder| (holder, renewed)))
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

/// Renews until the Lease is in other hands. While the server cannot be asked it is in doubt: when it
/// answers again, the Lease itself says whether another one acquired it meanwhile.
async fn renew(client: Client, instance: String, identity: String, renewal: Arc<Renewal>) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        let found: Result<Option<Lease>, _> = client.get(&lease_name(&instance)).await;
        let outcome = match found {
            Ok(Some(found)) if holder(&found).as_deref() == Some(&identity) => {
                let version = found.metadata.resource_version.clone();
                client
                    .replace(&lease(&instance, Some(&identity), version))
                    .await
                    .map(|_| ())
            }
            // A Lease that was deleted is acquired again, unless another one may have had it meanwhile.
            Ok(None) if renewal.hold() == Hold::Ours => {
                tracing::warn!("the Lease was deleted: acquiring it again");
                client
                    .create(&lease(&instance, Some(&identity), None))
                    .await
                    .map(|_| ())
            }
            Ok(_) => break,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => renewal.renewed(),
            // Somebody else's write of it shows at the next look.
            Err(error) => tracing::debug!(%error, "the Lease could not be renewed"),
        }
    }
    renewal.lost.store(true, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn w22_an_unrenewed_lease_is_in_doubt() {
        let renewal = Renewal {
            begun: tokio::time::Instant::now(),
            renewed_ms: AtomicU64::new(0),
            lost: AtomicBool::new(false),
        };
        assert_eq!(renewal.hold(), Hold::Ours);
        tokio::time::advance(Duration::from_secs(12)).await;
        assert_eq!(
            renewal.hold(),
            Hold::InDoubt,
            "before anybody may take it, which is after 15 s"
        );
        renewal.renewed();
        assert_eq!(renewal.hold(), Hold::Ours);
        renewal.lost.store(true, Ordering::Release);
        assert_eq!(renewal.hold(), Hold::Lost);
    }
}
