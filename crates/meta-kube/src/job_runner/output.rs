//! Reads the output of a Job's program: its report, and why it failed.

use serde::de::DeserializeOwned;

use milvus_meta::finding::Severity;
use milvus_meta::transform::PlanReport;

/// The program's error message, from its log or its termination message.
pub(super) fn final_error(text: &str) -> Option<String> {
    let line = text.lines().rev().find(|line| {
        let plain = line.trim_start();
        plain.starts_with("error:") || plain.contains("\"level\":\"ERROR\"")
    })?;
    let parsed: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let message = parsed.and_then(|value| Some(value["message"].as_str()?.to_owned()));
    Some(message.unwrap_or_else(|| line.trim_start().trim_start_matches("error: ").to_owned()))
}

/// Whether a line of a Job's log is for users. The report is for this program, and commands run
/// only in the Job's container.
pub(super) fn is_for_users(line: &str) -> bool {
    !line.starts_with("{\"") && !line.trim_start().starts_with("next: ")
}

/// Suggests the missing option if etcd requires a user, or TLS.
pub(super) fn connection_hint(text: &str) -> Option<&'static str> {
    let lower = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&[
        "user name is empty",
        "authentication failed",
        "invalid auth token",
    ]) {
        Some("; --etcd-secret names a Secret with user and password")
    } else if says(&[
        "certificate",
        "tls",
        "corrupt message",
        "http/0.9",
        "client sent an http request",
    ]) {
        Some("; --etcd-tls-secret names a Secret with etcd's certificates")
    } else {
        None
    }
}

/// Whether the program reported in its failure that it could not reach etcd.
pub(super) fn could_not_reach_etcd(text: &str) -> bool {
    let failures = text.lines().rev().filter(|line| line.starts_with('{'));
    let mut parsed =
        failures.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let last = parsed.find(|value| value["level"] == "ERROR");
    last.is_some_and(|failure| failure["unreachable"] == true)
}

/// The errors of a plan, which prints them as findings.
pub(super) fn errors_found(text: &str) -> Option<String> {
    let plan: PlanReport = report(text)?;
    let errors: Vec<_> = plan
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .collect();
    let first = errors.first()?;
    let others = match errors.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more; the log of its pod has all of them"),
    };
    Some(format!("{} ({}){others}", first.message, first.key))
}

/// The last report of type `T` in the output of a pod: one line of JSON.
pub(crate) fn report<T: DeserializeOwned>(text: &str) -> Option<T> {
    let lines = text.lines().rev().filter(|line| line.starts_with('{'));
    lines
        .into_iter()
        .find_map(|line| serde_json::from_str(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use meta_report::StatusReport;
    use milvus_meta::layout::Layout;

    #[test]
    fn reports_and_commands_of_a_job_are_not_shown() {
        assert!(is_for_users("error: 1 key was written since"));
        assert!(is_for_users("  changed: nothing was changed in etcd"));
        assert!(!is_for_users("  next: /milvus/bin/meta-migration backup"));
        assert!(!is_for_users("{\"level\":\"ERROR\"}"));
    }

    #[test]
    fn the_report_is_found_in_the_log() {
        let json = r#"{"layout":"2.1","families":[],"sessions":[],"lock":null,"journal":null,"etcd":{"version":"3.5.0","members":1,"db_size":1,"db_size_in_use":1,"quota":1,"alarms":[]}}"#;
        let text = format!("INFO connected\n{json}\nINFO finished\n");
        let status: StatusReport = report(&text).unwrap();
        assert_eq!(status.layout, Layout::V2_1);
        assert!(report::<StatusReport>("INFO nothing\n{\"a\":1}\n").is_none());
    }

    #[test]
    fn a_secured_etcd_error_names_the_missing_option() {
        let reported = |text: &str| connection_hint(text).unwrap_or_default();
        assert!(reported("etcdserver: user name is empty").contains("--etcd-secret"));
        assert!(reported("invalid peer certificate: UnknownIssuer").contains("--etcd-tls-secret"));
        assert_eq!(reported("connection refused"), "");
    }

    #[test]
    fn only_connection_failures_count_as_unreachable() {
        let left = |unreachable: bool| {
            let failure =
                serde_json::json!({"level": "ERROR", "message": "m", "unreachable": unreachable});
            format!("error: m\n{failure}\n")
        };
        assert!(could_not_reach_etcd(&left(true)));
        assert!(!could_not_reach_etcd(&left(false)));
        assert!(!could_not_reach_etcd("error: cannot connect to etcd\n"));
    }

    #[test]
    fn the_error_of_the_program_is_reported() {
        assert_eq!(
            final_error("INFO a\nerror: Milvus is running\n  next: stop it\n").as_deref(),
            Some("Milvus is running")
        );
        assert_eq!(
            final_error("{\"level\":\"ERROR\",\"message\":\"no\"}\n").as_deref(),
            Some("no")
        );
        assert_eq!(final_error("INFO a\n"), None);
    }
}
