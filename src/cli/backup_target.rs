//! Where a command writes its backup, and the warning about a place that is lost with the container.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;

use super::context::CommandContext;
use super::output::failure::Failure;
use meta_backup::{Ephemeral, STDOUT, WriteOptions, lost_with_container};
use meta_migrate::BackupTarget;
use meta_report::shell::option_text;

/// Options for the place of a backup.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(in crate::cli) struct TargetOptions {
    /// Write the backup even where it is lost with the container that this program runs in
    #[arg(long, env)]
    allow_ephemeral_backup: bool,
}

impl TargetOptions {
    /// Returns the file for a backup that is read again later. Without a path, it is named after the root path, in the
    /// working directory.
    pub(in crate::cli) fn file(
        self,
        context: &CommandContext,
        path: Option<&Path>,
    ) -> Result<BackupTarget, Failure> {
        if path == Some(Path::new(STDOUT)) {
            return Err(Failure::usage(
                "only the command backup writes to standard output: a migration needs a file that rollback \
                 can read",
            ));
        }
        reject_folder(path)?;
        Ok(self.target(context, path))
    }

    /// Returns the target of the command `backup`: a file, standard output, or a named pipe.
    pub(in crate::cli) fn file_or_stream(
        self,
        context: &CommandContext,
        path: Option<&Path>,
    ) -> Result<BackupTarget, Failure> {
        if path == Some(Path::new(STDOUT)) && io::stdout().is_terminal() {
            return Err(Failure::usage(
                "standard output is a terminal: redirect it to a file or a program, or name a file with \
                 --backup-file",
            ));
        }
        reject_folder(path)?;
        Ok(BackupTarget {
            stream: Some(open_stream),
            ..self.target(context, path)
        })
    }

    fn target(self, context: &CommandContext, path: Option<&Path>) -> BackupTarget {
        let config = &context.config;
        let path = path.unwrap_or(Path::new("."));
        let absolute = match path == Path::new(STDOUT) {
            true => path.to_owned(),
            false => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
        };
        BackupTarget {
            path: absolute,
            options: WriteOptions::default(),
            source_version: config.source_version.as_ref().map(ToString::to_string),
            allow_ephemeral: self.allow_ephemeral_backup
                || config.drop_in.allow_ephemeral_backup == Some(true),
            stream: None,
        }
    }
}

fn open_stream(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    if path == Path::new(STDOUT) {
        return Ok(Box::new(io::stdout()));
    }
    let pipe = OpenOptions::new().write(true).open(path)?;
    Ok(Box::new(pipe))
}

fn reject_folder(path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else {
        return Ok(());
    };
    let is_folder = path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/");
    if !is_folder {
        return Ok(());
    }
    let name = path.display().to_string();
    let file = path.join("milvus.mmb").display().to_string();
    Err(Failure::usage(format!(
        "cannot write a backup to {name}: it is a directory"
    ))
    .hint(format!(
        "{}   # a file in it",
        option_text("--backup-file", &file).trim_start()
    )))
}

/// Warns about a backup that is lost with the container or pod.
pub(in crate::cli) fn warn_if_ephemeral(path: &Path) {
    let Some(why) = lost_with_container(path) else {
        return;
    };
    let owner = match why {
        Ephemeral::Layer | Ephemeral::Memory => "container",
        Ephemeral::PodVolume => "pod",
    };
    tracing::warn!(
        "the backup {} is lost with this {owner}: copy it out before the {owner} is removed (docker cp or \
         kubectl cp)",
        path.display()
    );
}
