//! Files of frames that are not complete: what can be used of them, and what is said of the rest.

use super::FormatError;
use milvus_meta::plural::{agree, counted};

/// What is missing from a file that is used anyway.
#[derive(Debug)]
pub(super) struct Loss {
    /// What is missing, and what is there.
    pub(super) missing: String,
    /// Whether entries of the metadata are missing.
    pub(super) of_entries: bool,
}

/// Decides about files that are not complete.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partial {
    allowed: bool,
}

impl Partial {
    pub(super) fn new(allowed: bool) -> Self {
        Self { allowed }
    }

    /// The loss, where it is allowed.
    pub(super) fn accept(self, loss: Loss) -> Result<Loss, FormatError> {
        match self.allowed {
            true => Ok(loss),
            false => Err(FormatError::Partial {
                missing: loss.missing,
            }),
        }
    }

    /// Decides about entries that end with `cut`, or of which another number is there than was `announced`.
    pub(super) fn entries(
        self,
        found: u64,
        announced: Option<u64>,
        cut: Option<FormatError>,
    ) -> Result<Option<Loss>, FormatError> {
        let missing = match (announced, cut) {
            (None, None) => return Ok(None),
            (Some(announced), None) if announced == found => return Ok(None),
            // Nothing can be used.
            (_, Some(error)) if found == 0 => return Err(error),
            (Some(announced), Some(error)) if announced > found => format!(
                "it is {error}; {found} of {} {} there, {} {} missing",
                counted(announced, "entry"),
                agree(found, "is", "are"),
                announced - found,
                agree(announced - found, "is", "are")
            ),
            (_, Some(error)) => format!(
                "it is {error}; {} {} there, and how many are missing is not known",
                counted(found, "entry"),
                agree(found, "is", "are")
            ),
            (Some(announced), None) if announced > found => format!(
                "the file announces {} and {found} {} there: {} {} missing, or {} deleted while the file was \
                 written (birdwatcher's --ignoreRevision)",
                counted(announced, "entry"),
                agree(found, "is", "are"),
                announced - found,
                agree(announced - found, "is", "are"),
                agree(announced - found, "was", "were")
            ),
            (Some(announced), None) => format!(
                "the file announces {} and {found} {} there: keys were written while the file was \
                 (birdwatcher's --ignoreRevision), so it shows no single revision, and others may be missing",
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

/// Whether a file ends with this error, so that what comes before it is as it was written.
pub(super) fn is_cut(error: &FormatError) -> bool {
    matches!(error, FormatError::Truncated { .. })
}
