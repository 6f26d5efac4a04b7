//! Compares the storage roots in the metadata with the one that the new release is configured to use.

use super::cluster_finding;
use crate::options::severity;
use crate::state::StorageRoot;
use milvus_meta::finding::Finding;

const CODE: &str = "storage-root";

/// Returns a finding for storage roots in the metadata where the new release would not look.
pub(crate) fn check_storage_roots(
    configured: &StorageRoot,
    roots: &[String],
    accepted: &[String],
) -> Option<Finding> {
    let expected = normal(&configured.path, configured.is_local);
    // Relative to the unknown working directory of Milvus 2.1; the plan has a finding for it.
    let comparable = |root: &&String| !configured.is_local || root.starts_with('/');
    let others: Vec<String> = roots
        .iter()
        .filter(comparable)
        .filter(|root| normal(root, configured.is_local) != expected)
        .map(|root| format!("{root:?}"))
        .collect();
    let first = others.first()?;
    let key = configured.key();
    let default = if configured.is_set {
        ""
    } else {
        ", the default of Milvus"
    };
    Some(cluster_finding(
        severity(accepted, CODE),
        CODE,
        format!(
            "the metadata refers to files below the storage root {}, but {key} is {:?}{default}. Milvus 2.2 derives \
             the paths of logs and index files from {key}: it would look for them where there are none, and loading \
             the collections would fail. {}",
            others.join(" and "),
            configured.path,
            remedy(configured, first, roots.len())
        ),
    ))
}

/// What to do before the upgrade, which does not change the configuration.
fn remedy(configured: &StorageRoot, root: &str, roots: usize) -> String {
    let key = configured.key();
    if roots > 1 {
        return format!(
            "Move all files below one storage root and set {key} to it, or accept the loss of the others with \
             --accept {CODE}"
        );
    }
    let helm = if configured.is_local {
        ""
    } else {
        " (Helm: minio.rootPath, or externalS3.rootPath with an external storage; Milvus Operator: \
         spec.config.minio.rootPath)"
    };
    format!(
        "Set {key} to {root}{helm} before the upgrade; if the files are elsewhere, use --accept {CODE}"
    )
}

/// A path as Milvus composes it: without empty and `.` parts. Object storage ignores a leading slash.
fn normal(path: &str, is_local: bool) -> String {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    let joined = parts.collect::<Vec<_>>().join("/");
    if is_local && path.starts_with('/') {
        format!("/{joined}")
    } else {
        joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use milvus_meta::finding::Severity;

    fn found(is_local: bool, path: &str, roots: &[&str]) -> Option<String> {
        let configured = StorageRoot {
            is_local,
            path: path.to_owned(),
            is_set: true,
        };
        let roots: Vec<String> = roots.iter().map(|&root| root.to_owned()).collect();
        check_storage_roots(&configured, &roots, &[]).map(|finding| {
            assert_eq!(finding.severity, Severity::Error);
            finding.message
        })
    }

    #[test]
    fn equal_storage_roots_are_no_finding() {
        for (path, root) in [
            ("files", "files"),
            ("files/", "files"),
            ("/files//", "files"),
            ("./files", "files"),
            ("files", "/files"),
            ("a/b", "a/b"),
            ("", ""),
            ("/", ""),
            ("", "/"),
        ] {
            assert_eq!(found(false, path, &[root]), None, "{path:?} {root:?}");
        }
        assert_eq!(found(false, "files", &[]), None, "no segment has logs");
        assert_eq!(found(true, "/data/", &["/data"]), None);
        assert_eq!(found(true, "/data", &["files"]), None, "relative");
    }

    #[test]
    fn another_storage_root_is_an_error_with_both_values() {
        for (path, root) in [
            ("file", "files"),
            ("", "files"),
            ("files", ""),
            ("files", "a/files"),
        ] {
            let message = found(false, path, &[root]).unwrap();
            assert!(
                message.contains(&format!(
                    "storage root {root:?}, but minio.rootPath is {path:?}"
                )),
                "{message}"
            );
            assert!(
                message.contains(&format!("Set minio.rootPath to {root:?} (Helm")),
                "{message}"
            );
        }
        let message = found(true, "data", &["/data"]).unwrap();
        assert!(
            message.contains("Set localStorage.path to \"/data\" before"),
            "{message}"
        );
    }

    #[test]
    fn all_other_storage_roots_are_named() {
        let message = found(false, "files", &["files", "old", "older"]).unwrap();
        assert!(
            message.contains("storage root \"old\" and \"older\", but"),
            "{message}"
        );
        assert!(
            message.contains("Move all files below one storage root"),
            "{message}"
        );
    }

    #[test]
    fn an_accepted_storage_root_is_a_warning() {
        let configured = StorageRoot {
            is_local: false,
            path: "file".to_owned(),
            is_set: false,
        };
        let accepted = [CODE.to_owned()];
        let finding = check_storage_roots(&configured, &["files".to_owned()], &accepted).unwrap();
        assert_eq!(finding.severity, Severity::Warning);
        assert!(
            finding.message.contains("\"file\", the default of Milvus."),
            "{}",
            finding.message
        );
    }
}
