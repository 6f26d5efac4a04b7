//! Milvus release versions, and the properties of their metadata layout.

use std::fmt;
use std::str::FromStr;

use semver::Version;

/// A Milvus release, for example `2.1.4` or `v2.2.0-rc1`.
///
/// A pre-release counts as its release: `2.2.0-rc1` already has the 2.2 layout, although semantic
/// versioning orders it before 2.2.0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release(Version);

impl Release {
    /// The last release of the 2.2 line.
    pub const LATEST_2_2: Self = Self(Version::new(2, 2, 16));

    /// The last release of the 2.2 line without databases.
    pub const LATEST_WITHOUT_DATABASES: Self = Self(Version::new(2, 2, 8));

    /// Returns `(major, minor, patch)`, which determines the layout.
    #[must_use]
    pub fn triple(&self) -> (u64, u64, u64) {
        (self.0.major, self.0.minor, self.0.patch)
    }

    /// Returns whether the release uses the 2.1 layout.
    #[must_use]
    pub fn is_2_1(&self) -> bool {
        (self.0.major, self.0.minor) == (2, 1)
    }

    /// Returns whether the release is 2.2.0, a pre-release of it, or later.
    #[must_use]
    pub fn has_2_2_layout(&self) -> bool {
        self.triple() >= (2, 2, 0)
    }

    /// Returns whether the release is later than the 2.2 line.
    #[must_use]
    pub fn is_beyond_2_2(&self) -> bool {
        self.triple() >= (2, 3, 0)
    }

    /// Returns whether the release has databases (2.2.9 and later).
    #[must_use]
    pub fn has_databases(&self) -> bool {
        self.triple() >= (2, 2, 9)
    }

    /// Returns whether the first start of the release empties collections in the embedded form. It
    /// removes their fields and partitions in 2.3.18 and later of 2.3, in 2.4.5 and everything
    /// later (observed on 2.3.22, 2.4.5 and 2.4.24).
    #[must_use]
    pub fn empties_embedded_collections(&self) -> bool {
        match (self.0.major, self.0.minor) {
            (2, 3) => self.0.patch >= 18,
            (2, 4) => self.0.patch >= 5,
            later => later > (2, 4),
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A text that is not a release version.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a version: expected three numbers such as 2.1.4")]
pub struct ReleaseError {
    /// The text.
    pub text: String,
}

impl FromStr for Release {
    type Err = ReleaseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let bare = trimmed.strip_prefix(['v', 'V']).unwrap_or(trimmed);
        Version::parse(bare).map(Self).map_err(|_| ReleaseError {
            text: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(text: &str) -> Release {
        text.parse().unwrap()
    }

    #[test]
    fn d50_pre_release_of_2_2_0_has_the_2_2_layout() {
        assert!(release("2.2.0-rc1").has_2_2_layout());
        assert!(release("2.2.0-20221118-abc").has_2_2_layout());
        assert!(!release("2.1.4").has_2_2_layout());
    }

    #[test]
    fn d51_a_leading_v_is_accepted() {
        assert_eq!(release("v2.1.4"), release("2.1.4"));
    }

    #[test]
    fn d53_targets_later_than_2_2_are_accepted() {
        assert!(release("2.6.1").is_beyond_2_2());
        assert!(release("2.6.1").has_2_2_layout());
        assert!(!release("2.2.16").is_beyond_2_2());
        assert!(release("2.2.9").has_databases());
        assert!(!release("2.2.8").has_databases());
    }

    #[test]
    fn embedded_collections_are_emptied_by_2_3_18_and_2_4_5() {
        for (text, emptied) in [
            ("2.2.16", false),
            ("2.3.17", false),
            ("2.3.18", true),
            ("2.4.4", false),
            ("2.4.5", true),
            ("2.5.0", true),
            ("3.0.0", true),
        ] {
            assert_eq!(
                release(text).empties_embedded_collections(),
                emptied,
                "{text}"
            );
        }
    }

    #[test]
    fn invalid_version_is_reported() {
        for text in ["", "2.2", "two", "2.2.x", "v"] {
            let error = text.parse::<Release>().unwrap_err();
            assert!(
                error.to_string().contains("is not a version"),
                "{text}: {error}"
            );
        }
    }
}
