//! The saved upgrade state: reads it, and saves it while no other program changes it.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use super::{Driver, OUTAGE_PAUSE};
use crate::cause::Cause;
use crate::client::Client;
use crate::manifest;
use crate::object::ResourceExt;
use crate::state::{Entered, UpgradeState};
use crate::{STATE_KEY, state_name};

/// Reads the saved state of an instance, with its resource version.
pub(crate) async fn saved_state(
    client: &Client,
    instance: &str,
) -> Result<Option<(UpgradeState, Option<String>)>, Cause> {
    let Some(map) = client.get::<ConfigMap>(&state_name(instance)).await? else {
        return Ok(None);
    };
    let text = map.data.as_ref().and_then(|data| data.get(STATE_KEY));
    let parsed = match text {
        Some(text) => UpgradeState::parse(text),
        None => Err(format!("it has no key {STATE_KEY}")),
    };
    let state = parsed.map_err(|why| Cause::UpgradeState {
        map: map.name_any(),
        namespace: client.namespace().to_owned(),
        why,
    })?;
    Ok(Some((state, map.resource_version())))
}

impl Driver<'_> {
    pub(super) fn record_stage(&mut self) {
        let now = Timestamp::from_second(Timestamp::now().as_second());
        self.state.history.push(Entered {
            stage: self.state.stage,
            at: now.unwrap_or_default().to_string(),
        });
    }

    /// Saves the state. A concurrent change by another program ends this process.
    pub(super) async fn save(&mut self) -> Result<(), Cause> {
        self.check_lease().await?;
        let begun = Instant::now();
        let mut tried = 0;
        let written = loop {
            let map = manifest::state_map(&self.state, self.resource_version.clone());
            let written = if self.resource_version.is_some() {
                self.client.replace(&map).await
            } else {
                self.client.create(&map).await
            };
            match written {
                Ok(written) => break written,
                Err(error) if error.is_conflict() => {
                    // An earlier attempt may have reached the server although its response was lost.
                    let now = saved_state(self.client, &self.state.instance).await?;
                    match now {
                        Some((state, version)) if tried > 0 && state == self.state => {
                            self.resource_version = version;
                            return Ok(());
                        }
                        Some(_) | None => return Err(Cause::LeaseLost),
                    }
                }
                Err(error) if error.is_missing() && self.resource_version.is_some() => {
                    self.check_lease().await?;
                    self.observer
                        .message("the upgrade state was deleted: writing it again");
                    self.resource_version = None;
                }
                Err(error) if error.is_transient() && begun.elapsed() < self.limit => {
                    tried += 1;
                    tokio::time::sleep(OUTAGE_PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.resource_version = written.metadata.resource_version;
        Ok(())
    }

    /// Requires the Lease: without it, another program may be changing the instance.
    pub(super) async fn check_lease(&self) -> Result<(), Cause> {
        if self.lease.is_held(self.limit).await {
            Ok(())
        } else {
            Err(Cause::LeaseLost)
        }
    }
}
