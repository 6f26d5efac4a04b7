//! Options that a command accepts but does not use.
//!
//! Commands share groups of options, and some options have no effect with some commands or together with other options.
//! On the command line such an option is an error: the user would rely on something that does not happen. From the
//! environment, which serves all commands, it is ignored.

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::output::failure::Failure;
use meta_backup::OutputFormat;

/// Whether a command uses an option at all.
pub(in crate::cli) fn uses(command: &str, id: &str) -> bool {
    never(command, id).is_none()
}

/// Whether an option has an effect together with the other arguments of a command.
pub(in crate::cli) fn has_effect(command: &str, matches: &ArgMatches, id: &str) -> bool {
    uses(command, id) && Given(matches).without_effect(command, id).is_none()
}

/// Returns the name and the arguments of the innermost subcommand.
pub(in crate::cli) fn innermost(matches: &ArgMatches) -> (&str, &ArgMatches) {
    let mut found = ("", matches);
    while let Some(inner) = found.1.subcommand() {
        found = inner;
    }
    found
}

/// Rejects the first option on the command line that has no effect.
pub(in crate::cli) fn reject(matches: &ArgMatches) -> Result<(), Box<Failure>> {
    let (command, matches) = innermost(matches);
    let given = Given(matches);
    let ids = matches.ids().map(clap::Id::as_str);
    let mut ids = ids.filter(|id| given.has(id));
    let found = ids.find_map(|id| {
        let why = never(command, id).or_else(|| given.without_effect(command, id))?;
        Some((id, why))
    });
    let Some((id, why)) = found else {
        return Ok(());
    };
    let option = match (command, id) {
        (_, "approved_plan") => "plan".to_owned(),
        ("inspect", "tls_key") => "tls-key".to_owned(),
        (_, "tls_key") => "key".to_owned(),
        _ => id.replace('_', "-"),
    };
    let message = format!("--{option} has no effect here: {why}");
    Err(Box::new(Failure::usage(message)))
}

/// Returns why a command never uses an option.
fn never(command: &str, id: &str) -> Option<&'static str> {
    let asks = matches!(
        command,
        "migrate" | "repair" | "rollback" | "restore" | "prune" | "upgrade" | "rolling-update"
    );
    let is_version = matches!(id, "source_version" | "target_version");
    Some(match (command, id) {
        (_, "yes") if !asks => "this command asks nothing",
        ("history", "backup_file") => "history reads etcd and no backup",
        ("status", "backup_file") => {
            "status reads etcd and no backup; backup check FILE checks one"
        }
        ("plan" | "inspect" | "show" | "explain", "backup_file") => {
            "name the backup to read with --from FILE"
        }
        ("check" | "diff", "backup_file") => "name the file without an option",
        ("check", _) if is_version || is_connection(id) => "only files are read",
        ("diff", _) if is_version => "keys are compared, whatever release wrote them",
        ("history", _) if is_version => "history reports what is recorded in etcd",
        ("status", _) if is_version => "status reports what is in etcd, whatever release wrote it",
        ("inspect", _) if is_version => {
            "entries are shown as they are, whatever release wrote them"
        }
        ("explain", _) if is_version => "keys and codes mean the same for every release",
        ("restore", _) if is_version => {
            "restore writes what the backup holds, whatever release wrote it"
        }
        ("show", "source_version") => "objects are shown as they are, whatever release wrote them",
        ("repair", "source_version") => {
            "the metadata is repaired as it is found, whatever release wrote it"
        }
        ("verify", "source_version") => "the metadata is checked for --target-version",
        _ => return None,
    })
}

/// Whether the called command may write to etcd, if only its lock, or to objects of Kubernetes.
pub(in crate::cli) fn may_write(matches: &ArgMatches) -> bool {
    let (command, matches) = innermost(matches);
    match command {
        "migrate" => !Given(matches).has("from"),
        "backup" | "repair" | "rollback" | "restore" | "upgrade" | "rolling-update" => true,
        _ => false,
    }
}

/// Whether an option says how to connect to etcd.
fn is_connection(id: &str) -> bool {
    matches!(
        id,
        "endpoints"
            | "user"
            | "password_file"
            | "cacert"
            | "cert"
            | "tls_key"
            | "tls_server_name"
            | "timeout"
    )
}

/// Whether an option is for a migration in etcd, and not for one from file to file.
fn is_for_etcd(id: &str) -> bool {
    matches!(
        id,
        "report"
            | "approved_plan"
            | "yes"
            | "allow_empty"
            | "no_backup"
            | "max_txn_ops"
            | "in_flight"
            | "compact"
            | "wait_sessions"
            | "wait_lock"
    )
}

/// The arguments given to a command.
struct Given<'m>(&'m ArgMatches);

impl Given<'_> {
    /// Returns why an option has no effect together with the others, or without one.
    fn without_effect(&self, command: &str, id: &str) -> Option<&'static str> {
        let is_dry_run = self.is_set("dry_run");
        let has_from = self.has("from");
        let reads_backup = match command {
            "plan" | "inspect" | "show" | "explain" | "migrate" | "repair" => has_from,
            "verify" => has_from || self.0.contains_id("backup_file"),
            _ => true,
        };
        // These commands read the file of --from in addition to etcd, or have no options of etcd.
        let reads_file = has_from && !matches!(command, "repair" | "check" | "diff" | "list");
        Some(match (command, id) {
            ("rollback" | "restore" | "repair", "yes" | "wait_sessions" | "wait_lock")
                if is_dry_run =>
            {
                "a dry run writes nothing, so it neither asks nor waits"
            }
            ("repair", "approved_plan" | "report") if is_dry_run => "a dry run carries out no plan",
            ("upgrade", "report") if is_dry_run => {
                "a dry run prints manifests and upgrades nothing"
            }
            ("prune", "yes") if is_dry_run => "a dry run deletes nothing, so it does not ask",
            _ if reads_file && is_connection(id) => "--from reads a file and connects to no etcd",
            ("migrate", _) if reads_file && is_for_etcd(id) => {
                "--from turns a file into another and writes nothing to etcd"
            }
            ("migrate", "backup_file") if reads_file => "--to names the file to write",
            (_, "allow_empty") if reads_file => {
                "--from reads a file, which is never empty by mistake"
            }
            ("plan", "ignore_sessions") if reads_file => {
                "--from reads a file, and a file holds no sessions"
            }
            (_, "skip_hash_check" | "allow_partial") if !reads_backup => "no backup file is read",
            (_, "backup_file") if self.has("no_backup") => {
                "--no-backup writes no backup; leave out one of the two"
            }
            (_, "level") if self.is_official() => "the official format is not compressed",
            _ => return None,
        })
    }

    fn is_official(&self) -> bool {
        let format = self.0.try_get_one::<OutputFormat>("backup_format");
        format.is_ok_and(|format| format == Some(&OutputFormat::Official))
    }

    /// Whether a switch is on, from the command line or the environment.
    fn is_set(&self, id: &str) -> bool {
        let value = self.0.try_get_one::<bool>(id);
        value.is_ok_and(|on| on == Some(&true))
    }

    /// Whether an option is given on the command line.
    fn has(&self, id: &str) -> bool {
        let is_known = self.0.try_contains_id(id).is_ok();
        is_known && self.0.value_source(id) == Some(ValueSource::CommandLine)
    }
}
