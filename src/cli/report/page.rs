//! The HTML page, which loads no other resources.

use super::escape::{Text, push};
use super::protocol::{self, Step};
use super::timeline;
use crate::cli::output::units::{bytes, count};
use meta_kube::upgrade::timeline::Timeline;
use milvus_meta::finding::{Finding, Severity};
use milvus_meta::transform::{FamilyPlan, PlanReport};

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
    let mut html = String::from(MARK);
    push(
        &mut html,
        format_args!(
            "<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{kind}: {instance}</title>\n<style>\n{STYLE}</style>\n<main>\n\
         <header>\n<p class=\"kind\">{kind}</p>\n<h1>{title}</h1>\n<p class=\"where\">{instance}</p>\n</header>\n",
            kind = Text(&page.kind),
            title = Text(&page.title),
            instance = Text(&page.instance),
        ),
    );
    if let Some((tone, title, text)) = &page.verdict {
        push(
            &mut html,
            format_args!(
                "<section class=\"verdict {}\"><p><strong>{}</strong>{}</p></section>\n",
                tone.class(),
                Text(title),
                Text(text)
            ),
        );
    }
    if let Some(plan) = page.plan.as_ref().filter(|plan| !plan.families.is_empty()) {
        figures(&mut html, plan);
    }
    objects(&mut html, page);
    if let Some(at) = page.at {
        section(&mut html, "Steps", &protocol::picture(at));
    }
    if let Some(timeline) = &page.timeline {
        section(&mut html, "Timeline", &timeline::picture(timeline));
    }
    if let Some(important) = &page.important {
        let mut content = String::new();
        push(
            &mut content,
            format_args!("<pre>{}</pre>\n", Text(important)),
        );
        section(&mut html, "Important", &content);
    }
    // An upgrade shows its findings before Milvus is stopped.
    if page.timeline.is_none() || !page.findings.is_empty() {
        findings(&mut html, &page.findings);
    }
    list(&mut html, page);
    if let Some(plan) = page.plan.as_ref().filter(|plan| !plan.families.is_empty()) {
        families(&mut html, plan);
    }
    facts(&mut html, &page.facts);
    html + "</main>\n</html>\n"
}

fn section(html: &mut String, title: &str, content: &str) {
    push(
        html,
        format_args!("<section>\n<h2>{title}</h2>\n{content}</section>\n"),
    );
}

fn figures(html: &mut String, plan: &PlanReport) {
    let read: u64 = plan.families.iter().map(|family| family.read).sum();
    let mut content = String::from("<dl class=\"figures\">\n");
    for (name, figure) in [
        ("keys read", count(read)),
        ("new keys", count(plan.put)),
        ("keys rewritten", count(plan.rewrite)),
        ("keys deleted", count(plan.delete)),
        ("new data", bytes(plan.bytes_put)),
    ] {
        push(
            &mut content,
            format_args!("<div><dt>{name}</dt><dd>{figure}</dd></div>\n"),
        );
    }
    push(
        html,
        format_args!("<section>\n{content}</dl>\n</section>\n"),
    );
}

fn objects(html: &mut String, page: &Page) {
    if page.objects.is_empty() {
        return;
    }
    let mut content = format!("<p>{}</p>\n", Text(&page.found));
    content.push_str(
        "<div class=\"scroll\"><table>\n<tr><th>Kind</th><th class=\"number\">Before</th>\
         <th class=\"number\">After</th><th>What changes</th></tr>\n",
    );
    for [kind, before, after, change] in &page.objects {
        push(
            &mut content,
            format_args!(
                "<tr><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td>{}</td></tr>\n",
                Text(kind),
                Text(before),
                Text(after),
                Text(change)
            ),
        );
    }
    content.push_str("</table></div>\n");
    section(html, "Objects", &content);
}

fn findings(html: &mut String, findings: &[Finding]) {
    let mut content = String::new();
    let same = |a: &Finding, b: &Finding| (a.severity, &a.code) == (b.severity, &b.code);
    for group in findings.chunk_by(same) {
        let Some(first) = group.first() else { continue };
        let severity = match first.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
        };
        push(
            &mut content,
            format_args!(
                "<article class=\"finding\">\n<h3><span class=\"tag {severity}\">{severity}</span> {}{}</h3>\n<ul>\n",
                Text(&first.code),
                match group.len() {
                    1 => String::new(),
                    times => format!(
                        " <span class=\"times\">{} times</span>",
                        count(times as u64)
                    ),
                }
            ),
        );
        for finding in group.iter().take(FINDINGS_MAX) {
            push(&mut content, format_args!("<li>{}", Text(&finding.message)));
            if !finding.key.is_empty() {
                push(
                    &mut content,
                    format_args!("<code class=\"key\">{}</code>", Text(&finding.key)),
                );
            }
            content.push_str("</li>\n");
        }
        if group.len() > FINDINGS_MAX {
            let more = count((group.len() - FINDINGS_MAX) as u64);
            push(&mut content, format_args!("<li>and {more} more</li>\n"));
        }
        content.push_str("</ul>\n</article>\n");
    }
    if content.is_empty() {
        content.push_str("<p>None.</p>\n");
    }
    section(html, "Findings", &content);
}

/// Renders the checks and the commands.
fn list(html: &mut String, page: &Page) {
    if !page.checks.is_empty() {
        let mut content = String::from("<ul class=\"checks\">\n");
        for (check, text) in &page.checks {
            let (class, word) = match check {
                Check::Passed => ("", "passed"),
                Check::Open => (" class=\"open\"", "later"),
                Check::Failed => (" class=\"failed\"", "failed"),
            };
            push(
                &mut content,
                format_args!(
                    "<li{class}><span>{}</span> <span class=\"state\">{word}</span></li>\n",
                    Text(text)
                ),
            );
        }
        section(html, "Checks", &(content + "</ul>\n"));
    }
    if !page.commands.is_empty() {
        let mut content = String::new();
        for (purpose, command) in &page.commands {
            push(
                &mut content,
                format_args!(
                    "<p class=\"label\">{}</p>\n<pre>{}</pre>\n",
                    Text(purpose),
                    Text(command)
                ),
            );
        }
        section(html, "Commands", &content);
    }
}

fn families(html: &mut String, plan: &PlanReport) {
    let mut content = String::from(
        "<div class=\"scroll\"><table>\n<tr><th>Family</th><th class=\"number\">Read</th><th class=\"number\">New</th>\
         <th class=\"number\">Rewritten</th><th class=\"number\">Deleted</th></tr>\n",
    );
    let number = |number: u64| match number {
        0 => "–".to_owned(),
        number => count(number),
    };
    for FamilyPlan {
        name,
        read,
        put,
        rewrite,
        delete,
    } in &plan.families
    {
        push(
            &mut content,
            format_args!("<tr><td class=\"name\"><code>{}</code></td>", Text(name)),
        );
        for figure in [read, put, rewrite, delete] {
            push(
                &mut content,
                format_args!("<td class=\"number\">{}</td>", number(*figure)),
            );
        }
        content.push_str("</tr>\n");
    }
    section(html, "Keys by family", &(content + "</table></div>\n"));
}

fn facts(html: &mut String, facts: &[(&'static str, String)]) {
    let mut content = String::from("<dl class=\"facts\">\n");
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        push(
            &mut content,
            format_args!("<dt>{name}</dt><dd>{}</dd>\n", Text(value)),
        );
    }
    section(html, "This report", &(content + "</dl>\n"));
}
