//! What preflight tells of an upgrade that has not come to its end.

use crate::finding::Severity;
use crate::kubernetes::operation::standing::{stands, ways_on};
use crate::kubernetes::preflight::{Concern, PreflightReport};
use crate::kubernetes::record::Record;

/// Adds an unfinished upgrade to the report, with the commands that lead on.
pub(super) fn tell_unfinished(report: &mut PreflightReport, record: &Record, place: &str) {
    if record.stage.is_final() {
        return;
    }
    let untouched = record.stage.row().untouched;
    // The record knows the counts.
    report
        .concerns
        .retain(|one| !matches!(one.code.as_str(), "all-stopped" | "noted"));
    let concern = Concern {
        severity: if untouched {
            Severity::Warning
        } else {
            Severity::Error
        },
        code: "unfinished".to_owned(),
        message: format!(
            "an upgrade from {} to {} is unfinished ({}): {}",
            record.source_version,
            record.target_version,
            record.stage.name(),
            stands(Some(record))
        ),
    };
    report.add(concern);
    if !untouched {
        report.next = ways_on(record, place).join(", or ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::preflight::{Asked, Facts, report};
    use crate::kubernetes::record::EtcdTarget;
    use crate::kubernetes::record::tests::example;
    use crate::kubernetes::stage::Stage;

    fn told_in(stage: Stage) -> PreflightReport {
        let mut facts = Facts {
            instance: "prod".to_owned(),
            ..Facts::default()
        };
        facts.workloads.found = example().workloads;
        facts.workloads.found[0].replicas = 0;
        facts.configured.endpoints = Some(vec!["prod-etcd:2379".to_owned()]);
        let mut told = report(&facts, &Asked::default(), EtcdTarget::default(), None);
        let record = Record { stage, ..example() };
        tell_unfinished(&mut told, &record, " -i prod -n data");
        told
    }

    fn codes(report: &PreflightReport) -> Vec<&str> {
        let all = report.concerns.iter();
        all.map(|one| one.code.as_str()).collect()
    }

    #[test]
    fn an_unfinished_upgrade_is_told_with_the_commands_that_lead_on() {
        let told = told_in(Stage::VERIFY);
        assert_eq!(codes(&told), ["unfinished"], "the record knows the counts");
        assert!(!told.ok);
        assert_eq!(
            told.next,
            "meta-migration upgrade -i prod -n data -o resume, or meta-migration upgrade -i prod -n data -o rollback"
        );
        assert_eq!(codes(&told_in(Stage::ROLLED_BACK)), ["all-stopped"]);
    }

    #[test]
    fn one_that_touched_nothing_yet_hinders_nobody() {
        let told = told_in(Stage::PLAN);
        assert_eq!(codes(&told), ["unfinished"]);
        assert!(told.next.contains("preflight"), "{}", told.next);
    }
}
