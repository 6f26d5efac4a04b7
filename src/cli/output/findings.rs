//! Formats findings by severity and code, with counts and a few examples.

use super::style::Style;
use super::terminal::line;
use super::units::{count, counted};
use milvus_meta::finding::{Finding, Severity};

/// Number of examples for each code.
const EXAMPLES: usize = 3;

/// The number of findings of each severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::cli) struct SeverityCounts {
    pub(in crate::cli) errors: u64,
    pub(in crate::cli) warnings: u64,
    pub(in crate::cli) notices: u64,
}

impl SeverityCounts {
    pub(in crate::cli) fn of(findings: &[Finding]) -> Self {
        let mut counts = Self::default();
        for finding in findings {
            match finding.severity {
                Severity::Error => counts.errors += 1,
                Severity::Warning => counts.warnings += 1,
                Severity::Notice => counts.notices += 1,
            }
        }
        counts
    }

    pub(in crate::cli) fn text(self) -> String {
        let parts = [
            (self.errors, "error"),
            (self.warnings, "warning"),
            (self.notices, "notice"),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, noun)| counted(number, noun))
            .collect();
        if parts.is_empty() {
            "none".to_owned()
        } else {
            parts.join(", ")
        }
    }
}

/// Formats the findings in groups. They must be sorted, worst first, as in reports.
pub(in crate::cli) fn lines(findings: &[Finding], style: Style) -> Vec<String> {
    section("Findings:", findings, style)
}

/// Formats findings under a heading.
pub(in crate::cli) fn section(heading: &str, findings: &[Finding], style: Style) -> Vec<String> {
    let mut lines = vec![format!(
        "{} {}",
        style.strong(heading),
        SeverityCounts::of(findings).text()
    )];
    let same = |a: &Finding, b: &Finding| (a.severity, &a.code) == (b.severity, &b.code);
    for group in findings.chunk_by(same) {
        let Some(first) = group.first() else { continue };
        let severity = match first.severity {
            Severity::Error => style.bad("error"),
            Severity::Warning => style.careful("warning"),
            Severity::Notice => style.good("notice"),
        };
        let times = if group.len() > 1 {
            format!(" ({} times)", count(group.len() as u64))
        } else {
            String::new()
        };
        lines.push(format!(
            "  {severity} {}{times}",
            style.strong(&line(&first.code))
        ));
        for finding in group.iter().take(EXAMPLES) {
            let message = format!("    {}", line(&finding.message));
            lines.extend(style.wrapped(&message, "    "));
            if !finding.key.is_empty() {
                let key = format!("key {}", line(&finding.key));
                lines.push(format!("      {}", style.faint(&key)));
            }
        }
        if group.len() > EXAMPLES {
            let more = count((group.len() - EXAMPLES) as u64);
            lines.push(format!("    … and {more} more (-o json lists all)"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_findings_of_one_code_take_a_few_lines() {
        let mut findings: Vec<Finding> = (0..1000)
            .map(|id| Finding::notice("orphan", format!("k/{id:04}").as_bytes(), "skipped"))
            .collect();
        findings.push(Finding::error("broken", b"k/x", "undecodable"));
        findings.sort();
        let lines = lines(&findings, Style::plain());
        assert_eq!(
            lines,
            [
                "Findings: 1 error, 1,000 notices",
                "  error broken",
                "    undecodable",
                "      key k/x",
                "  notice orphan (1,000 times)",
                "    skipped",
                "      key k/0000",
                "    skipped",
                "      key k/0001",
                "    skipped",
                "      key k/0002",
                "    … and 997 more (-o json lists all)",
            ]
        );
    }

    #[test]
    fn without_findings_there_is_one_line() {
        assert_eq!(lines(&[], Style::plain()), ["Findings: none"]);
    }
}
