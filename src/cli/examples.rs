//! Examples of each command, for its help and its manual page.

/// A call, and what it does.
type Example = (&'static str, &'static str);

/// The examples of each command. A test parses all of them.
const EXAMPLES: &[(&str, &[Example])] = &[
    (
        "meta-migration",
        &[
            (
                "meta-migration plan --endpoints etcd:2379 --target-version 2.2.16",
                "Show what a migration would change",
            ),
            (
                "meta-migration migrate --endpoints etcd:2379 --target-version 2.2.16 --backup-file before-2.2.mmb",
                "Migrate, with a backup",
            ),
            (
                "meta-migration rollback --endpoints etcd:2379 --backup-file before-2.2.mmb",
                "Return to the 2.1 metadata",
            ),
        ],
    ),
    (
        "status",
        &[
            (
                "meta-migration status --endpoints etcd:2379",
                "Show layout, sessions, lock and quota",
            ),
            (
                "meta-migration status --root-path my-release -o json",
                "The same of another instance, for scripts",
            ),
        ],
    ),
    (
        "plan",
        &[
            (
                "meta-migration plan --endpoints etcd:2379 --target-version 2.2.16",
                "Plan while Milvus runs or is stopped",
            ),
            (
                "meta-migration plan --from before-2.2.mmb --target-version 2.2.16 -v",
                "Plan the migration of a backup, with the keys of each family",
            ),
        ],
    ),
    (
        "migrate",
        &[
            (
                "meta-migration migrate --endpoints etcd:2379 --target-version 2.2.16 --backup-file before-2.2.mmb",
                "Show the plan, ask, and migrate",
            ),
            (
                "meta-migration migrate --target-version 2.2.16 --wait-sessions 90s --yes",
                "Without questions, right after Milvus was stopped",
            ),
            (
                "meta-migration migrate --from before-2.2.mmb --to after-2.2.mmb --target-version 2.2.16",
                "Turn a 2.1 backup into a 2.2 backup, without etcd",
            ),
        ],
    ),
    (
        "verify",
        &[
            (
                "meta-migration verify --target-version 2.2.16",
                "Check the 2.2 metadata",
            ),
            (
                "meta-migration verify --backup before-2.2.mmb --target-version 2.2.16",
                "Compare it with the result of migrating the backup",
            ),
        ],
    ),
    (
        "rollback",
        &[
            (
                "meta-migration rollback --dry-run",
                "Show the diff, and whether anything would be lost",
            ),
            (
                "meta-migration rollback --backup-file before-2.2.mmb",
                "Roll back to this backup",
            ),
        ],
    ),
    (
        "restore",
        &[
            (
                "meta-migration restore --backup-file before-2.2.mmb --endpoints etcd:2379",
                "Restore into the instance that the backup is of",
            ),
            (
                "meta-migration restore --backup-file before-2.2.mmb --to-root by-dev2 --dry-run",
                "Show what a restore below another root path would change",
            ),
        ],
    ),
    (
        "repair",
        &[
            (
                "meta-migration repair --target-version 2.3.22 --dry-run",
                "Show what would be repaired",
            ),
            (
                "meta-migration repair --target-version 2.3.22 --backup-file before-repair.mmb",
                "Repair, with a backup",
            ),
        ],
    ),
    (
        "backup",
        &[
            (
                "meta-migration backup --endpoints etcd:2379 --backup-file milvus.mmb",
                "Save the metadata to a file",
            ),
            (
                "meta-migration backup --backup-file - > milvus.mmb",
                "Save it to standard output",
            ),
            (
                "meta-migration backup list /backups",
                "List the backups in a folder",
            ),
        ],
    ),
    (
        "list",
        &[
            (
                "meta-migration backup list",
                "List the backups in the working directory",
            ),
            (
                "meta-migration backup list /backups -o json",
                "List a folder's, for scripts",
            ),
        ],
    ),
    (
        "check",
        &[(
            "meta-migration backup check before-2.2.mmb",
            "Read the file and check all of it",
        )],
    ),
    (
        "prune",
        &[(
            "meta-migration backup prune /backups --keep 5",
            "Keep the five newest of each instance",
        )],
    ),
    (
        "diff",
        &[(
            "meta-migration backup diff monday.mmb tuesday.mmb",
            "Show what changed between two backups",
        )],
    ),
    (
        "history",
        &[(
            "meta-migration history --endpoints etcd:2379",
            "List the recorded runs",
        )],
    ),
    (
        "show",
        &[
            (
                "meta-migration show collections --endpoints etcd:2379",
                "List the collections",
            ),
            (
                "meta-migration show collection articles --from before-2.2.mmb",
                "Show one in depth, from a backup",
            ),
            (
                "meta-migration show segments articles -o json",
                "List the segments of one, for scripts",
            ),
        ],
    ),
    (
        "explain",
        &[
            (
                "meta-migration explain index-not-migrated",
                "Explain the code of a finding",
            ),
            ("meta-migration explain 4", "Explain an exit code"),
            (
                "meta-migration explain by-dev/meta/segment-index/1/2/3/4",
                "Explain a key",
            ),
        ],
    ),
    (
        "inspect",
        &[
            (
                "meta-migration inspect --family root-coord/collection",
                "Decode the collections",
            ),
            (
                "meta-migration inspect --from before-2.2.mmb --summary",
                "Count the keys of a backup",
            ),
        ],
    ),
    (
        "upgrade",
        &[
            (
                "meta-migration upgrade -i my-release -n milvus -s 2.1.4 -t 2.2.16 --dry-run",
                "Show the steps and the manifests",
            ),
            (
                "meta-migration upgrade -i my-release -n milvus -s 2.1.4 -t 2.2.16 --rollback-on-failure",
                "Upgrade, and roll back if the new release does not become healthy",
            ),
            (
                "meta-migration upgrade -i my-release -n milvus -o status",
                "Show how far an upgrade is",
            ),
        ],
    ),
    (
        "preflight",
        &[(
            "meta-migration preflight -i my-release -n milvus -s 2.1.4 -t 2.2.16",
            "Check the instance before an upgrade",
        )],
    ),
    (
        "rolling-update",
        &[(
            "meta-migration rolling-update -i my-release -n milvus -o update -t 2.2.16 -w milvusdb/milvus:v2.2.16",
            "Update to another 2.2 release",
        )],
    ),
    (
        "completions",
        &[(
            "meta-migration completions bash > /etc/bash_completion.d/meta-migration",
            "Install completions for bash",
        )],
    ),
    (
        "man",
        &[(
            "meta-migration man migrate | man -l -",
            "Read the page of a command",
        )],
    ),
];

