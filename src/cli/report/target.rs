//! The file of a report, which replaces only an older report.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;

use super::page::{self, MARK, Page};
use crate::cli::output::exit::Exit;
use crate::cli::output::failure::Failure;

/// The file of a report.
#[derive(Debug)]
pub(in crate::cli) struct Target(PathBuf);

impl Target {
    /// Returns the target at a path.
    ///
    /// # Errors
    /// A usage [`Failure`] if the file cannot be written, before anything else is done.
    pub(super) fn new(path: PathBuf) -> Result<Self, Failure> {
        let target = Self(path);
        match target.may_be_written() {
            Ok(()) => Ok(target),
            Err(error) => Err(Failure {
                exit: Exit::Usage,
                ..target.failure(&error).unchanged()
            }),
        }
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure::caused(
            &format!("cannot write the report {}", self.0.display()),
            error,
        )
    }

    /// Creates and removes a file in the folder. Fails if the report would replace a file that is not a report.
    fn may_be_written(&self) -> io::Result<()> {
        self.check_replaced()?;
        let (path, _) = self.partial()?;
        fs::remove_file(path)
    }

    fn check_replaced(&self) -> io::Result<()> {
        let mut start = Vec::new();
        match File::open(&self.0) {
            Ok(file) => file.take(MARK.len() as u64).read_to_end(&mut start)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if start == MARK.as_bytes() {
            return Ok(());
        }
        let why = "the file exists and is not a report of meta-migration";
        Err(io::Error::new(io::ErrorKind::AlreadyExists, why))
    }

    fn partial(&self) -> io::Result<(PathBuf, File)> {
        let name = self.0.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        let name = name.to_string_lossy();
        let path = self
            .0
            .with_file_name(format!(".{name}.partial-{}", std::process::id()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        Ok((path, file))
    }

    /// Writes the page to a temporary file in the same folder and renames it.
    pub(super) fn write(&self, page: &Page) -> Result<(), Failure> {
        let work = || {
            self.check_replaced()?;
            let (path, mut file) = self.partial()?;
            let written = file
                .write_all(page::html(page).as_bytes())
                .and_then(|()| file.sync_all())
                .and_then(|()| fs::rename(&path, &self.0));
            if written.is_err() {
                // The first failure is the one to report.
                let _ = fs::remove_file(&path);
            }
            written
        };
        work().map_err(|error| self.failure(&error))
    }

    pub(super) fn write_or_warn(&self, page: &Page) {
        if let Err(failure) = self.write(page) {
            tracing::warn!("{}: {}", failure.message, failure.causes.join(": "));
        }
    }
}
