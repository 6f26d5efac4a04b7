//! Compares the expected entries with the entries in etcd, as a merge of two ascending streams.

use bytes::Bytes;
use tokio::sync::mpsc::Receiver;

use meta_report::VerifyReport;
use meta_store::Store;
use milvus_meta::entry::Entry;
use milvus_meta::finding::Finding;
use milvus_meta::keys::KeyRange;

use crate::context::Etcd;
use crate::error::EngineErrorKind;
use crate::throughput::pages::Pages;

/// The result of the comparison for one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Diff {
    /// An expected entry that is missing.
    Missing(Entry),
    /// The key has another value than expected.
    Different {
        /// The expected entry.
        wanted: Entry,
        /// The value found.
        found: Bytes,
        /// The revision at which it was last written; 0 in a file.
        mod_revision: i64,
    },
    /// An entry that is not expected.
    Extra(Entry),
    /// An entry that is as expected.
    Same(Entry),
    /// A key that exists and is not compared.
    Ignored(Bytes),
}

impl Diff {
    pub(super) fn wanted(&self) -> Option<&Entry> {
        match self {
            Self::Missing(entry) | Self::Different { wanted: entry, .. } | Self::Same(entry) => {
                Some(entry)
            }
            Self::Extra(_) | Self::Ignored(_) => None,
        }
    }

    /// Returns the entry that exists after a restore that deletes nothing.
    pub(super) fn after(&self) -> Option<&Entry> {
        match self {
            Self::Extra(entry) => Some(entry),
            Self::Missing(_) | Self::Different { .. } | Self::Same(_) | Self::Ignored(_) => {
                self.wanted()
            }
        }
    }

    pub(super) fn key(&self) -> &Bytes {
        match self {
            Self::Missing(entry)
            | Self::Different { wanted: entry, .. }
            | Self::Extra(entry)
            | Self::Same(entry) => &entry.key,
            Self::Ignored(key) => key,
        }
    }

    /// Returns how many of the two sides have the key.
    pub(super) fn sides(&self) -> u64 {
        match self {
            Self::Different { .. } | Self::Same(_) => 2,
            Self::Missing(_) | Self::Extra(_) | Self::Ignored(_) => 1,
        }
    }

    /// Returns the key of an entry that is not as expected, and the revision at which it was written.
    pub(super) fn odd(&self) -> Option<(&Bytes, i64)> {
        match self {
            Self::Extra(entry) => Some((&entry.key, entry.mod_revision)),
            Self::Different {
                wanted,
                mod_revision,
                ..
            } => Some((&wanted.key, *mod_revision)),
            Self::Missing(_) | Self::Same(_) | Self::Ignored(_) => None,
        }
    }
}

/// The expected entries, in ascending key order, from a blocking thread.
pub(super) type Expected = Receiver<Result<Vec<Entry>, EngineErrorKind>>;

/// The expected side of the merge.
struct Side {
    chunks: Expected,
    ready: std::vec::IntoIter<Entry>,
    head: Option<Entry>,
}

impl Side {
    async fn new(chunks: Expected) -> Result<Self, EngineErrorKind> {
        let mut side = Self {
            chunks,
            ready: Vec::new().into_iter(),
            head: None,
        };
        side.advance().await?;
        Ok(side)
    }

    async fn advance(&mut self) -> Result<Option<Entry>, EngineErrorKind> {
        let next = loop {
            if let Some(entry) = self.ready.next() {
                break Some(entry);
            }
            match self.chunks.recv().await {
                Some(chunk) => self.ready = chunk?.into_iter(),
                None => break None,
            }
        };
        Ok(std::mem::replace(&mut self.head, next))
    }

    /// Passes all entries before `key` to `visit`, as missing.
    async fn advance_to(
        &mut self,
        key: &Bytes,
        visit: &mut impl FnMut(Diff) -> Result<(), EngineErrorKind>,
    ) -> Result<(), EngineErrorKind> {
        while self.head.as_ref().is_some_and(|head| head.key < *key) {
            if let Some(head) = self.advance().await? {
                visit(Diff::Missing(head))?;
            }
        }
        Ok(())
    }