/// The examples of a command.
pub(in crate::cli) fn of(command: &str) -> &'static [Example] {
    let mut all = EXAMPLES.iter();
    all.find(|(name, _)| *name == command)
        .map_or(&[], |(_, examples)| examples)
}

/// The examples at the end of the help.
pub(in crate::cli) fn help(command: &str) -> Option<String> {
    let examples = of(command);
    let lines = examples
        .iter()
        .map(|(line, what)| format!("  {what}:\n    $ {line}\n"));
    (!examples.is_empty()).then(|| format!("Examples:\n{}", lines.collect::<String>()))
}

#[cfg(test)]
mod tests {
    use crate::cli::command;

    fn check(command_names: &clap::Command) {
        for (line, _) in super::of(command_names.get_name()) {
            let call = line.split(['>', '|']).next().unwrap_or(line);
            let words = call.split_whitespace();
            let parsed = command().try_get_matches_from(words);
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
        }
        command_names.get_subcommands().for_each(check);
    }

    #[test]
    fn every_example_is_a_valid_call() {
        check(&command());
    }

    #[test]
    fn every_command_has_an_example() {
        let program = command();
        for command in program
            .get_subcommands()
            .filter(|it| it.get_name() != "version")
        {
            let name = command.get_name();
            assert!(!super::of(name).is_empty(), "{name}");
        }
    }
}
