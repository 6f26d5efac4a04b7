//! How a backup is written.

use std::fmt;
use std::str::FromStr;

use super::Format;

/// The formats that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputFormat {
    /// Ours.
    #[default]
    Native,
    /// The official tool's, which that tool can read. It has no checksum.
    Official,
}

impl OutputFormat {
    /// The format as readers name it.
    #[must_use]
    pub fn format(self) -> Format {
        match self {
            Self::Native => Format::Native,
            Self::Official => Format::Official,
        }
    }

    /// The usual ending of the file name.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Native => "mmb",
            Self::Official => "bak",
        }
    }
}

impl fmt::Display for OutputFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.format().name())
    }
}

impl FromStr for OutputFormat {
    type Err = OutputFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "native" => Ok(Self::Native),
            "official" => Ok(Self::Official),
            _ => Err(OutputFormatError {
                text: text.to_owned(),
            }),
        }
    }
}

/// A text that names no format that can be written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a backup format: expected native or official")]
pub struct OutputFormatError {
    /// What was given.
    pub text: String,
}

/// How to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    /// Compression level of the native format, from [`LEAST_LEVEL`](super::LEAST_LEVEL) to [`GREATEST_LEVEL`](super::GREATEST_LEVEL).
    pub level: i32,
    /// How many threads compress.
    pub threads: usize,
    /// The format.
    pub format: OutputFormat,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            // Metadata is text and repeats itself: higher levels cost time and save nothing.
            level: 1,
            threads: 2,
            format: OutputFormat::Native,
        }
    }
}
