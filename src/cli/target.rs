//! The target of a migration: the release, and the form of collections for it.

use super::context::CommandContext;
use super::options::TransformOptions;
use super::output::exit::Exit;
use super::output::failure::Failure;
use crate::config::{Config, ConfigError, version_check};
use milvus_meta::release::Release;
use milvus_meta::transform::{FormChoice, OnBrokenRecord, Options, Task};

/// The result that a migration must produce.
pub(in crate::cli) enum Target {
    /// Metadata in the 2.2 layout.
    Migrate(Options),
    /// No changes: the target release reads the 2.1 layout.
    NothingToDo,
}

impl Target {
    /// Checks the versions and resolves the form of collections.
    pub(in crate::cli) fn of(
        context: &CommandContext,
        given: &TransformOptions,
    ) -> Result<Self, Failure> {
        let config = &context.config;
        let target = config.target_version.as_ref();
        check_versions(config)?;
        match target {
            Some(target) if !target.has_2_2_layout() => {
                tracing::warn!(
                    "the target version {target} reads the 2.1 layout: no need to migrate"
                );
                return Ok(Self::NothingToDo);
            }
            Some(target) if target.is_beyond_2_2() => tracing::info!(
                "the target version {target} is beyond 2.2: it reads the 2.2 layout, which is what is written"
            ),
            Some(_) | None => {}
        }
        let form = form(config, given);
        let target = match (target, form) {
            (Some(target), _) => target.clone(),
            // The last release that writes this form.
            (None, FormChoice::Split | FormChoice::Embedded) => Release::LATEST_WITHOUT_DATABASES,
            (None, FormChoice::Database) => Release::LATEST_2_2,
            (None, FormChoice::Auto) => return Err(context.next_steps.missing_target()),
        };
        let form = form
            .resolve(&target)
            .map_err(|error| Failure::from_error(Exit::Usage, &error).unchanged())?;
        Ok(Self::Migrate(Options {
            task: Task::Migration,
            form,
            segment_form: given
                .segment_form
                .or(config.drop_in.segment_form)
                .unwrap_or_default(),
            on_broken_record: policy(config, given),
            schemas: None,
            target,
        }))
    }
}

/// Returns the options of a past migration that the command line gives. Without them, the journal and the keys decide.
pub(in crate::cli) fn past_options(
    context: &CommandContext,
    given: &TransformOptions,
) -> Result<Option<Options>, Failure> {
    if form(&context.config, given) == FormChoice::Auto {
        return Ok(None);
    }
    match Target::of(context, given)? {
        Target::Migrate(options) => Ok(Some(options)),
        Target::NothingToDo => Ok(None),
    }
}

/// Fails if the given versions are not a migration from 2.1 to 2.2.
pub(in crate::cli) fn check_versions(config: &Config) -> Result<(), ConfigError> {
    let (source, target) = (&config.source_version, &config.target_version);
    Ok(version_check::check(source.as_ref(), target.as_ref())?)
}

/// Fails if the target reads the 2.1 layout, for a command that works on the 2.2 layout.
pub(in crate::cli) fn require_2_2_layout(
    target: Option<&Release>,
    command: &str,
) -> Result<(), Failure> {
    match target.filter(|target| !target.has_2_2_layout()) {
        None => Ok(()),
        Some(target) => Err(Failure::usage(format!(
            "{target} reads the 2.1 layout, and {command} the 2.2 layout: --target-version is the release of 2.2 \
             or later that will read the metadata"
        ))),
    }
}

fn form(config: &Config, given: &TransformOptions) -> FormChoice {
    given
        .collection_form
        .or(config.drop_in.collection_form)
        .unwrap_or_default()
}

fn policy(config: &Config, given: &TransformOptions) -> OnBrokenRecord {
    given
        .on_broken_record
        .or(config.drop_in.on_broken_record)
        .unwrap_or_default()
}
