//! Reads a YAML file as a flat list of settings, as leniently as the official tool.
//!
//! A serde reader would convert scalars to numbers and back (a password `0123` would change) and
//! reject repeated keys, which the Milvus Operator's template contains. This reader uses the
//! parser's events instead: scalars keep their text, repeated keys are kept, and every setting has
//! its line.

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

/// Maximum nesting, which limits the recursion. No configuration is that deep.
const DEPTH_MAX: usize = 32;
/// Maximum number of settings, which limits the expansion of aliases.
const SETTINGS_MAX: usize = 10_000;

/// One setting of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The path as written, joined with dots.
    pub path: String,
    /// The line of the value, starting at 1.
    pub line: usize,
    /// The value.
    pub value: Value,
}

/// The value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// No value: `key:` or `key: null`.
    Null,
    /// A scalar as written.
    Text(String),
    /// A list of scalars.
    List(Vec<String>),
    /// A list with items other than scalars.
    Nested,
}

/// The reason why the text is not a configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct YamlError {
    /// The line, starting at 1.
    pub line: usize,
    /// The problem.
    pub message: String,
}

/// The settings of the first document in document order.
pub fn parse(text: &str) -> Result<Vec<Setting>, YamlError> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        anchors: Vec::new(),
    };
    let root = loop {
        match reader.next()? {
            (Event::DocumentStart(_), _) => {
                let (event, line) = reader.next()?;
                break reader.node(event, line, 0)?;
            }
            (Event::StreamEnd, _) => return Ok(Vec::new()),
            (_, _) => {}
        }
    };
    let mut settings = Vec::new();
    match root.kind {
        Kind::Map(members) => flatten(&members, "", &mut settings)?,
        Kind::Scalar(None) => {}
        Kind::Scalar(Some(_)) | Kind::List(_) => {
            return Err(YamlError {
                line: root.line,
                message: "expected keys with values".to_owned(),
            });
        }
    }
    Ok(settings)
}

/// Converts a path for comparison: the official tool ignores case and the characters `/ _ .`.
pub fn normalize(path: &str) -> String {
    path.chars()
        .filter(|character| !matches!(character, '/' | '_' | '.'))
        .flat_map(char::to_lowercase)
        .collect()
}

