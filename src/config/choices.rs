//! Settings with a few possible values.

use std::fmt;
use std::str::FromStr;

/// The official tool's commands, as `cmd.type` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropInCommand {
    /// `backup`: save the metadata.
    Backup,
    /// `run`: migrate it.
    Run,
    /// `rollback`: restore the saved metadata.
    Rollback,
}

/// A text that is none of the choices.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not one of the choices")]
pub struct UnknownChoice;

impl fmt::Display for DropInCommand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Backup => "backup",
            Self::Run => "run",
            Self::Rollback => "rollback",
        })
    }
}

impl FromStr for DropInCommand {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "backup" => Ok(Self::Backup),
            "run" => Ok(Self::Run),
            "rollback" => Ok(Self::Rollback),
            _ => Err(UnknownChoice),
        }
    }
}
