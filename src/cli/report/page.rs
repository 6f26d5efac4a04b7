//! The HTML page, which loads no other resources.

use super::escape::Text;
use super::protocol::{self, Step};
use super::timeline;
use crate::cli::output::units::{bytes, count};
use meta_kube::upgrade::timeline::Timeline;
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::transform::PlanReport;

const STYLE: &str = include_str!("page.css");
/// The start of every report. A file without it is not replaced.
pub(super) const MARK: &str =
    "<!doctype html>\n<html lang=\"en\">\n<meta name=\"generator\" content=\"meta-migration\">\n";
/// Number of findings shown of each kind.
const FINDINGS_MAX: usize = 50;

/// The severity of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Careful,
    Bad,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Careful => "careful",
            Self::Bad => "bad",
        }
    }
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    Passed,
    /// Made later.
    Open,
    Failed,
}

/// The content of a page.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// The kind of page, such as `Migration plan`.
    pub(super) kind: String,
    pub(super) title: String,
    /// The instance and the endpoints.
    pub(super) instance: String,
    pub(super) verdict: Option<(Tone, String, String)>,
    /// The objects in the metadata, in a sentence.
    pub(super) found: String,
    /// Kind, number before, number after, change.
    pub(super) objects: Vec<[String; 4]>,
    pub(super) plan: Option<PlanReport>,
    /// What to do outside this program, with commands.
    pub(super) important: Option<String>,
    pub(super) findings: Vec<Finding>,
    pub(super) at: Option<Step>,
    /// The stages of an upgrade.
    pub(super) timeline: Option<Timeline>,
    pub(super) checks: Vec<(Check, String)>,
    /// The purpose of a command, and the command.
    pub(super) commands: Vec<(String, String)>,
    pub(super) facts: Vec<(&'static str, String)>,
}

/// Renders the page as HTML.
pub(super) fn html(page: &Page) -> String {
    let plan = page.plan.as_ref().filter(|plan| !plan.families.is_empty());
    let steps = page.at.map(protocol::picture);
    let timeline = page.timeline.as_ref().map(timeline::picture);
    let important = page.important.as_deref().map(Text);
    // The page of an upgrade omits an empty list: the findings of its plan are shown before the stop only.
    let has_findings = page.timeline.is_none() || !page.findings.is_empty();
    let parts = [
        page.verdict.as_ref().map(verdict),
        plan.map(figures),
        (!page.objects.is_empty()).then(|| objects(page)),
        steps.map(|picture| section("Steps", &picture)),
        timeline.map(|picture| section("Timeline", &picture)),
        important.map(|text| section("Important", &format!("<pre>{text}</pre>\n"))),
        has_findings.then(|| findings(&page.findings)),
        (!page.checks.is_empty()).then(|| checks(&page.checks)),
        (!page.commands.is_empty()).then(|| commands(&page.commands)),
        plan.map(families),
        Some(facts(&page.facts)),
    ];
    let content: String = parts.into_iter().flatten().collect();
    format!(
        "{MARK}<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{kind}: {instance}</title>\n<style>\n{STYLE}</style>\n<main>\n\
         <header>\n<p class=\"kind\">{kind}</p>\n<h1>{title}</h1>\n<p class=\"where\">{instance}</p>\n</header>\n\
         {content}</main>\n</html>\n",
        kind = Text(&page.kind),
        title = Text(&page.title),
        instance = Text(&page.instance),
    )
}

fn section(title: &str, content: &str) -> String {
    format!("<section>\n<h2>{title}</h2>\n{content}</section>\n")
}

fn verdict((tone, title, text): &(Tone, String, String)) -> String {
    let (class, title, text) = (tone.class(), Text(title), Text(text));
    format!("<section class=\"verdict {class}\"><p><strong>{title}</strong>{text}</p></section>\n")
}

/// Renders names with their values.
fn definitions<'t>(class: &str, items: impl IntoIterator<Item = (&'t str, &'t str)>) -> String {
    let items = items.into_iter().map(|(name, value)| {
        let value = Text(value);
        format!("<div><dt>{name}</dt><dd>{value}</dd></div>\n")
    });
    let items: String = items.collect();
    format!("<dl class=\"{class}\">\n{items}</dl>\n")
}

