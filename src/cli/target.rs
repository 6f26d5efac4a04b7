//! What a migration aims at: the target release, the form that follows from it, and the version gate.

use super::options::TransformOptions;
use super::output::exit::Exit;
use super::output::failure::Failure;
use crate::config::gate::{self, Purpose, Verdict};
use crate::config::{Config, ConfigError};
use milvus_meta::release::Release;
use milvus_meta::transform::{FormChoice, OnBrokenRecord, Options, Task};

/// What is to be made of the metadata.
pub(in crate::cli) enum Target {
    /// The 2.2 layout.
    Migrate(Options),
    /// Nothing: the target release reads the 2.1 layout.
    NothingToDo,
}

impl Target {
    /// Judges the versions and resolves the form of collections.
    pub(in crate::cli) fn of(config: &Config, asked: &TransformOptions) -> Result<Self, Failure> {
        let target = config.target_version.as_ref();
        if let Verdict::NothingToDo { reason } = judge(config, Purpose::Migrate)? {
            tracing::warn!("{reason}");
            return Ok(Self::NothingToDo);
        }
        let form = form(config, asked);
        let target = match (target, form) {
            (Some(target), _) => target.clone(),
            // The last release that writes this form itself.
            (None, FormChoice::Split | FormChoice::Embedded) => Release::LATEST_WITHOUT_DATABASES,
            (None, FormChoice::Database) => Release::LATEST_2_2,
            (None, FormChoice::Auto) => {
                return Err(ConfigError::MissingOption {
                    option: "--target-version",
                    purpose: "the form of collections depends on the release to migrate to",
                }
                .into());
            }
        };
        let form = form
            .resolve(&target)
            .map_err(|error| Failure::from_error(Exit::Usage, &error).unchanged())?;
        Ok(Self::Migrate(Options {
            task: Task::Migration,
            form,
            segment_form: asked
                .segment_form
                .or(config.drop_in.segment_form)
                .unwrap_or_default(),
            on_broken_record: policy(config, asked),
            schemas: None,
            target,
        }))
    }
}

/// How a migration was made, where the command line says it; `None` leaves it to the journal or the keys.
pub(in crate::cli) fn told(
    config: &Config,
    asked: &TransformOptions,
) -> Result<Option<Options>, Failure> {
    if form(config, asked) == FormChoice::Auto {
        return Ok(None);
    }
    match Target::of(config, asked)? {
        Target::Migrate(options) => Ok(Some(options)),
        Target::NothingToDo => Ok(None),
    }
}

/// Judges the versions; what the operator should know is logged.
pub(in crate::cli) fn judge(config: &Config, purpose: Purpose) -> Result<Verdict, Failure> {
    let versions = (
        config.source_version.as_ref(),
        config.target_version.as_ref(),
    );
    let verdict = gate::check(purpose, versions.0, versions.1).map_err(ConfigError::from)?;
    if let Verdict::Proceed { notices } = &verdict {
        for notice in notices {
            tracing::info!("{notice}");
        }
    }
    Ok(verdict)
}

fn form(config: &Config, asked: &TransformOptions) -> FormChoice {
    asked
        .collection_form
        .or(config.drop_in.collection_form)
        .unwrap_or_default()
}

fn policy(config: &Config, asked: &TransformOptions) -> OnBrokenRecord {
    asked
        .on_broken_record
        .or(config.drop_in.on_broken_record)
        .unwrap_or_default()
}
