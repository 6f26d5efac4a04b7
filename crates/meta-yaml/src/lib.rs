//! Reads a YAML file as a flat list of settings, as leniently as the official tool.
//!
//! A serde reader would convert scalars to numbers and back (a password `0123` would change) and
//! reject repeated keys, which the Milvus Operator's template contains. This reader uses the
//! parser's events instead: scalars keep their text, repeated keys are kept, and every setting has
//! its line.

use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

/// Maximum nesting, which limits the recursion. No configuration is that deep.
const DEPTH_MAX: usize = 32;
/// Maximum number of settings.
const SETTINGS_MAX: usize = 10_000;
/// Maximum number of values that aliases add, because aliases of aliases grow exponentially.
const ALIASED_MAX: usize = 10_000;

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
        aliased: 0,
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

impl Node {
    /// Returns the number of values in this node, itself included.
    fn size(&self) -> usize {
        1 + match &self.kind {
            Kind::Scalar(_) => 0,
            Kind::List(items) => items.iter().map(Self::size).sum(),
            Kind::Map(members) => members.iter().map(|(_, node)| node.size()).sum(),
        }
    }
}

struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
    anchors: Vec<(usize, Node)>,
    /// Number of values that aliases have added.
    aliased: usize,
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
        let mut merged = Vec::new();
        loop {
            let (event, line) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                break;
            }
            let is_merge = is_merge_key(&event);
            let Kind::Scalar(key) = self.node(event, line, depth + 1)?.kind else {
                return Err(YamlError {
                    line,
                    message: "a key must be plain text".to_owned(),
                });
            };
            let (event, line) = self.next()?;
            let value = self.node(event, line, depth + 1)?;
            if is_merge {
                merged.extend(merged_members(value)?);
            } else {
                members.push((key.unwrap_or_default(), value));
            }
        }
        for (key, value) in merged {
            let name = normalize(&key);
            if members.iter().all(|(known, _)| normalize(known) != name) {
                members.push((key, value));
            }
        }
        Ok(Kind::Map(members))
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<Node, YamlError> {
        let found = self.anchors.iter().find(|(id, _)| *id == anchor);
        let Some((_, node)) = found else {
            return Err(YamlError {
                line,
                message: "an alias refers to itself".to_owned(),
            });
        };
        self.aliased += node.size();
        if self.aliased > ALIASED_MAX {
            return Err(YamlError {
                line,
                message: format!("aliases add more than {ALIASED_MAX} values"),
            });
        }
        Ok(node.clone())
    }
}

/// Returns whether the key is `<<`, which inserts the members of other maps.
fn is_merge_key(event: &Event<'_>) -> bool {
    matches!(event, Event::Scalar(text, ScalarStyle::Plain, _, _) if text == "<<")
}

/// Returns the members of the map, or of the list of maps, that a merge key inserts.
fn merged_members(value: Node) -> Result<Vec<(String, Node)>, YamlError> {
    match value.kind {
        Kind::Map(members) => Ok(members),
        Kind::List(items) => {
            let mut members = Vec::new();
            for item in items {
                members.extend(merged_members(item)?);
            }
            Ok(members)
        }
        Kind::Scalar(_) => Err(YamlError {
            line: value.line,
            message: "the value of << must be a map, or a list of maps".to_owned(),
        }),
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
    fn aliases_stand_for_values_lists_and_maps() {
        assert_eq!(
            texts("a: &x v\nb: *x\nc: &y [1, *x]\nd: *y\ne: &z {f: *x}\ng: *z\n"),
            [
                ("a".to_owned(), text("v")),
                ("b".to_owned(), text("v")),
                (
                    "c".to_owned(),
                    Value::List(vec!["1".to_owned(), "v".to_owned()])
                ),
                (
                    "d".to_owned(),
                    Value::List(vec!["1".to_owned(), "v".to_owned()])
                ),
                ("e.f".to_owned(), text("v")),
                ("g.f".to_owned(), text("v")),
            ]
        );
        assert!(parse("a: &x [*x]\n").is_err());
    }

    #[test]
    fn a_merge_key_inserts_the_members_that_the_map_does_not_have() {
        let bases = "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\n";
        for (map, expected) in [
            ("<<: *x", "z.a=1 z.b=2"),
            ("<<: *x\n  b: 5", "z.b=5 z.a=1"),
            ("B: 5\n  <<: *x", "z.B=5 z.a=1"),
            ("<<: [*x, *y]", "z.a=1 z.b=2 z.c=4"),
            ("\"<<\": v", "z.<<=v"),
        ] {
            let settings = texts(&format!("{bases}z:\n  {map}\n"));
            let found: Vec<_> = settings
                .into_iter()
                .filter(|(path, _)| path.starts_with('z'))
                .map(|(path, value)| match value {
                    Value::Text(text) => format!("{path}={text}"),
                    Value::Null | Value::List(_) | Value::Nested => path,
                })
                .collect();
            assert_eq!(found.join(" "), expected, "{map}");
        }
        assert_eq!(parse("a:\n  <<: 1\n").unwrap_err().line, 2);
    }

    #[test]
    fn nesting_and_aliases_are_limited() {
        let deep = "[".repeat(100_000);
        assert!(parse(&format!("a: {deep}")).is_err());
        let mut bomb = "a0: &a0 {}\n".to_owned();
        for level in 1..64 {
            let below = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{below}, {below}]\n"));
        }
        assert!(parse(&bomb).unwrap_err().message.contains("10000 values"));
    }
}
