//! The explanations: sections of `docs/findings.md` and `docs/keys.md`, compiled into the program.

use super::super::output::style::Style;
use milvus_meta::keys::Family;

const FINDINGS: &str = include_str!("../../../docs/findings.md");
const KEYS: &str = include_str!("../../../docs/keys.md");

/// A section about a code or a family of keys, which is its heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    /// The heading of its group.
    pub(super) group: &'static str,
    pub(super) name: &'static str,
    paragraphs: Vec<String>,
}

impl Section {
    /// Returns the text without Markdown.
    pub(super) fn text(&self) -> String {
        self.paragraphs
            .iter()
            .map(|paragraph| plain(paragraph))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Returns the first sentence.
    pub(super) fn summary(&self) -> String {
        let first = self.paragraphs.first().map(|text| plain(text));
        let first = first.unwrap_or_default();
        match first.split_once(". ") {
            Some((sentence, _)) => format!("{sentence}."),
            None => first,
        }
    }

    /// Returns the pattern of the keys, which starts a section about them.
    pub(super) fn pattern(&self) -> Option<&str> {
        let first = self.paragraphs.first()?;
        first.strip_prefix('`')?.split('`').next()
    }

    /// Returns the text, wrapped at the terminal's width.
    pub(super) fn lines(&self, style: Style) -> Vec<String> {
        self.paragraphs
            .iter()
            .flat_map(|paragraph| style.wrapped(&plain(paragraph), ""))
            .collect()
    }
}

/// Returns the section about a finding's code or an exit code.
pub(super) fn code(code: &str) -> Option<Section> {
    codes().into_iter().find(|section| section.name == code)
}

/// Returns the sections of all codes, in the order of the page.
pub(super) fn codes() -> Vec<Section> {
    sections(FINDINGS)
}

/// Returns the section about a family of keys.
pub(super) fn family(family: Family) -> Option<Section> {
    let mut sections = sections(KEYS).into_iter();
    sections.find(|section| section.name == family.name())
}

fn sections(page: &'static str) -> Vec<Section> {
    let mut group = "";
    let mut sections: Vec<Section> = Vec::new();
    let mut is_open = false;
    for text in page.lines() {
        if let Some(name) = text.strip_prefix("### ") {
            sections.push(Section {
                group,
                name: name.trim_matches('`'),
                paragraphs: Vec::new(),
            });
            is_open = false;
        } else if let Some(name) = text.strip_prefix("## ") {
            group = name;
        } else if text.trim().is_empty() {
            is_open = false;
        } else if let Some(section) = sections.last_mut() {
            match section.paragraphs.last_mut() {
                Some(paragraph) if is_open => {
                    paragraph.push(' ');
                    paragraph.push_str(text);
                }
                Some(_) | None => section.paragraphs.push(text.to_owned()),
            }
            is_open = true;
        }
    }
    sections
}

fn plain(text: &str) -> String {
    text.replace('`', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_explained() {
        let all = Family::ALL.iter().chain([&Family::Other]);
        let missing = all.filter(|family| super::family(**family).is_none());
        let missing: Vec<&str> = missing.map(|family| family.name()).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }

    #[test]
    fn the_pattern_of_a_family_begins_with_its_name() {
        for family in Family::ALL {
            let section = super::family(*family).unwrap();
            let pattern = section.pattern().unwrap();
            assert!(pattern.starts_with(family.name()), "{pattern}");
        }
    }

    #[test]
    fn every_explanation_is_a_sentence() {
        for section in codes() {
            let text = section.text();
            assert!(text.ends_with('.'), "{}: {text:?}", section.name);
        }
    }
}
