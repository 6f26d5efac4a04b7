//! Checks the given versions: only a migration from 2.1 to 2.2 or later, or its rollback, is possible.
//!
//! Only compares what the user typed. Layout detection finds out what etcd really holds.

use milvus_meta::release::Release;

/// Versions that are not a migration from 2.1 to 2.2.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VersionError {
    /// The target is older than the source.
    #[error(
        "the target version {target} is older than the source version {source_version}: are they swapped? A \
            rollback takes the same two versions as its migration"
    )]
    Swapped {
        /// The source version.
        source_version: Release,
        /// The target version.
        target: Release,
    },
    /// The source release has the 2.2 layout already.
    #[error(
        "the source version {0} keeps its metadata in the 2.2 layout already: the source has to be 2.1.x"
    )]
    SourceIsNew(Release),
    /// The source release is older than 2.1.
    #[error(
        "the source version {0} is older than 2.1: upgrade Milvus to 2.1.4 first, then migrate"
    )]
    SourceIsOld(Release),
}

/// Checks the versions that are given.
///
/// # Errors
/// [`VersionError`] if the source is not 2.1, or newer than the target.
pub fn check(source: Option<&Release>, target: Option<&Release>) -> Result<(), VersionError> {
    let Some(source) = source else {
        return Ok(());
    };
    match target {
        Some(target) if target.triple() < source.triple() => Err(VersionError::Swapped {
            source_version: source.clone(),
            target: target.clone(),
        }),
        _ if source.is_2_1() => Ok(()),
        _ if source.has_2_2_layout() => Err(VersionError::SourceIsNew(source.clone())),
        _ => Err(VersionError::SourceIsOld(source.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(source: &str, target: &str) -> Result<(), VersionError> {
        let release = |text: &str| (!text.is_empty()).then(|| text.parse::<Release>().unwrap());
        check(release(source).as_ref(), release(target).as_ref())
    }

    #[test]
    fn d3_swapped_versions_are_refused() {
        let error = checked("2.2.0", "2.1.4").unwrap_err();
        assert!(matches!(error, VersionError::Swapped { .. }), "{error}");
    }

    #[test]
    fn d4_a_source_with_the_2_2_layout_is_a_clear_error() {
        let error = checked("2.2.3", "2.2.9").unwrap_err();
        assert!(error.to_string().contains("2.2.3"), "{error}");
        assert!(matches!(error, VersionError::SourceIsNew(_)));
        let error = checked("2.0.2", "2.2.0").unwrap_err();
        assert!(matches!(error, VersionError::SourceIsOld(_)), "{error}");
    }

    #[test]
    fn versions_of_an_upgrade_are_accepted() {
        for (source, target) in [
            ("2.1.4", "2.2.0"),
            ("2.1.4", "2.2.0-rc1"),
            ("2.1.0", "2.1.4"),
            ("2.1.4", "2.5.26"),
            ("", "2.2.0"),
            ("2.1.4", ""),
            ("", ""),
        ] {
            assert_eq!(checked(source, target), Ok(()), "{source} {target}");
        }
    }

    #[test]
    fn d51_a_leading_v_is_accepted() {
        assert_eq!(checked("v2.1.4", "v2.2.0"), Ok(()));
    }
}
