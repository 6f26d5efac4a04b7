//! The options of a migration or repair.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::SchemaSource;
use crate::release::Release;

/// A text that names none of the possible values of an option.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a {what}: expected {expected}")]
pub struct UnknownName {
    /// The text.
    pub text: String,
    what: &'static str,
    expected: &'static str,
}

/// Defines an enum whose values have names, with which they are formatted and parsed.
macro_rules! named {
    ($(#[$doc:meta])* $type:ident, $what:literal, $expected:literal,
        { $($(#[$value_doc:meta])* $value:ident $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type {
            $($(#[$value_doc])* $value,)*
        }

        impl $type {
            /// Returns the name in options, reports and the journal.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)*
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.name())
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($name => Ok(Self::$value),)*
                    _ => Err(UnknownName { text: text.to_owned(), what: $what, expected: $expected }),
                }
            }
        }
    };
}

named! {
    /// The form in which collections are written.
    CollectionForm, "collection form", "auto, split, database or embedded",
    {
        /// Collection, partitions and fields under separate keys, outside databases: the form of 2.2.0
        /// to 2.2.8.
        Split "split",
        /// Like split, in the database `default`: the form of 2.2.9 and later.
        Database "database",
        /// Partitions and fields in the collection record: the form that the official tool writes.
        Embedded "embedded",
    }
}

named! {
    /// The form that the user requested.
    #[derive(Default)]
    FormChoice, "collection form", "auto, split, database or embedded",
    {
        /// The form of the target: split before 2.2.9, otherwise database.
        #[default]
        Auto "auto",
        /// [`CollectionForm::Split`]
        Split "split",
        /// [`CollectionForm::Database`]
        Database "database",
        /// [`CollectionForm::Embedded`]
        Embedded "embedded",
    }
}

impl FormChoice {
    /// Returns the form for a target.
    ///
    /// # Errors
    /// [`FormError`] if the database form is requested for a target without databases.
    pub fn resolve(self, target: &Release) -> Result<CollectionForm, FormError> {
        match self {
            Self::Auto if target.has_databases() => Ok(CollectionForm::Database),
            Self::Auto | Self::Split => Ok(CollectionForm::Split),
            Self::Database if target.has_databases() => Ok(CollectionForm::Database),
            Self::Database => Err(FormError {
                target: target.to_string(),
            }),
            Self::Embedded => Ok(CollectionForm::Embedded),
        }
    }
}

/// The target cannot read the database form.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the collection form database needs a target of 2.2.9 or later: {target} would see no collection"
)]
pub struct FormError {
    /// The requested target.
    pub target: String,
}

named! {
    /// Where segment logs are stored.
    #[derive(Default)]
    SegmentForm, "segment form", "auto or inline",
    {
        /// In separate keys, like 2.2, if their paths can be derived from ids.
        #[default]
        Auto "auto",
        /// In the segment record, like 2.1.
        Inline "inline",
    }
}

named! {
    /// What to do with a record that cannot be converted.
    #[derive(Default)]
    OnBrokenRecord, "policy for broken records", "fail or skip",
    {
        /// Reject the migration.
        #[default]
        Fail "fail",
        /// Skip the record; it stays in the backup.
        Skip "skip",
    }
}

named! {
    /// A task.
    #[derive(Default)]
    Task, "task", "migration or repair",
    {
        /// Migrate 2.1 metadata to 2.2.
        #[default]
        Migration "migration",
        /// Convert 2.2 metadata to the form of the target release, without leftovers of 2.1.
        Repair "repair",
    }
}

impl Task {
    /// Returns the command of the task.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::Migration => "migrate",
            Self::Repair => "repair",
        }
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
            .parse::<FormChoice>()
            .unwrap()
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
        assert!(resolve("database", "2.2.8").is_err());
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
