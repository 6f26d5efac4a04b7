//! Input from the terminal.

use std::io::{self, IsTerminal as _};

use super::output::terminal::line;
use crate::config::{ConfigError, Password};

/// Whether the user can be asked at a terminal.
pub(in crate::cli) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for the password of an etcd user, without showing what is typed.
pub(in crate::cli) fn ask_password(user: &str) -> Result<Password, ConfigError> {
    let question = format!("Password of the etcd user {}: ", line(user));
    let answer = rpassword::prompt_password(question);
    answer.map(Password::new).map_err(ConfigError::AskPassword)
}
