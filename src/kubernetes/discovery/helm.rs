//! The record that Helm keeps of a release, read without the helm program.
//!
//! Helm 3 stores each revision in a Secret of its own: key `release`, base64 around gzip around JSON.

use std::io::Read;

use base64::Engine;
use flate2::read::GzDecoder;
use k8s_openapi::api::core::v1::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Larger than any release that fits into a Secret of 1 MiB, and small enough for memory.
const RELEASE_BYTES_MAX: u64 = 64 << 20;
const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 0x08];

/// A release of Helm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelmRelease {
    /// Its name.
    pub name: String,
    /// The revision, counted from 1; 0 where only labels were readable.
    pub revision: u64,
    /// `deployed`, `failed`, `pending-upgrade`, …; empty where only labels were readable.
    pub status: String,
    /// `milvus-3.2.18`.
    pub chart: String,
    /// `2.1.4`.
    pub app_version: String,
}

impl HelmRelease {
    /// Whether Helm is in the middle of something, or died in it.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.status.starts_with("pending-") || self.status == "uninstalling"
    }
}

/// The newest revision among the Secrets that Helm labels `owner=helm,name=<release>`.
///
/// The highest revision counts, whatever its status: after a failed upgrade none may be `deployed`.
///
/// # Errors
/// Why the newest one cannot be read.
pub fn newest(secrets: &[Secret]) -> Result<Option<HelmRelease>, String> {
    let revision = |secret: &Secret| -> u64 {
        let labels = secret.metadata.labels.as_ref();
        let version = labels.and_then(|labels| labels.get("version"));
        version.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let Some(secret) = secrets.iter().max_by_key(|secret| revision(secret)) else {
        return Ok(None);
    };
    let data = secret.data.as_ref().and_then(|data| data.get("release"));
    let payload = data.ok_or("it has no key release")?;
    decode(&payload.0).map(Some)
}

/// Decodes the payload of one revision.
///
/// # Errors
/// What is wrong with it.
pub fn decode(payload: &[u8]) -> Result<HelmRelease, String> {
    let packed = base64::engine::general_purpose::STANDARD
        .decode(payload.trim_ascii())
        .map_err(|error| format!("it is not base64: {error}"))?;
    let json = if packed.starts_with(&GZIP_MAGIC) {
        let mut json = Vec::new();
        GzDecoder::new(packed.as_slice())
            .take(RELEASE_BYTES_MAX)
            .read_to_end(&mut json)
            .map_err(|error| format!("it cannot be unpacked: {error}"))?;
        json
    } else {
        packed
    };
    let release: Value =
        serde_json::from_slice(&json).map_err(|error| format!("it is not JSON: {error}"))?;
    let text = |pointer: &str| {
        let found = release.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    Ok(HelmRelease {
        name: text("/name"),
        revision: release.get("version").and_then(Value::as_u64).unwrap_or(0),
        status: text("/info/status"),
        chart: format!(
            "{}-{}",
            text("/chart/metadata/name"),
            text("/chart/metadata/version")
        ),
        app_version: text("/chart/metadata/appVersion"),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    fn payload(status: &str, revision: u64, packed: bool) -> Vec<u8> {
        let json = json!({
            "name": "prod",
            "version": revision,
            "info": {"status": status},
            "chart": {"metadata": {"name": "milvus", "version": "3.2.18", "appVersion": "2.1.4"}},
        })
        .to_string();
        let bytes = if packed {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(json.as_bytes()).unwrap();
            encoder.finish().unwrap()
        } else {
            json.into_bytes()
        };
        let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
        encoded.into_bytes()
    }

    fn secret(revision: u64, status: &str) -> Secret {
        let mut secret = Secret::default();
        let labels = [("version".to_owned(), revision.to_string())];
        secret.metadata.labels = Some(labels.into());
        let data = [(
            "release".to_owned(),
            ByteString(payload(status, revision, true)),
        )];
        secret.data = Some(data.into());
        secret
    }

    #[test]
    fn a_release_is_read_packed_and_as_old_helm_wrote_it() {
        for packed in [true, false] {
            assert_eq!(
                decode(&payload("deployed", 3, packed)),
                Ok(HelmRelease {
                    name: "prod".to_owned(),
                    revision: 3,
                    status: "deployed".to_owned(),
                    chart: "milvus-3.2.18".to_owned(),
                    app_version: "2.1.4".to_owned(),
                })
            );
        }
    }

    #[test]
    fn the_highest_revision_counts_as_a_number() {
        let secrets = [
            secret(9, "superseded"),
            secret(10, "pending-upgrade"),
            secret(2, "superseded"),
        ];
        let release = newest(&secrets).unwrap().unwrap();
        assert_eq!(release.revision, 10);
        assert!(release.is_pending());
        assert_eq!(newest(&[]), Ok(None));
    }

    #[test]
    fn a_broken_record_is_told() {
        assert!(decode(b"%%%").unwrap_err().contains("base64"));
        let mut cut = payload("deployed", 1, true);
        cut.truncate(40);
        assert!(decode(&cut).is_err());
    }
}
