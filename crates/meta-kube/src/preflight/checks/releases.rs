//! Releases that run on metadata which they cannot read.

use std::collections::BTreeMap;

use crate::discovery::image_version;

/// The releases that cannot read the metadata, each with its Deployments; `running` are names and images.
pub(crate) fn wrong_releases<'d>(
    running: impl Iterator<Item = (&'d str, &'d str)>,
    has_2_2_layout: bool,
) -> BTreeMap<String, Vec<&'d str>> {
    let mut releases: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (deployment, image) in running {
        let release = image_version(image);
        if let Some(release) = release.filter(|one| one.has_2_2_layout() != has_2_2_layout) {
            releases
                .entry(release.to_string())
                .or_default()
                .push(deployment);
        }
    }
    releases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployments_are_grouped_by_release() {
        let running = [
            ("a", "milvusdb/milvus:v2.1.4"),
            ("b", "milvusdb/milvus:v2.2.16"),
            ("c", "milvusdb/milvus:v2.1.4"),
            ("d", "milvusdb/milvus:v2.1.0"),
            ("e", "milvusdb/milvus:mine"),
        ];
        let wrong = wrong_releases(running.into_iter(), true);
        let expected = [("2.1.0", vec!["d"]), ("2.1.4", vec!["a", "c"])];
        assert_eq!(
            wrong,
            expected
                .map(|(release, names)| (release.to_owned(), names))
                .into()
        );
        let wrong = wrong_releases(running.into_iter(), false);
        assert_eq!(wrong, [("2.2.16".to_owned(), vec!["b"])].into());
    }
}
