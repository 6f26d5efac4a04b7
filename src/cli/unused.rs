//! Options that a command accepts and does not use.
//!
//! Commands share their options, and some have no effect with some commands or beside other options.
//! Given on the command line, such an option is an error: a weaker check must not pass for the one
//! that was asked for. From the environment, which serves all commands, it is ignored.

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::report::failure::Failure;

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
    let is_given = |id: &&str| {
        let known = given.try_contains_id(id).is_ok();
        known && given.value_source(id) == Some(ValueSource::CommandLine)
    };
    let found = |ids: &[&'static str]| ids.iter().copied().find(|id| is_given(id));
    let refused = |id: &str, why: &str| {
        let option = match (name, id) {
            ("inspect", "tls_key") => "tls-key".to_owned(),
            (_, "tls_key") => "key".to_owned(),
            _ => id.replace('_', "-"),
        };
        Err(Box::new(Failure::usage(format!(
            "--{option} has no effect here: {why}"
        ))))
    };
    if WITHOUT_BACKUP_FILE.contains(&name)
        && let Some(id) = found(&["backup_file"])
    {
        let why = match name {
            "status" => "status reads etcd and no backup; backup check FILE checks one",
            _ => "name the backup to read with --from FILE",
        };
        return refused(id, why);
    }
    let reads_no_file = match name {
        "plan" | "inspect" => !is_given(&"from"),
        "verify" => !is_given(&"from") && !given.contains_id("backup_file"),
        _ => false,
    };
    if reads_no_file && let Some(id) = found(&["skip_hash_check", "allow_partial"]) {
        return refused(id, "no backup file is read");
    }
    if is_given(&"from") {
        if let Some(id) = found(&CONNECTION) {
            return refused(id, "--from reads a file and connects to no etcd");
        }
        if name == "migrate"
            && let Some(id) = found(&MIGRATION)
        {
            return refused(
                id,
                "--from turns a file into another and writes nothing to etcd",
            );
        }
        if name == "migrate"
            && let Some(id) = found(&["backup_file"])
        {
            return refused(id, "--to names the file to write");
        }
        if name == "plan"
            && let Some(id) = found(&["ignore_sessions"])
        {
            return refused(id, "--from reads a file, and no session is in one");
        }
    }
    if is_given(&"no_backup")
        && let Some(id) = found(&["backup_file"])
    {
        return refused(id, "--no-backup makes no backup; leave out one of the two");
    }
    let is_official = given
        .try_get_one::<crate::backup::OutputFormat>("backup_format")
        .is_ok_and(|format| format == Some(&crate::backup::OutputFormat::Official));
    if is_official && let Some(id) = found(&["level"]) {
        return refused(id, "the official format is not compressed");
    }
    Ok(())
}
