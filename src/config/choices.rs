//! Words of the configuration that stand for one of a few choices.

use std::str::FromStr;

/// The official tool's commands, as `cmd.type` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropInCommand {
    /// `backup`: save the metadata.
    Backup,
    /// `run`: migrate it.
    Run,
    /// `rollback`: bring the saved metadata back.
    Rollback,
}

/// A word that is none of the choices.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not one of the choices")]
pub struct UnknownChoice;

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

/// The form in which collections are written, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormChoice {
    /// The form that the target release reads best.
    Auto,
    /// Partitions and fields in records of their own.
    Split,
    /// Split, inside the default database.
    Database,
    /// Everything in the collection record, as the official tool writes it.
    Embedded,
}

impl FromStr for FormChoice {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "split" => Ok(Self::Split),
            "database" => Ok(Self::Database),
            "embedded" => Ok(Self::Embedded),
            _ => Err(UnknownChoice),
        }
    }
}

/// What becomes of a record that cannot be migrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBrokenRecord {
    /// Nothing is migrated.
    Fail,
    /// The record is left out, with a finding.
    Skip,
}

impl FromStr for OnBrokenRecord {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "fail" => Ok(Self::Fail),
            "skip" => Ok(Self::Skip),
            _ => Err(UnknownChoice),
        }
    }
}
