//! Incomplete files: whether they are accepted, and the notes about missing data.

use super::FormatError;
use milvus_meta::plural::{agree, counted};

/// Missing data in a file that is accepted.
#[derive(Debug)]
pub(super) struct Loss {
    /// What is missing and what is present.
    pub(super) missing: String,
    /// Whether entries of the metadata are missing.
    pub(super) of_entries: bool,
}

/// Whether incomplete files are accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct PartialPolicy {
    allowed: bool,
}

impl PartialPolicy {
    pub(super) fn new(allowed: bool) -> Self {
        Self { allowed }
    }

    /// Returns the loss if incomplete files are accepted, else an error.
    pub(super) fn accept(self, loss: Loss) -> Result<Loss, FormatError> {
        match self.allowed {
            true => Ok(loss),
            false => Err(FormatError::Partial(loss.missing)),
        }
    }

    /// Checks entries that end early with `cut`, or whose number is not `announced`.
    pub(super) fn entries(
        self,
        found: u64,
        announced: Option<u64>,
        cut: Option<FormatError>,
    ) -> Result<Option<Loss>, FormatError> {
        let missing = match (announced, cut) {
            (None, None) => return Ok(None),
            (Some(announced), None) if announced == found => return Ok(None),
            // No entry is usable.
            (_, Some(error)) if found == 0 => return Err(error),
            (Some(announced), Some(error)) if announced > found => format!(
                "it is {error}; {found} of {} {} present, {} {} missing",
                counted(announced, "entry"),
                agree(found, "is", "are"),
                announced - found,
                agree(announced - found, "is", "are")
            ),
            (_, Some(error)) => format!(
                "it is {error}; {} {} present, and the number of missing entries is unknown",
                counted(found, "entry"),
                agree(found, "is", "are")
            ),
            (Some(announced), None) if announced > found => format!(
                "the file announces {} and {found} {} present: {} {} missing, or {} deleted while the file was \
                 written (birdwatcher's --ignoreRevision)",
                counted(announced, "entry"),
                agree(found, "is", "are"),
                announced - found,
                agree(announced - found, "is", "are"),
                agree(announced - found, "was", "were")
            ),
            (Some(announced), None) => format!(
                "the file announces {} and {found} {} present: keys were written while the file was \
                 (birdwatcher's --ignoreRevision), so it has no single revision, and others may be missing",
                counted(announced, "entry"),
                agree(found, "is", "are")
            ),
        };
        let of_entries = true;
        self.accept(Loss {
            missing,
            of_entries,
        })
        .map(Some)
    }
}

/// Whether the error is the end of the file, so that all data before it is valid.
pub(super) fn is_cut(error: &FormatError) -> bool {
    matches!(error, FormatError::Truncated { .. })
}