fn figures(plan: &PlanReport) -> String {
    let read: u64 = plan.families.iter().map(|family| family.read).sum();
    let figures = [
        ("keys read", &*count(read)),
        ("new keys", &count(plan.put)),
        ("keys rewritten", &count(plan.rewrite)),
        ("keys deleted", &count(plan.delete)),
        ("new data", &bytes(plan.bytes_put)),
    ];
    format!("<section>\n{}</section>\n", definitions("figures", figures))
}

/// Renders a table. Each column has a heading and a class.
fn table<const N: usize>(
    columns: [(&str, &str); N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let row = |tag: &str, cells: [String; N]| {
        let cells = columns.iter().zip(&cells).map(|((_, class), cell)| {
            let cell = Text(cell);
            format!("<{tag} class=\"{class}\">{cell}</{tag}>")
        });
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let heading = row("th", columns.map(|(heading, _)| heading.to_owned()));
    let rows: String = rows.map(|cells| row("td", cells)).collect();
    format!("<div class=\"scroll\"><table>\n{heading}{rows}</table></div>\n")
}

fn objects(page: &Page) -> String {
    let columns = [
        ("Kind", ""),
        ("Before", "number"),
        ("After", "number"),
        ("What changes", ""),
    ];
    let table = table(columns, page.objects.iter().cloned());
    section("Objects", &format!("<p>{}</p>\n{table}", Text(&page.found)))
}

fn findings(findings: &[Finding]) -> String {
    let mut content = String::new();
    let same = |a: &Finding, b: &Finding| (a.severity, &a.code) == (b.severity, &b.code);
    for group in findings.chunk_by(same) {
        let Some(first) = group.first() else { continue };
        let severity = match first.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
        };
        let times = match group.len() {
            1 => String::new(),
            times => format!(
                " <span class=\"times\">{} times</span>",
                count(times as u64)
            ),
        };
        let code = Text(&first.code);
        content += &format!(
            "<article class=\"finding\">\n<h3><span class=\"tag {severity}\">{severity}</span> {code}{times}</h3>\n<ul>\n"
        );
        for finding in group.iter().take(FINDINGS_MAX) {
            let (message, key) = (Text(&finding.message), Text(&finding.key));
            let key = match finding.key.is_empty() {
                true => String::new(),
                false => format!("<code class=\"key\">{key}</code>"),
            };
            content += &format!("<li>{message}{key}</li>\n");
        }
        if group.len() > FINDINGS_MAX {
            let more = count((group.len() - FINDINGS_MAX) as u64);
            content += &format!("<li>and {more} more</li>\n");
        }
        content += "</ul>\n</article>\n";
    }
    if content.is_empty() {
        content += "<p>None.</p>\n";
    }
    section("Findings", &content)
}

fn checks(checks: &[(Check, String)]) -> String {
    let items = checks.iter().map(|(check, text)| {
        let (class, word) = match check {
            Check::Passed => ("", "passed"),
            Check::Open => (" class=\"open\"", "later"),
            Check::Failed => (" class=\"failed\"", "failed"),
        };
        let text = Text(text);
        format!("<li{class}><span>{text}</span> <span class=\"state\">{word}</span></li>\n")
    });
    let items: String = items.collect();
    section("Checks", &format!("<ul class=\"checks\">\n{items}</ul>\n"))
}

fn commands(commands: &[(String, String)]) -> String {
    let items = commands.iter().map(|(purpose, command)| {
        let (purpose, command) = (Text(purpose), Text(command));
        format!("<p class=\"label\">{purpose}</p>\n<pre>{command}</pre>\n")
    });
    section("Commands", &items.collect::<String>())
}

fn families(plan: &PlanReport) -> String {
    let columns = [
        ("Family", "name"),
        ("Read", "number"),
        ("New", "number"),
        ("Rewritten", "number"),
        ("Deleted", "number"),
    ];
    let number = |number: u64| match number {
        0 => "–".to_owned(),
        number => count(number),
    };
    let rows = plan.families.iter().map(|family| {
        let [read, put, rewrite, delete] =
            [family.read, family.put, family.rewrite, family.delete].map(number);
        [family.name.clone(), read, put, rewrite, delete]
    });
    section("Keys by family", &table(columns, rows))
}

fn facts(facts: &[(&'static str, String)]) -> String {
    let known = facts.iter().filter(|(_, value)| !value.is_empty());
    let known = known.map(|(name, value)| (*name, value.as_str()));
    section("This report", &definitions("facts", known))
}
