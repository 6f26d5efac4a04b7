//! The command line as a whole.

mod documented;

use super::*;

#[test]
fn the_command_line_is_consistent() {
    command().debug_assert();
    official_cli::command().debug_assert();
}

/// A heading of shared options must not cover the options that follow them.
#[test]
fn options_are_below_the_heading_of_their_command() {
    let command = command();
    for (name, id, heading) in [
        ("upgrade", "operation", None),
        ("upgrade", "rollback_on_failure", None),
        ("preflight", "no_job", None),
        ("rolling-update", "target_version", None),
        ("migrate", "in_flight", Some("Migration")),
        ("repair", "allow_ephemeral_backup", Some("Migration")),
    ] {
        let named = command.find_subcommand(name).unwrap();
        let mut all = named.get_arguments();
        let option = all.find(|one| one.get_id() == id).unwrap();
        assert_eq!(option.get_help_heading(), heading, "{name} {id}");
    }
}

#[test]
fn wrong_usage_is_a_message_without_a_pointer_to_help() {
    let error = command()
        .try_get_matches_from(["meta-migration", "plan", "--target-version", "two"])
        .unwrap_err();
    let message = wrong_usage(&error.render().to_string()).message;
    assert!(message.ends_with("such as 2.1.4"), "{message}");
}

fn check_numbers(command: &clap::Command, words: &[&str]) {
    let plain = [
        "expected a whole number from",
        "is not a duration: expected",
        "the limit is a year",
        "expected a size",
        "expected a user id",
    ];
    for option in command.get_arguments().filter(|it| options::is_number(it)) {
        let long = format!("--{}", option.get_long().unwrap());
        for wrong in [
            "-1",
            "-5s",
            "abc",
            "1.5x",
            "",
            "99999999999999999999x",
            "-0",
        ] {
            let call = [words, &[long.as_str(), wrong]].concat();
            let error = super::command().try_get_matches_from(call);
            let error = error.unwrap_err().to_string();
            let is_plain = plain.iter().any(|part| error.contains(part));
            assert!(is_plain, "{long} {wrong:?}: {error}");
        }
    }
    for inner in command.get_subcommands() {
        check_numbers(inner, &[words, &[inner.get_name()]].concat());
    }
}

#[test]
fn wrong_numbers_are_rejected_in_plain_words() {
    check_numbers(&command(), &["meta-migration"]);
    let zero = ["meta-migration", "migrate", "--in-flight", "0"];
    let error = command().try_get_matches_from(zero).unwrap_err();
    let message = wrong_usage(&error.render().to_string()).message;
    assert!(
        message.ends_with("expected a whole number from 1 to 1024"),
        "{message}"
    );
}

fn check_variables(command: &clap::Command) {
    for option in command.get_arguments() {
        let Some(found) = option.get_env() else {
            continue;
        };
        let name = match (option.get_id().as_str(), option.get_long().unwrap()) {
            ("format", _) => "FORMAT".to_owned(),
            ("tls_key", _) => "KEY".to_owned(),
            (_, long) => long.to_uppercase().replace('-', "_"),
        };
        assert_eq!(found.to_str(), Some(&*variable(&name)));
    }
    command.get_subcommands().for_each(check_variables);
}

#[test]
fn variables_are_named_after_their_options() {
    check_variables(&command());
    check_variables(&official_cli::command());
}

/// Returns the variables of a command's options.
fn variables(name: &str) -> Vec<String> {
    let command = command();
    let named = command.find_subcommand(name).unwrap();
    let all = named.get_arguments().filter_map(clap::Arg::get_env);
    let mut all: Vec<String> = all.map(|one| one.to_string_lossy().into_owned()).collect();
    all.sort();
    all
}

#[test]
fn commands_read_the_documented_variables() {
    let output = ["COLOR", "FORMAT", "LOG_FORMAT", "LOG_LEVEL", "NO_PROGRESS"].map(variable);
    let etcd = ["ENDPOINTS", "ROOT_PATH", "TIMEOUT", "TARGET_VERSION"].map(variable);
    for name in ["status", "plan", "migrate", "verify", "rollback", "restore"] {
        let found = variables(name);
        let missing = output.iter().chain(&etcd).find(|one| !found.contains(one));
        assert_eq!(missing, None, "{name}");
    }
    let image = [variable("TOOL_IMAGE")];
    let of_all = [&output[..], &[variable("YES")]].concat();
    let of_jobs = [&of_all[..5], &image, &of_all[5..]].concat();
    assert_eq!(variables("preflight"), of_jobs);
    let of_upgrade = [&of_all[..5], &[variable("REPORT")], &image, &of_all[5..]].concat();
    assert_eq!(variables("upgrade"), of_upgrade);
    assert_eq!(variables("rolling-update"), of_all);
    let page = include_str!("../../docs/usage.md");
    for text in [AFTER_HELP, page] {
        assert!(text.contains("META_MIGRATION_TOOL_IMAGE"), "{text}");
    }
}

fn variable(option: &str) -> String {
    format!("META_MIGRATION_{option}")
}
