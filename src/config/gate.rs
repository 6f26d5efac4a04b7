//! The version gate: do the versions that an operator typed ask for a migration from 2.1 to 2.2?
//!
//! Pure. What is really in etcd is a matter of layout detection; this only keeps wrong words from
//! doing harm.

use milvus_meta::release::Release;

/// What the versions are meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Saving the 2.1 metadata.
    Backup,
    /// Turning 2.1 metadata into 2.2 metadata, or planning it.
    Migrate,
    /// Going back to the 2.1 metadata.
    Rollback,
}

/// What follows from the versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on; the notices are for the operator.
    Proceed {
        /// What is worth knowing.
        notices: Vec<String>,
    },
    /// The target release reads the 2.1 layout: there is nothing to do.
    NothingToDo {
        /// Why.
        reason: String,
    },
}

/// Versions that ask for something that this tool does not do.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GateError {
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
        "the source version {source_version} keeps its metadata in the 2.2 layout already: the source \
         has to be 2.1.x"
    )]
    SourceIsNew {
        /// The source version.
        source_version: Release,
    },
    /// The source release is older than 2.1.
    #[error(
        "the source version {source_version} is older than 2.1: upgrade Milvus to 2.1.4 first, then \
         migrate"
    )]
    SourceIsOld {
        /// The source version.
        source_version: Release,
    },
}

/// Judges the versions, as far as they are given.
///
/// # Errors
/// [`GateError`] when they ask for something else than going from 2.1 to 2.2, or back.
pub fn check(
    purpose: Purpose,
    source: Option<&Release>,
    target: Option<&Release>,
) -> Result<Verdict, GateError> {
    if let (Some(source), Some(target)) = (source, target)
        && target.triple() < source.triple()
    {
        return Err(GateError::Swapped {
            source_version: source.clone(),
            target: target.clone(),
        });
    }
    if let Some(source) = source.filter(|source| !source.is_2_1()) {
        let source_version = source.clone();
        return Err(if source.has_2_2_layout() {
            GateError::SourceIsNew { source_version }
        } else {
            GateError::SourceIsOld { source_version }
        });
    }
    let mut notices = Vec::new();
    match (purpose, target) {
        (Purpose::Migrate, Some(target)) if !target.has_2_2_layout() => {
            return Ok(Verdict::NothingToDo {
                reason: format!("the target version {target} reads the 2.1 layout: no need to migrate"),
            });
        }
        (Purpose::Migrate, Some(target)) if target.is_beyond_2_2() => notices.push(format!(
            "the target version {target} is beyond 2.2: it reads the 2.2 layout, which is what is written"
        )),
        (Purpose::Backup | Purpose::Migrate | Purpose::Rollback, _) => {}
    }
    Ok(Verdict::Proceed { notices })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(purpose: Purpose, source: &str, target: &str) -> Result<Verdict, GateError> {
        let release = |text: &str| (!text.is_empty()).then(|| text.parse::<Release>().unwrap());
        check(purpose, release(source).as_ref(), release(target).as_ref())
    }

    fn proceeds(verdict: &Result<Verdict, GateError>) -> bool {
        matches!(verdict, Ok(Verdict::Proceed { .. }))
    }

    #[test]
    fn d3_swapped_versions_are_refused() {
        for purpose in [Purpose::Rollback, Purpose::Migrate] {
            assert!(matches!(
                judge(purpose, "2.2.0", "2.1.4"),
                Err(GateError::Swapped { .. })
            ));
        }
        assert!(proceeds(&judge(Purpose::Rollback, "2.1.4", "2.2.0")));
    }

    #[test]
    fn d4_a_source_with_the_2_2_layout_is_a_clear_error() {
        for purpose in [Purpose::Backup, Purpose::Migrate, Purpose::Rollback] {
            let error = judge(purpose, "2.2.3", "2.2.9").unwrap_err();
            assert!(error.to_string().contains("2.2.3"), "{error}");
            assert!(matches!(error, GateError::SourceIsNew { .. }));
        }
        assert!(matches!(
            judge(Purpose::Migrate, "2.0.2", "2.2.0"),
            Err(GateError::SourceIsOld { .. })
        ));
    }

    #[test]
    fn d50_a_pre_release_of_2_2_0_is_migrated() {
        assert!(proceeds(&judge(Purpose::Migrate, "2.1.4", "2.2.0-rc1")));
        assert!(proceeds(&judge(Purpose::Migrate, "2.1.4", "2.2.0")));
    }

    #[test]
    fn d51_a_leading_v_is_accepted() {
        assert!(proceeds(&judge(Purpose::Migrate, "v2.1.4", "v2.2.0")));
    }

    #[test]
    fn d53_a_target_beyond_2_2_is_accepted_with_a_notice() {
        let Ok(Verdict::Proceed { notices }) = judge(Purpose::Migrate, "2.1.4", "2.5.26") else {
            panic!("refused");
        };
        assert!(notices[0].contains("2.5.26"));
        assert_eq!(
            judge(Purpose::Migrate, "2.1.4", "2.2.16"),
            Ok(Verdict::Proceed {
                notices: Vec::new()
            })
        );
    }

    #[test]
    fn a_target_below_2_2_0_leaves_nothing_to_do() {
        for source in ["", "2.1.0", "2.1.4"] {
            assert!(matches!(
                judge(Purpose::Migrate, source, "2.1.4"),
                Ok(Verdict::NothingToDo { .. })
            ));
        }
        assert!(proceeds(&judge(Purpose::Rollback, "2.1.0", "2.1.4")));
    }

    #[test]
    fn versions_that_are_not_given_are_not_judged() {
        for purpose in [Purpose::Backup, Purpose::Migrate, Purpose::Rollback] {
            assert!(proceeds(&judge(purpose, "", "")));
        }
    }
}
