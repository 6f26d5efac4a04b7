//! Options that a command accepts and does not use.
//!
//! Commands share their options, and some have no effect with some commands or beside other options.
//! Given on the command line, such an option is an error: a weaker check must not pass for the one
//! that was asked for. From the environment, which serves all commands, it is ignored.

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::report::failure::Failure;
use crate::backup::OutputFormat;

/// How etcd is reached: not used by what reads a file.
const CONNECTION: [&str; 8] = [
    "endpoints",
    "user",
    "password_file",
    "cacert",
    "cert",
    "tls_key",
    "tls_server_name",
    "timeout",
];

/// What tunes a migration in etcd: not used by one from file to file.
const MIGRATION: [&str; 6] = [
    "no_backup",
    "max_txn_ops",
    "in_flight",
    "compact",
    "wait_sessions",
    "wait_lock",
];

/// Commands that neither write nor read a backup named with `--backup-file`.
pub(in crate::cli) const WITHOUT_BACKUP_FILE: [&str; 3] = ["status", "plan", "inspect"];

/// Refuses the first option that has no effect.
pub(in crate::cli) fn refuse(matches: &ArgMatches) -> Result<(), Box<Failure>> {
    let Some((name, given)) = matches.subcommand() else {
        return Ok(());
    };
    let Some((id, why)) = Given(given).without_effect(name) else {
        return Ok(());
    };
    let option = match (name, id) {
        ("inspect", "tls_key") => "tls-key".to_owned(),
        (_, "tls_key") => "key".to_owned(),
        _ => id.replace('_', "-"),
    };
    Err(Box::new(Failure::usage(format!(
        "--{option} has no effect here: {why}"
    ))))
}

/// What was given to a command.
struct Given<'m>(&'m ArgMatches);

impl Given<'_> {
    /// The first option without effect, and why it has none.
    fn without_effect(&self, name: &str) -> Option<(&'static str, &'static str)> {
        let because = |why: &'static str| move |id: &'static str| (id, why);
        if WITHOUT_BACKUP_FILE.contains(&name) {
            let why = match name {
                "status" => "status reads etcd and no backup; backup check FILE checks one",
                _ => "name the backup to read with --from FILE",
            };
            if let Some(id) = self.first(&["backup_file"]) {
                return Some((id, why));
            }
        }
        if self.has("from") {
            return self.beside_from(name);
        }
        let reads_no_file = match name {
            "plan" | "inspect" => true,
            "verify" => !self.0.contains_id("backup_file"),
            _ => false,
        };
        if reads_no_file && let Some(id) = self.first(&["skip_hash_check", "allow_partial"]) {
            return Some((id, "no backup file is read"));
        }
        if self.has("no_backup") {
            let backup = self.first(&["backup_file"]);
            return backup.map(because(
                "--no-backup writes no backup; leave out one of the two",
            ));
        }
        let is_official = self
            .0
            .try_get_one::<OutputFormat>("backup_format")
            .is_ok_and(|format| format == Some(&OutputFormat::Official));
        let level = self.first(&["level"]).filter(|_| is_official);
        level.map(because("the official format is not compressed"))
    }

    /// The same where a file is read instead of etcd.
    fn beside_from(&self, name: &str) -> Option<(&'static str, &'static str)> {
        let rules: [(&str, &[&'static str], &'static str); 4] = [
            (
                name,
                &CONNECTION,
                "--from reads a file and connects to no etcd",
            ),
            (
                "migrate",
                &MIGRATION,
                "--from turns a file into another and writes nothing to etcd",
            ),
            ("migrate", &["backup_file"], "--to names the file to write"),
            (
                "plan",
                &["ignore_sessions"],
                "--from reads a file, and a file holds no sessions",
            ),
        ];
        let mut rules = rules.iter().filter(|(command, ..)| *command == name);
        rules.find_map(|(_, ids, why)| Some((self.first(ids)?, *why)))
    }

    /// The first of these options that stands on the command line.
    fn first(&self, ids: &[&'static str]) -> Option<&'static str> {
        ids.iter().copied().find(|id| self.has(id))
    }

    /// Whether an option stands on the command line.
    fn has(&self, id: &str) -> bool {
        let is_known = self.0.try_contains_id(id).is_ok();
        is_known && self.0.value_source(id) == Some(ValueSource::CommandLine)
    }
}
