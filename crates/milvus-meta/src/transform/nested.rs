//! Other instances inside the meta root, whose root path begins with it.

use std::collections::BTreeSet;

use super::findings::Findings;

const INSIDE: &[u8] = b"/root-coord/";

/// The meta roots inside this one, relative to it.
#[derive(Debug, Default)]
pub(super) struct NestedInstances(BTreeSet<Vec<u8>>);

impl NestedInstances {
    /// Adds a key that is of no known family.
    pub(super) fn push(&mut self, relative: &[u8]) {
        let mut windows = relative.windows(INSIDE.len());
        let Some(end) = windows.position(|part| part == INSIDE) else {
            return;
        };
        let root = &relative[..end];
        if !self.0.contains(root) {
            self.0.insert(root.to_vec());
        }
    }

    pub(super) fn check(&self, findings: &mut Findings) {
        for root in &self.0 {
            let name = findings.name(root);
            findings.warning(
                "nested-instance",
                root,
                format!(
                    "another instance is inside this meta root, at {name}. The migration does not change it, but a \
                     rollback or restore of this instance sets it back as well, with its ids and timestamps: stop \
                     both instances before a rollback, or move that one first with backup and restore --to-root"
                ),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::MetaRoot;
    use crate::transform::OnBrokenRecord;

    #[test]
    fn instances_inside_the_meta_root_are_reported_once() {
        let mut nested = NestedInstances::default();
        for key in [
            "meta/root-coord/collection/1",
            "meta/root-coord/collection/2",
            "a/b/root-coord/index/1/2",
            "kv/tso/timestamp",
            "config/rootcoord/x",
        ] {
            nested.push(key.as_bytes());
        }
        let root = MetaRoot::new("by-dev", "meta", "kv").unwrap();
        let mut findings = Findings::new(root, OnBrokenRecord::Fail);
        nested.check(&mut findings);
        let found = findings.finish();
        let found: Vec<_> = found.iter().map(|one| (&*one.code, &*one.key)).collect();
        assert_eq!(
            found,
            [
                ("nested-instance", "by-dev/meta/a/b"),
                ("nested-instance", "by-dev/meta/meta"),
            ]
        );
    }
}
