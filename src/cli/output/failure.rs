//! Errors as users see them: what failed and why, what was changed, where the backup is, and what to do next.

use std::error::Error;

use serde_json::{Value, json};

use super::exit::Exit;
use super::findings;
use super::style::Style;
use super::terminal::line;
use crate::config::ConfigError;
use meta_migrate::NOTHING_CHANGED;
use milvus_meta::finding::Finding;

/// A command that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Failure {
    pub(in crate::cli) exit: Exit,
    pub(in crate::cli) message: Box<str>,
    /// The causes, each once.
    pub(in crate::cli) causes: Vec<String>,
    /// What was and was not changed; empty for failures that are not about changes.
    pub(in crate::cli) changed: Box<str>,
    /// The path of the backup.
    pub(in crate::cli) backup: Option<Box<str>>,
    /// The findings, worst first.
    pub(in crate::cli) findings: Box<[Finding]>,
    /// What to do next, commands first.
    pub(in crate::cli) hints: Vec<String>,
    /// Whether etcd could not be reached.
    pub(in crate::cli) unreachable: bool,
}

impl Failure {
    pub(in crate::cli) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into().into_boxed_str(),
            causes: Vec::new(),
            changed: Box::default(),
            backup: None,
            findings: Box::default(),
            hints: Vec::new(),
            unreachable: false,
        }
    }

    /// Wrong usage or configuration.
    pub(in crate::cli) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message).unchanged()
    }

    /// A failure before anything was changed in etcd.
    pub(in crate::cli) fn before_changes(error: &dyn Error) -> Self {
        Self::from_error(Exit::Failed, error).unchanged()
    }

    /// Takes message and causes from an error.
    pub(in crate::cli) fn from_error(exit: Exit, error: &dyn Error) -> Self {
        let mut failure = Self::new(exit, error.to_string());
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some libraries repeat the cause's text in their own.
            let causes = failure.causes.iter().map(String::as_str);
            let mut earlier = std::iter::once(&*failure.message).chain(causes);
            if !earlier.any(|earlier| earlier.ends_with(&text)) {
                failure.causes.push(text);
            }
            cause = error.source();
        }
        failure
    }

    /// The failure of one of this program's operations, with the error as cause.
    pub(in crate::cli) fn caused(operation: &str, error: &dyn Error) -> Self {
        let Self {
            message, causes, ..
        } = Self::from_error(Exit::Failed, error);
        let mut failure = Self::new(Exit::Failed, operation);
        failure.causes.push(message.into());
        failure.causes.extend(causes);
        failure
    }

    pub(in crate::cli) fn unchanged(mut self) -> Self {
        self.changed = NOTHING_CHANGED.into();
        self
    }

    /// Adds a hint about what to do next.
    pub(in crate::cli) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Returns the failure of a command that only reads: it need not say that it changed nothing.
    pub(in crate::cli) fn of_reading(mut self) -> Self {
        if &*self.changed == NOTHING_CHANGED {
            self.changed = Box::default();
        }
        self
    }

    /// Adds a hint to wrong usage that has none.
    pub(in crate::cli) fn or_hint(self, hint: impl FnOnce() -> String) -> Self {
        match self.exit == Exit::Usage && self.hints.is_empty() {
            true => self.hint(hint()),
            false => self,
        }
    }

    /// Returns the failure as text.
    pub(in crate::cli) fn text(&self, style: Style) -> String {
        let mut lines = Vec::new();
        if !self.findings.is_empty() {
            lines.extend(findings::lines(&self.findings, style));
        }
        let message = format!("{} {}", style.bad("error:"), line(&self.message));
        lines.extend(style.wrapped(&message, "  "));
        for cause in &self.causes {
            let cause = format!("  caused by: {}", line(cause));
            lines.extend(style.wrapped(&cause, "    "));
        }
        if !self.changed.is_empty() {
            let changed = format!("  changed: {}", line(&self.changed));
            lines.extend(style.wrapped(&changed, "    "));
        }
        if let Some(backup) = &self.backup {
            lines.push(format!("  backup: {}", line(backup)));
        }
        for hint in &self.hints {
            lines.push(format!("  next: {}", line(hint)));
        }
        lines.push(String::new());
        lines.join("\n")
    }

    /// Returns the failure as one line for a log collector.
    pub(in crate::cli) fn json(&self) -> String {
        format!("{}\n", self.document())
    }

    /// Returns the failure as a document.
    pub(in crate::cli) fn document(&self) -> Value {
        json!({
            "level": "ERROR",
            "message": self.message,
            "exit_code": self.exit.code(),
            "causes": self.causes,
            "changed": self.changed,
            "backup": self.backup,
            "findings": self.findings,
            "next": self.hints,
            "unreachable": self.unreachable,
        })
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::from_error(Exit::Usage, &error).unchanged()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Chain {
        text: &'static str,
        #[source]
        source: Option<Box<Self>>,
    }

    fn chain(texts: &[&'static str]) -> Chain {
        Chain {
            text: texts[0],
            source: (texts.len() > 1).then(|| Box::new(chain(&texts[1..]))),
        }
    }

    #[test]
    fn every_cause_is_reported_once() {
        let error = chain(&[
            "cannot read",
            "transport error: refused",
            "refused",
            "os error 1",
        ]);
        let failure = Failure::from_error(Exit::Failed, &error).unchanged();
        let failure = Failure {
            hints: vec!["meta-migration status".to_owned()],
            ..failure
        };
        assert_eq!(
            failure.text(Style::plain()),
            "error: cannot read\n  caused by: transport error: refused\n  caused by: os error 1\n  \
             changed: nothing was changed in etcd\n  next: meta-migration status\n"
        );
        let json: serde_json::Value = serde_json::from_str(&failure.json()).unwrap();
        assert_eq!(json["exit_code"], 1);
        assert_eq!(json["causes"].as_array().unwrap().len(), 2);
    }
}
