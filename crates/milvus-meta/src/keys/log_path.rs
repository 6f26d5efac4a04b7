//! Segment logs: their kinds, and the paths of their files.

use std::fmt;

use super::number::parse_id;
use super::number::push_ids;
use super::{Family, clean_join};
use crate::model::{CollectionId, FieldId, PartitionId, SegmentId};

/// The kind of a segment log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogKind {
    /// Inserted rows.
    Insert,
    /// Deleted rows.
    Delete,
    /// Statistics of the primary key.
    Statistics,
}

impl LogKind {
    /// All kinds, in key order.
    pub const ALL: [Self; 3] = [Self::Insert, Self::Delete, Self::Statistics];

    /// Returns the family of the keys.
    #[must_use]
    pub fn family(self) -> Family {
        match self {
            Self::Insert => Family::Binlog,
            Self::Delete => Family::Deltalog,
            Self::Statistics => Family::Statslog,
        }
    }

    /// Returns the folder below the storage root.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Insert => "insert_log",
            Self::Delete => "delta_log",
            Self::Statistics => "stats_log",
        }
    }

    fn has_field(self) -> bool {
        self != Self::Delete
    }
}

/// The path of a log file: `<root>/<folder>/<collection>/<partition>/<segment>[/<field>]/<log>`, as
/// composed by Milvus: cleaned, with every id in canonical spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPath<'p> {
    /// The storage root; empty for none.
    pub root: &'p str,
    /// The kind of the log.
    pub kind: LogKind,
    /// The collection.
    pub collection: CollectionId,
    /// The partition.
    pub partition: PartitionId,
    /// The segment.
    pub segment: SegmentId,
    /// The field; `None` for deletes.
    pub field: Option<FieldId>,
    /// The log's id, greater than 0.
    pub log: i64,
}

impl<'p> LogPath<'p> {
    /// Parses the path of a log of this kind; `None` if Milvus does not compose such a path.
    #[must_use]
    pub fn parse(kind: LogKind, path: &'p [u8]) -> Option<Self> {
        let mut rest = Some(std::str::from_utf8(path).ok()?);
        let mut last = || {
            let text = rest?;
            let slash = text.rfind('/');
            rest = slash.map(|slash| &text[..slash]);
            Some(slash.map_or(text, |slash| &text[slash + 1..]))
        };
        let mut id = || parse_id(last()?.as_bytes());
        let log = id().filter(|log| *log > 0)?;
        let field = if kind.has_field() {
            Some(FieldId(id()?))
        } else {
            None
        };
        let (segment, partition, collection) = (id()?, id()?, id()?);
        if last()? != kind.folder() {
            return None;
        }
        let root = match rest {
            None => "",
            Some("") => "/",
            Some("/") => return None,
            Some(root) => root,
        };
        (clean_join(&[root]) == root).then_some(Self {
            root,
            kind,
            collection: CollectionId(collection),
            partition: PartitionId(partition),
            segment: SegmentId(segment),
            field,
            log,
        })
    }
}

impl fmt::Display for LogPath<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.root.is_empty() || self.root == "/" {
            ""
        } else {
            "/"
        };
        let mut ids = vec![self.collection.0, self.partition.0, self.segment.0];
        ids.extend(self.field.map(|field| field.0));
        ids.push(self.log);
        let mut path = Vec::new();
        push_ids(&mut path, self.kind.folder(), &ids);
        let path = String::from_utf8_lossy(&path);
        write!(formatter, "{}{separator}{path}", self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_of(kind: LogKind, path: &str) -> Option<String> {
        let read = LogPath::parse(kind, path.as_bytes())?;
        assert_eq!(read.to_string(), path);
        Some(read.root.to_owned())
    }

    #[test]
    fn log_paths_are_parsed_below_any_root() {
        for root in [
            "files",
            "a/b",
            "/var/lib/milvus",
            "..",
            "../x",
            "insert_log",
        ] {
            for (kind, rest) in [
                (LogKind::Insert, "insert_log/1/2/3/100/9"),
                (LogKind::Statistics, "stats_log/1/2/3/100/9"),
                (LogKind::Delete, "delta_log/1/2/3/9"),
            ] {
                assert_eq!(
                    root_of(kind, &format!("{root}/{rest}")).as_deref(),
                    Some(root)
                );
                assert_eq!(root_of(kind, rest).as_deref(), Some(""));
                assert_eq!(root_of(kind, &format!("/{rest}")).as_deref(), Some("/"));
            }
        }
    }

    #[test]
    fn log_path_ids_are_parsed() {
        let path = LogPath::parse(LogKind::Insert, b"files/insert_log/1/2/3/100/9").unwrap();
        assert_eq!(
            (path.collection, path.partition, path.segment),
            (CollectionId(1), PartitionId(2), SegmentId(3))
        );
        assert_eq!((path.field, path.log), (Some(FieldId(100)), 9));
        let path = LogPath::parse(LogKind::Delete, b"files/delta_log/1/2/3/9").unwrap();
        assert_eq!((path.field, path.log), (None, 9));
    }

    #[test]
    fn irregular_log_path_is_rejected() {
        for path in [
            "",
            "9",
            "files/insert_log/1/2/3/9",
            "files/insert_log/1/2/3/100/",
            "files/insert_log/1/2/3/100/x",
            "files/insert_log/1/2/3/100/+9",
            "files/insert_log/1/2/3/100/09",
            "files/insert_log/1/2/3/100/0",
            "files/insert_log/1/2/3/100/-9",
            "files/insert_log/1/2/3/100/9223372036854775808",
            "files/insert_log/1/2/x/100/9",
            "files/stats_log/1/2/3/100/9",
            "files//insert_log/1/2/3/100/9",
            "files/./insert_log/1/2/3/100/9",
            "./insert_log/1/2/3/100/9",
            "a/../insert_log/1/2/3/100/9",
            "files/insert_log//1/2/3/100/9",
            "files/insert_log/1/2/3/100/9/",
            "//insert_log/1/2/3/100/9",
            "filesinsert_log/1/2/3/100/9",
        ] {
            assert_eq!(root_of(LogKind::Insert, path), None, "{path}");
        }
        assert_eq!(root_of(LogKind::Delete, "files/delta_log/1/2/3/0/9"), None);
        let no_text = b"\xff/insert_log/1/2/3/100/9";
        assert_eq!(LogPath::parse(LogKind::Insert, no_text), None);
    }
}
