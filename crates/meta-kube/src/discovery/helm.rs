//! Reads Helm's release record without the helm program.
//!
//! Helm 3 stores each revision in a separate Secret: key `release`, base64 around gzip around JSON.

use std::collections::BTreeMap;
use std::io::Read;

use base64::Engine;
use flate2::read::GzDecoder;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::object::text;
use milvus_meta::release::Release;

/// Larger than any release in a Secret of 1 MiB, and small enough for memory.
const RELEASE_BYTES_MAX: u64 = 64 << 20;
const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 0x08];

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HelmRelease {
    pub name: String,
    /// The revision, counted from 1; 0 if only labels were readable.
    pub revision: u64,
    /// `deployed`, `failed`, `pending-upgrade`, …; empty if only labels were readable.
    pub status: String,
    /// For example `milvus-3.2.18`.
    pub chart: String,
    /// For example `2.1.4`.
    pub app_version: String,
    /// The image in the values; `None` if they have none.
    #[serde(default)]
    pub image: Option<String>,
    /// The replica counts in the values, by component.
    #[serde(default)]
    pub replicas: BTreeMap<String, i64>,
    /// The images in the values of all readable revisions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<u64, String>,
}

/// The components whose counts the chart takes from its values, with their names there.
const COUNTED: [(&str, &str); 4] = [
    ("proxy", "proxy"),
    ("querynode", "queryNode"),
    ("indexnode", "indexNode"),
    ("datanode", "dataNode"),
];

/// The newest chart of each Milvus release, newest release first; from the chart repository.
const CHARTS: &str = include_str!("charts.tsv");

/// The newest known chart that is not newer than a release of Milvus, or else the oldest.
pub(crate) fn chart_for(release: &Release) -> &'static str {
    let mut charts = CHARTS.lines().filter_map(|line| line.split_once('\t'));
    let fits = charts.clone().find(|(_, brings)| {
        let brings = brings.parse::<Release>();
        brings.is_ok_and(|brings| brings.triple() <= release.triple())
    });
    fits.or_else(|| charts.next_back())
        .map_or("", |(chart, _)| chart)
}

impl HelmRelease {
    /// Whether a Helm operation is in progress, or was interrupted.
    pub(crate) fn is_pending(&self) -> bool {
        self.status.starts_with("pending-") || self.status == "uninstalling"
    }
}

/// The newest revision among the Secrets that Helm labels `owner=helm,name=<release>`.
///
/// The highest revision counts, whatever its status: after a failed upgrade none may be `deployed`.
/// The error says why the revision cannot be read.
pub(crate) fn newest(secrets: &[Secret]) -> Result<Option<HelmRelease>, String> {
    newest_of(secrets.iter().map(|one| {
        let payload = one.data.as_ref().and_then(|data| data.get("release"));
        (&one.metadata, payload.map(|payload| payload.0.as_slice()))
    }))
}

/// The newest revision among `ConfigMaps`, if Helm is configured to use them.
pub(crate) fn newest_of_maps(maps: &[ConfigMap]) -> Result<Option<HelmRelease>, String> {
    newest_of(maps.iter().map(|one| {
        let payload = one.data.as_ref().and_then(|data| data.get("release"));
        (&one.metadata, payload.map(String::as_bytes))
    }))
}

fn newest_of<'r>(
    records: impl Iterator<Item = (&'r ObjectMeta, Option<&'r [u8]>)> + Clone,
) -> Result<Option<HelmRelease>, String> {
    let Some((_, payload)) = records
        .clone()
        .max_by_key(|(metadata, _)| revision(metadata))
    else {
        return Ok(None);
    };
    let mut release = decode(payload.ok_or("it has no key release")?)?;
    // A rollback to an older revision that cannot be read is not possible.
    let revisions = records.filter_map(|(_, payload)| decode(payload?).ok());
    let images = revisions.filter_map(|one| Some((one.revision, one.image?)));
    release.images = images.collect();
    Ok(Some(release))
}

fn revision(metadata: &ObjectMeta) -> u64 {
    let labels = metadata.labels.as_ref();
    let version = labels.and_then(|labels| labels.get("version"));
    version.and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(crate) fn decode(payload: &[u8]) -> Result<HelmRelease, String> {
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
    let text = |pointer: &str| text(&release, pointer).to_owned();
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
        image: image(&release),
        replicas: replicas(&release),
        images: BTreeMap::new(),
    })
}

/// A value that the user set, else the chart's default.
fn value<'r>(release: &'r Value, pointer: &str) -> Option<&'r Value> {
    let own = release.pointer(&format!("/config{pointer}"));
    own.or_else(|| release.pointer(&format!("/chart/values{pointer}")))
}

fn image(release: &Value) -> Option<String> {
    let text = |pointer| value(release, pointer).and_then(Value::as_str);
    let (repository, tag) = (text("/image/all/repository")?, text("/image/all/tag")?);
    Some(format!("{repository}:{tag}"))
}

fn replicas(release: &Value) -> BTreeMap<String, i64> {
    let count = |(component, name): (&str, &str)| {
        let count = value(release, &format!("/{name}/replicas"))?.as_i64()?;
        Some((component.to_owned(), count))
    };
    COUNTED.into_iter().filter_map(count).collect()
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
            "config": {"queryNode": {"replicas": 3}},
            "chart": {
                "metadata": {"name": "milvus", "version": "3.2.18", "appVersion": "2.1.4"},
                "values": {
                    "image": {"all": {"repository": "milvusdb/milvus", "tag": "v2.1.4"}},
                    "queryNode": {"replicas": 1}, "proxy": {"replicas": 1},
                },
            },
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
    fn helm_releases_are_read_packed_and_plain() {
        for packed in [true, false] {
            assert_eq!(
                decode(&payload("deployed", 3, packed)),
                Ok(HelmRelease {
                    name: "prod".to_owned(),
                    revision: 3,
                    status: "deployed".to_owned(),
                    chart: "milvus-3.2.18".to_owned(),
                    app_version: "2.1.4".to_owned(),
                    image: Some("milvusdb/milvus:v2.1.4".to_owned()),
                    replicas: [("proxy".to_owned(), 1), ("querynode".to_owned(), 3)].into(),
                    images: BTreeMap::new(),
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
    fn w20_the_chart_fits_the_release() {
        let chart = |release: &str| chart_for(&release.parse().unwrap());
        assert_eq!(chart("2.1.4"), "3.2.18");
        assert_eq!(chart("2.2.0"), "3.3.6");
        assert_eq!(chart("2.2.2"), "4.0.6");
        assert_eq!(chart("2.2.9"), "4.0.24");
        assert_eq!(chart("2.4.0"), "4.1.29");
        assert_eq!(chart("2.2.16"), "4.0.34");
    }

    #[test]
    fn a_broken_record_is_reported() {
        assert!(decode(b"%%%").unwrap_err().contains("base64"));
        let mut cut = payload("deployed", 1, true);
        cut.truncate(40);
        assert!(decode(&cut).is_err());
    }
}
