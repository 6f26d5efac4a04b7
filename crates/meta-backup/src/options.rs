//! Options for writing a backup.

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