    /// Advances to `key`, which exists and is not compared.
    async fn skip_to(
        &mut self,
        key: &Bytes,
        visit: &mut impl FnMut(Diff) -> Result<(), EngineErrorKind>,
    ) -> Result<(), EngineErrorKind> {
        self.advance_to(key, visit).await?;
        if let Some(head) = self.head.take_if(|head| head.key == *key) {
            self.advance().await?;
            visit(Diff::Same(head))?;
        }
        Ok(())
    }

    /// Advances to the key of `entry`, which exists, and compares it.
    async fn visit_entry(
        &mut self,
        entry: Entry,
        visit: &mut impl FnMut(Diff) -> Result<(), EngineErrorKind>,
    ) -> Result<(), EngineErrorKind> {
        self.advance_to(&entry.key, visit).await?;
        let Some(head) = self.head.take_if(|head| head.key == entry.key) else {
            return visit(Diff::Extra(entry));
        };
        self.advance().await?;
        let same = head.value == entry.value;
        visit(if same {
            Diff::Same(head)
        } else {
            Diff::Different {
                wanted: head,
                found: entry.value,
                mod_revision: entry.mod_revision,
            }
        })
    }
}

/// The entries in etcd that are compared.
pub(super) struct Actual<'a> {
    /// Ascending and disjoint.
    pub(super) ranges: Vec<KeyRange>,
    pub(super) revision: i64,
    /// Receives every entry; returns `true` for those that are not compared.
    pub(super) ignore: &'a mut (dyn FnMut(&Entry) -> bool + Send),
}

/// Merges both sides and passes the result for every key to `visit`.
pub(super) async fn compare<S: Store>(
    etcd: Etcd<'_, S>,
    expected: Expected,
    actual: Actual<'_>,
    mut visit: impl FnMut(Diff) -> Result<(), EngineErrorKind>,
) -> Result<(), EngineErrorKind> {
    let mut wanted = Side::new(expected).await?;
    for range in actual.ranges {
        let mut pages = Pages::begin(etcd, range, actual.revision).await?;
        while let Some(page) = pages.next().await? {
            for entry in page {
                if (actual.ignore)(&entry) {
                    wanted.skip_to(&entry.key, &mut visit).await?;
                    visit(Diff::Ignored(entry.key))?;
                } else {
                    wanted.visit_entry(entry, &mut visit).await?;
                }
            }
        }
    }
    while let Some(head) = wanted.advance().await? {
        visit(Diff::Missing(head))?;
    }
    Ok(())
}

/// Collects differences into a report; the first ones are listed as findings.
#[derive(Debug, Default)]
pub(super) struct Collector {
    missing: u64,
    different: u64,
    extra: u64,
    findings: Vec<Finding>,
}

impl Collector {
    const FINDINGS_MAX: usize = 1000;

    pub(super) fn add(&mut self, diff: &Diff) {
        let (counter, finding) = match diff {
            Diff::Same(_) | Diff::Ignored(_) => return,
            Diff::Missing(entry) => (
                &mut self.missing,
                Finding::error("missing", &entry.key, "the key is missing"),
            ),
            Diff::Different { wanted, .. } => (
                &mut self.different,
                Finding::error("different", &wanted.key, "the value differs"),
            ),
            Diff::Extra(entry) => (
                &mut self.extra,
                Finding::error("extra", &entry.key, "unexpected key"),
            ),
        };
        *counter += 1;
        self.push(finding);
    }

    /// Adds a finding that is not a difference.
    pub(super) fn push(&mut self, finding: Finding) {
        if self.findings.len() < Self::FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    pub(super) fn report(mut self) -> VerifyReport {
        self.findings.sort();
        let bad = self.findings.iter().any(Finding::is_error);
        VerifyReport {
            ok: !bad && self.missing + self.different + self.extra == 0,
            missing: self.missing,
            different: self.different,
            extra: self.extra,
            findings: self.findings,
        }
    }
}
