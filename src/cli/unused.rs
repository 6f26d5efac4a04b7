//! Options that a command accepts and does not use.
//!
//! Commands share their options, and some have no effect with some commands or beside other options.
//! Given on the command line, such an option is an error: a weaker check must not pass for the one
//! that was asked for. From the environment, which serves all commands, it is ignored.

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::output::failure::Failure;
use meta_backup::OutputFormat;

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
const MIGRATION: [&str; 10] = [
    "report",
    "approved_plan",
    "yes",
    "allow_empty",
    "no_backup",
    "max_txn_ops",
    "in_flight",
    "compact",
    "wait_sessions",
    "wait_lock",
];

/// The releases before and after.
const VERSIONS: [&str; 2] = ["source_version", "target_version"];

/// Commands that ask before they write.
const ASKING: [&str; 7] = [
    "migrate",
    "repair",
    "rollback",
    "restore",
    "prune",
    "upgrade",
    "rolling-update",
];

/// Options that a command never uses, and why.
const NEVER_USED: [(&str, &[&str], &str); 13] = [
    (
        "history",
        &VERSIONS,
        "history reports what is recorded in etcd",
    ),
    (
        "repair",
        &["source_version"],
        "the metadata is repaired as it is found, whatever release wrote it",
    ),
    (
        "status",
        &VERSIONS,
        "status reports what is in etcd, whatever release wrote it",
    ),
    (
        "inspect",
        &VERSIONS,
        "entries are shown as they are, whatever release wrote them",
    ),
    (
        "show",
        &["source_version"],
        "objects are shown as they are, whatever release wrote them",
    ),
    (
        "explain",
        &VERSIONS,
        "keys and codes mean the same for every release",
    ),
    (
        "restore",
        &VERSIONS,
        "restore writes what the backup holds, whatever release wrote it",
    ),
    (
        "verify",
        &["source_version"],
        "the metadata is checked for --target-version",
    ),
    ("check", &["backup_file"], NAMED_DIRECTLY),
    ("diff", &["backup_file"], NAMED_DIRECTLY),
    ("check", &VERSIONS, READS_FILES),
    ("check", &CONNECTION, READS_FILES),
    (
        "diff",
        &VERSIONS,
        "keys are compared, whatever release wrote them",
    ),
];

const READS_FILES: &str = "only files are read";
const NAMED_DIRECTLY: &str = "name the file without an option";

/// Commands that neither write nor read a backup named with `--backup-file`.
const WITHOUT_BACKUP_FILE: [&str; 6] = ["status", "plan", "inspect", "history", "show", "explain"];

/// Whether a command uses an option at all.
pub(in crate::cli) fn uses(command: &str, id: &str) -> bool {
    let mut never = NEVER_USED.iter().filter(|(name, ..)| *name == command);
    let is_unused = match id {
        "backup_file" => WITHOUT_BACKUP_FILE.contains(&command),
        "yes" => !ASKING.contains(&command),
        _ => false,
    };
    !is_unused && !never.any(|(_, ids, _)| ids.contains(&id))
}

/// Refuses the first option that has no effect.
pub(in crate::cli) fn refuse(matches: &ArgMatches) -> Result<(), Box<Failure>> {
    let Some((mut name, mut given)) = matches.subcommand() else {
        return Ok(());
    };
    while let Some((inner, its)) = given.subcommand() {
        (name, given) = (inner, its);
    }
    let Some((id, why)) = Given(given).without_effect(name) else {
        return Ok(());
    };
    let option = match (name, id) {
        (_, "approved_plan") => "plan".to_owned(),
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
                "history" => "history reads etcd and no backup",
                "status" => "status reads etcd and no backup; backup check FILE checks one",
                _ => "name the backup to read with --from FILE",
            };
            if let Some(id) = self.first(&["backup_file"]) {
                return Some((id, why));
            }
        }
        if !ASKING.contains(&name) && self.has("yes") {
            return Some(("yes", "this command asks nothing"));
        }
        let mut never = NEVER_USED.iter().filter(|(command, ..)| *command == name);
        if let Some(found) = never.find_map(|(_, ids, why)| Some((self.first(ids)?, *why))) {
            return Some(found);
        }
        if matches!(name, "rollback" | "restore" | "repair")
            && self.is_set("dry_run")
            && let Some(id) = self.first(&["yes", "wait_sessions", "wait_lock"])
        {
            return Some((id, "a dry run writes nothing, so it neither asks nor waits"));
        }
        if name == "repair"
            && self.is_set("dry_run")
            && let Some(id) = self.first(&["approved_plan", "report"])
        {
            return Some((id, "a dry run carries out no plan"));
        }
        if name == "upgrade" && self.is_set("dry_run") && self.has("report") {
            return Some(("report", "a dry run prints manifests and upgrades nothing"));
        }
        if name == "prune" && self.is_set("dry_run") && self.has("yes") {
            return Some(("yes", "a dry run deletes nothing, so it does not ask"));
        }
        if self.has("from") && !matches!(name, "check" | "diff") {
            return self.beside_from(name);
        }
        let reads_no_file = match name {
            "plan" | "inspect" | "show" | "explain" | "migrate" => true,
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
        let rules: [(&str, &[&'static str], &'static str); 5] = [
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
                name,
                &["allow_empty"],
                "--from reads a file, which is never empty by mistake",
            ),
            (
                "plan",
                &["ignore_sessions"],
                "--from reads a file, and a file holds no sessions",
            ),
        ];
        let mut rules = rules.iter().filter(|(command, ..)| *command == name);
        rules.find_map(|(_, ids, why)| Some((self.first(ids)?, *why)))
    }

    /// The first of these options given on the command line.
    fn first(&self, ids: &[&'static str]) -> Option<&'static str> {
        ids.iter().copied().find(|id| self.has(id))
    }

    /// Whether a switch is on, from wherever.
    fn is_set(&self, id: &str) -> bool {
        self.0
            .try_get_one::<bool>(id)
            .is_ok_and(|on| on == Some(&true))
    }

    /// Whether an option is given on the command line.
    fn has(&self, id: &str) -> bool {
        let is_known = self.0.try_contains_id(id).is_ok();
        is_known && self.0.value_source(id) == Some(ValueSource::CommandLine)
    }
}
