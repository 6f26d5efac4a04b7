//! What the user may choose.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::SchemaSource;
use crate::release::Release;

/// The form in which collections are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CollectionForm {
    /// Collection, partitions and fields under separate keys, outside any database: what 2.2.0 to
    /// 2.2.8 write themselves.
    Split,
    /// As split, inside the database `default`: what 2.2.9 and later write themselves.
    Database,
    /// Partitions and fields stay inside the collection record: what the official tool writes.
    Embedded,
}

impl CollectionForm {
    /// The name in options and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Database => "database",
            Self::Embedded => "embedded",
        }
    }
}

impl fmt::Display for CollectionForm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for CollectionForm {
    type Err = FormError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "split" => Ok(Self::Split),
            "database" => Ok(Self::Database),
            "embedded" => Ok(Self::Embedded),
            _ => Err(FormError::Unknown {
                text: text.to_owned(),
            }),
        }
    }
}

/// The form that the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FormChoice {
    /// The form that fits the target: split before 2.2.9, database from then on.
    #[default]
    Auto,
    /// [`CollectionForm::Split`]
    Split,
    /// [`CollectionForm::Database`]
    Database,
    /// [`CollectionForm::Embedded`]
    Embedded,
}

impl FormChoice {
    /// The form for a target.
    ///
    /// # Errors
    /// [`FormError::NoDatabases`] when the database form is asked for a target that knows none.
    pub fn resolve(self, target: &Release) -> Result<CollectionForm, FormError> {
        match self {
            Self::Auto if target.has_databases() => Ok(CollectionForm::Database),
            Self::Auto | Self::Split => Ok(CollectionForm::Split),
            Self::Database if target.has_databases() => Ok(CollectionForm::Database),
            Self::Database => Err(FormError::NoDatabases {
                target: target.to_string(),
            }),
            Self::Embedded => Ok(CollectionForm::Embedded),
        }
    }
}

impl fmt::Display for FormChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "auto",
            Self::Split => CollectionForm::Split.name(),
            Self::Database => CollectionForm::Database.name(),
            Self::Embedded => CollectionForm::Embedded.name(),
        })
    }
}

impl FromStr for FormChoice {
    type Err = FormError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        Ok(match text.parse()? {
            CollectionForm::Split => Self::Split,
            CollectionForm::Database => Self::Database,
            CollectionForm::Embedded => Self::Embedded,
        })
    }
}

/// A collection form that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FormError {
    /// No form has this name.
    #[error("{text:?} is not a collection form: expected auto, split, database or embedded")]
    Unknown {
        /// What was given.
        text: String,
    },
    /// The target cannot read the database form.
    #[error(
        "the collection form database needs a target of 2.2.9 or later: {target} would see no collection"
    )]
    NoDatabases {
        /// The target asked for.
        target: String,
    },
}

/// Where the logs of segments are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SegmentForm {
    /// In separate keys, as 2.2 writes them, where their paths follow from their ids.
    #[default]
    Auto,
    /// In the segment record, as 2.1 left them.
    Inline,
}

impl fmt::Display for SegmentForm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Auto => "auto",
            Self::Inline => "inline",
        })
    }
}

impl FromStr for SegmentForm {
    type Err = SegmentFormError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "inline" => Ok(Self::Inline),
            _ => Err(SegmentFormError {
                text: text.to_owned(),
            }),
        }
    }
}

/// A word that names no segment form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown segment form {text:?}: expected auto or inline")]
pub struct SegmentFormError {
    /// What was given.
    pub text: String,
}

/// What to do with a record that cannot be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnBrokenRecord {
    /// Refuse the whole migration.
    #[default]
    Fail,
    /// Leave out just that record; it stays in the backup.
    Skip,
}

impl fmt::Display for OnBrokenRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Fail => "fail",
            Self::Skip => "skip",
        })
    }
}

/// A word that names no policy for broken records.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a policy for broken records: expected fail or skip")]
pub struct PolicyError {
    /// What was given.
    pub text: String,
}

impl FromStr for OnBrokenRecord {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "fail" => Ok(Self::Fail),
            "skip" => Ok(Self::Skip),
            _ => Err(PolicyError {
                text: text.to_owned(),
            }),
        }
    }
}

/// What is made of the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Task {
    /// 2.1 metadata becomes 2.2 metadata.
    #[default]
    Migration,
    /// 2.2 metadata gets the form that the target release reads, without leftovers of 2.1.
    Repair,
}

impl Task {
    /// The name in the journal and in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Migration => "migration",
            Self::Repair => "repair",
        }
    }

    /// The command that does it.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::Migration => "migrate",
            Self::Repair => "repair",
        }
    }

    /// The task with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Migration, Self::Repair]
            .into_iter()
            .find(|task| task.name() == name)
    }
}

/// What a migration is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What is made of the metadata.
    pub task: Task,
    /// The form in which collections are written.
    pub form: CollectionForm,
    /// Where the logs of segments are kept.
    pub segment_form: SegmentForm,
    /// What to do with a record that cannot be converted.
    pub on_broken_record: OnBrokenRecord,
    /// The release that will read the result.
    pub target: Release,
    /// Where a repair finds the schemas that the metadata lost, beside its own snapshots.
    pub schemas: Option<Arc<SchemaSource>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(choice: &str, target: &str) -> Result<CollectionForm, FormError> {
        choice
            .parse::<FormChoice>()?
            .resolve(&target.parse().unwrap())
    }

    #[test]
    fn t1_auto_follows_the_target() {
        for (target, form) in [
            ("2.2.0-rc1", CollectionForm::Split),
            ("2.2.8", CollectionForm::Split),
            ("2.2.9", CollectionForm::Database),
            ("2.4.24", CollectionForm::Database),
        ] {
            assert_eq!(resolve("auto", target), Ok(form), "{target}");
        }
    }

    #[test]
    fn t2b_database_is_refused_for_a_target_without_databases() {
        assert!(matches!(
            resolve("database", "2.2.8"),
            Err(FormError::NoDatabases { .. })
        ));
        assert_eq!(resolve("database", "2.2.9"), Ok(CollectionForm::Database));
        assert_eq!(resolve("embedded", "2.2.16"), Ok(CollectionForm::Embedded));
        assert_eq!(resolve("split", "2.3.1"), Ok(CollectionForm::Split));
    }

    #[test]
    fn names_lead_back() {
        for form in ["split", "database", "embedded"] {
            assert_eq!(form.parse::<CollectionForm>().unwrap().to_string(), form);
        }
        assert!("auto".parse::<CollectionForm>().is_err());
        assert!("Split".parse::<FormChoice>().is_err());
    }
}
