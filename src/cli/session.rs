//! What every command that talks to etcd has: its configuration and its way of talking.

use indicatif::MultiProgress;

use super::Outcome;
use super::options::{EtcdOptions, OutputOptions};
use super::report::exit::Exit;
use super::report::failure::Failure;
use super::{logging, watch};
use crate::config::Config;

/// One run of a command.
pub(in crate::cli) struct Session {
    pub(in crate::cli) config: Config,
    pub(in crate::cli) output: OutputOptions,
    bars: Option<MultiProgress>,
}

impl Session {
    /// Starts logging and resolves the configuration.
    pub(in crate::cli) fn begin(
        etcd: &EtcdOptions,
        output: &OutputOptions,
    ) -> Result<Self, Failure> {
        let bars = watch::bars(output);
        logging::start(output, bars.as_ref());
        Ok(Self {
            config: etcd.resolve()?,
            output: output.clone(),
            bars,
        })
    }

    pub(in crate::cli) fn pending(&self) -> Outcome {
        Err(Failure::new(Exit::Failed, "the engine is not there yet").unchanged())
    }
}
