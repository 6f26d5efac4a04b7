//! `man`.

use std::io;

use super::output::exit::Exit;
use super::output::failure::Failure;
use super::{Outcome, output};

/// Print the manual page of the program or of one command
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The command; without one, the page of the whole program
    command: Option<String>,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    let mut program = super::command();
    program.build();
    let page = match &args.command {
        None => program,
        Some(name) => match program.find_subcommand(name) {
            Some(command) => command.clone(),
            None => return Err(Failure::usage(format!("there is no command {name:?}"))),
        },
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut text)
        .map_err(|error: io::Error| Failure::caused("cannot write the manual page", &error))?;
    output::write(&text)?;
    Ok(Exit::Done)
}