#[derive(Clone)]
struct Node {
    line: usize,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Scalar(Option<String>),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
    anchors: Vec<(usize, Node)>,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, usize), YamlError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => Err(YamlError {
                line: error.marker().line(),
                message: error.info().to_owned(),
            }),
            None => Ok((Event::StreamEnd, 0)),
        }
    }

    fn node(&mut self, event: Event<'t>, line: usize, depth: usize) -> Result<Node, YamlError> {
        if depth > DEPTH_MAX {
            return Err(YamlError {
                line,
                message: format!("nested deeper than {DEPTH_MAX} levels"),
            });
        }
        let (anchor, kind) = match event {
            Event::Scalar(text, style, anchor, _) => (anchor, Kind::Scalar(scalar(&text, style))),
            Event::SequenceStart(anchor, _) => (anchor, self.list(depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.map(depth)?),
            Event::Alias(anchor) => return self.alias(anchor, line),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => (0, Kind::Scalar(None)),
        };
        let node = Node { line, kind };
        if anchor > 0 {
            self.anchors.push((anchor, node.clone()));
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Kind, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd | Event::StreamEnd, _) => return Ok(Kind::List(items)),
                (event, line) => items.push(self.node(event, line, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Kind, YamlError> {
        let mut members = Vec::new();
        loop {
            let (event, line) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                return Ok(Kind::Map(members));
            }
            let Kind::Scalar(key) = self.node(event, line, depth + 1)?.kind else {
                return Err(YamlError {
                    line,
                    message: "a key must be plain text".to_owned(),
                });
            };
            let (event, line) = self.next()?;
            let value = self.node(event, line, depth + 1)?;
            members.push((key.unwrap_or_default(), value));
        }
    }

    fn alias(&self, anchor: usize, line: usize) -> Result<Node, YamlError> {
        let found = self.anchors.iter().find(|(id, _)| *id == anchor);
        let Some((_, node)) = found else {
            return Err(YamlError {
                line,
                message: "an alias refers to itself".to_owned(),
            });
        };
        // A list or map could contain aliases and expand without limit.
        match &node.kind {
            Kind::Scalar(_) => Ok(node.clone()),
            Kind::List(_) | Kind::Map(_) => Err(YamlError {
                line,
                message: "an alias must refer to a single value".to_owned(),
            }),
        }
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Option<String> {
    let plain = style == ScalarStyle::Plain;
    let null = matches!(text, "" | "~" | "null" | "Null" | "NULL");
    (!(plain && null)).then(|| text.to_owned())
}

fn flatten(
    members: &[(String, Node)],
    prefix: &str,
    settings: &mut Vec<Setting>,
) -> Result<(), YamlError> {
    for (key, node) in members {
        let path = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        let value = match &node.kind {
            Kind::Map(inner) => {
                flatten(inner, &path, settings)?;
                continue;
            }
            Kind::Scalar(None) => Value::Null,
            Kind::Scalar(Some(text)) => Value::Text(text.clone()),
            Kind::List(items) => list_value(items),
        };
        if settings.len() >= SETTINGS_MAX {
            return Err(YamlError {
                line: node.line,
                message: format!("more than {SETTINGS_MAX} settings"),
            });
        }
        settings.push(Setting {
            path,
            line: node.line,
            value,
        });
    }
    Ok(())
}

fn list_value(items: &[Node]) -> Value {
    let mut texts = Vec::new();
    for item in items {
        match &item.kind {
            Kind::Scalar(Some(text)) => texts.push(text.clone()),
            Kind::Scalar(None) => {}
            Kind::List(_) | Kind::Map(_) => return Value::Nested,
        }
    }
    Value::List(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(yaml: &str) -> Vec<(String, Value)> {
        parse(yaml)
            .unwrap()
            .into_iter()
            .map(|setting| (setting.path, setting.value))
            .collect()
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn normalized_paths_ignore_case_and_separators() {
        for path in [
            "etcd.rootPath",
            "etcd_rootpath",
            "ETCD.ROOTPATH",
            "etcd/root_Path",
        ] {
            assert_eq!(normalize(path), "etcdrootpath");
        }
        assert_ne!(normalize("etcd-rootPath"), "etcdrootpath");
    }

    #[test]
    fn scalars_are_not_converted() {
        assert_eq!(
            texts("a: 0123\nb: 1e5\nc: yes\nd: '~'\ne: ~\nf:\ng: \"\"\n"),
            [
                ("a".to_owned(), text("0123")),
                ("b".to_owned(), text("1e5")),
                ("c".to_owned(), text("yes")),
                ("d".to_owned(), text("~")),
                ("e".to_owned(), Value::Null),
                ("f".to_owned(), Value::Null),
                ("g".to_owned(), text("")),
            ]
        );
    }

    #[test]
    fn repeated_keys_are_kept_in_file_order() {
        assert_eq!(
            texts("etcd:\n  endpoints: a:1\n  endpoints: [b:2, c:3]\netcd.endpoints: d:4\n"),
            [
                ("etcd.endpoints".to_owned(), text("a:1")),
                (
                    "etcd.endpoints".to_owned(),
                    Value::List(vec!["b:2".to_owned(), "c:3".to_owned()])
                ),
                ("etcd.endpoints".to_owned(), text("d:4")),
            ]
        );
    }

    #[test]
    fn an_error_has_its_line() {
        let error = parse("cmd:\n  type: run\n config: [\n").unwrap_err();
        assert!(error.line >= 3, "{error:?}");
        assert_eq!(parse("- a\n").unwrap_err().line, 1);
        assert_eq!(parse("").unwrap(), []);
        assert_eq!(parse("# nothing\n---\n").unwrap(), []);
    }

    #[test]
    fn only_aliases_of_single_values_are_accepted() {
        assert_eq!(
            texts("a: &x v\nb: *x\n"),
            [("a".to_owned(), text("v")), ("b".to_owned(), text("v"))]
        );
        assert!(parse("a: &x [1, 1]\nb: [*x, *x]\n").is_err());
        let deep = "[".repeat(100_000);
        assert!(parse(&format!("a: {deep}")).is_err());
    }
}
