//! The options of a migration or repair.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::SchemaSource;
use crate::release::Release;

/// The form in which collections are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CollectionForm {
    /// Collection, partitions and fields under separate keys, outside databases: the form of 2.2.0
    /// to 2.2.8.
    Split,
    /// Like split, in the database `default`: the form of 2.2.9 and later.
    Database,
    /// Partitions and fields in the collection record: the form that the official tool writes.
    Embedded,
}

impl CollectionForm {
    /// Returns the name in options and reports.
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

/// The form that the user requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum FormChoice {
    /// The form of the target: split before 2.2.9, otherwise database.
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
    /// Returns the form for a target.
    ///
    /// # Errors
    /// [`FormError::NoDatabases`] if the database form is requested for a target without databases.
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
    /// There is no form with this name.
    #[error("{text:?} is not a collection form: expected auto, split, database or embedded")]
    Unknown {
        /// The text.
        text: String,
    },
    /// The target cannot read the database form.
    #[error(
        "the collection form database needs a target of 2.2.9 or later: {target} would see no collection"
    )]
    NoDatabases {
        /// The requested target.
        target: String,
    },
}

/// Where segment logs are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SegmentForm {
    /// In separate keys, like 2.2, if their paths can be derived from ids.
    #[default]
    Auto,
    /// In the segment record, like 2.1.
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

/// A text that is not a segment form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown segment form {text:?}: expected auto or inline")]
pub struct SegmentFormError {
    /// The text.
    pub text: String,
}

/// What to do with a record that cannot be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnBrokenRecord {
    /// Reject the migration.
    #[default]
    Fail,
    /// Leave out the record; it stays in the backup.
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

/// A text that is not a policy for broken records.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a policy for broken records: expected fail or skip")]
pub struct PolicyError {
    /// The text.
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

/// A task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Task {
    /// Migrate 2.1 metadata to 2.2.
    #[default]
    Migration,
    /// Convert 2.2 metadata to the form of the target release, without leftovers of 2.1.
    Repair,
}

impl Task {
    /// Returns the name in the journal and in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Migration => "migration",
            Self::Repair => "repair",
        }
    }

    /// Returns the command of the task.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::Migration => "migrate",
            Self::Repair => "repair",
        }
    }

    /// Returns the task with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Migration, Self::Repair]
            .into_iter()
            .find(|task| task.name() == name)
    }
}

/// The options of a migration or repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The task.
    pub task: Task,
    /// The form in which collections are written.
    pub form: CollectionForm,
    /// Where segment logs are stored.
    pub segment_form: SegmentForm,
    /// What to do with a record that cannot be converted.
    pub on_broken_record: OnBrokenRecord,
    /// The release that will read the result.
    pub target: Release,
    /// Where a repair finds lost schemas, in addition to the snapshots in the metadata.
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
    fn t1_auto_form_depends_on_the_target() {
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
    fn t2b_database_form_requires_databases() {
        assert!(matches!(
            resolve("database", "2.2.8"),
            Err(FormError::NoDatabases { .. })
        ));
        assert_eq!(resolve("database", "2.2.9"), Ok(CollectionForm::Database));
        assert_eq!(resolve("embedded", "2.2.16"), Ok(CollectionForm::Embedded));
        assert_eq!(resolve("split", "2.3.1"), Ok(CollectionForm::Split));
    }

    #[test]
    fn form_names_round_trip() {
        for form in ["split", "database", "embedded"] {
            assert_eq!(form.parse::<CollectionForm>().unwrap().to_string(), form);
        }
        assert!("auto".parse::<CollectionForm>().is_err());
        assert!("Split".parse::<FormChoice>().is_err());
    }
}
