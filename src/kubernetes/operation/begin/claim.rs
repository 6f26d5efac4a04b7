//! The claim for backups.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::super::OperationError;
use super::{Request, refused};
use crate::kubernetes::cluster::Cluster;
use crate::kubernetes::manifest;
use crate::kubernetes::record::Record;

/// Makes the claim for backups, unless it is there or was given. One that held a backup is never made
/// anew: an empty volume is no way back.
///
/// # Errors
/// Of the request, or when the claim has to be there and is not.
pub async fn claim(
    cluster: &Cluster,
    request: &Request,
    record: &Record,
) -> Result<(), OperationError> {
    let found: Option<PersistentVolumeClaim> = cluster.get(&record.claim).await?;
    if found.is_some() {
        return Ok(());
    }
    if request.claim.is_some() {
        return refused(format!("the volume claim {} is not there", record.claim));
    }
    if record.has_backup {
        // To look into etcd and to start no backup is needed.
        if !record.stage.row().needs_volume {
            return Ok(());
        }
        return refused(format!(
            "the volume claim {} with the backup {} is gone: nothing was begun. Make a claim of that name again, \
             or give one with --backup-pvc, then the same command; a copy of the file belongs into it, and without \
             one the metadata as it is decides how far it leads",
            record.claim, record.backup_file
        ));
    }
    let class = record.storage_class.as_deref();
    let made = manifest::claim(&record.claim, &record.instance, record.size(), class);
    match cluster.create(&made).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_conflict() => Ok(()),
        Err(error) => Err(error.into()),
    }
}
