//! Options for writing a backup.

use std::fmt;
use std::str::FromStr;

use super::Format;

/// The formats that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputFormat {
    /// The format of this project.
    #[default]
    Native,
    /// The format of the official tool, which that tool can read. It has no checksum.
    Official,
}

impl OutputFormat {
    /// The corresponding readable format.
    #[must_use]
    pub fn format(self) -> Format {
        match self {
            Self::Native => Format::Native,
            Self::Official => Format::Official,
        }
    }

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

/// The error for a text that is not an output format.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a backup format: expected native or official")]
pub struct OutputFormatError {
    /// The text.
    pub text: String,
}

/// Options for writing a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    /// Compression level of the native format, from [`LEAST_LEVEL`](super::LEAST_LEVEL) to [`GREATEST_LEVEL`](super::GREATEST_LEVEL).
    pub level: i32,
    /// Number of compression threads.
    pub threads: usize,
    /// The format.
    pub format: OutputFormat,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self {
            // Metadata is repetitive text: higher levels take longer and save nothing.
            level: 1,
            threads: 2,
            format: OutputFormat::Native,
        }
    }
}
