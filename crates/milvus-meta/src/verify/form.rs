//! Checks that the release that reads the collections supports their form.

use std::collections::BTreeSet;

use super::Context;
use super::collection::LiveCollections;
use crate::model::CollectionId;
use crate::plural::{agree, counted};
use crate::release::Release;
use crate::transform::CollectionForm;
use crate::transform::Findings;

pub(super) fn check(live: &LiveCollections, context: &Context, report: &mut Findings) {
    let staying = |ids: &BTreeSet<CollectionId>| -> BTreeSet<CollectionId> {
        ids.iter().copied().filter(|id| live.stays(*id)).collect()
    };
    let embedded = staying(live.embedded());
    if !embedded.is_empty() {
        check_embedded(live, &embedded, context, report);
    }
    let inside = staying(live.in_database());
    if let Some(target) = context.target.as_ref()
        && !target.has_databases()
        && !inside.is_empty()
    {
        let message = format!(
            "{} {} in the database form, which {target} does not read: {}. Use 2.2.9 or later, \
             or roll back and migrate again with --target-version {target}",
            counted(inside.len(), "collection"),
            agree(inside.len(), "is", "are"),
            live.names(&inside)
        );
        report.error("database-form", b"", message);
    }
    let split = staying(&live.split());
    if let Some(target) = context.target.as_ref()
        && target.has_databases()
        && !split.is_empty()
    {
        report.warning("split-form", b"", split_message(live, &split, target));
    }
}

/// What the target does to collections outside a database.
fn split_message(
    live: &LiveCollections,
    split: &BTreeSet<CollectionId>,
    target: &Release,
) -> String {
    let lost = match target.empties_embedded_collections() {
        true => {
            "altered aliases of such collections are lost, their renames and property changes are \
                 undone, and dropped ones return"
        }
        false => "altered aliases of such collections are lost",
    };
    format!(
        "{} {} to no database, as Milvus 2.2.0 to 2.2.8 writes them: {}. At restarts of {target} {lost}. \
         If a migration wrote them, roll back and migrate again with --target-version {target}",
        counted(split.len(), "collection"),
        agree(split.len(), "belongs", "belong"),
        live.names(split)
    )
}

fn check_embedded(
    live: &LiveCollections,
    embedded: &BTreeSet<CollectionId>,
    context: &Context,
    report: &mut Findings,
) {
    let names = live.names(embedded);
    let (count, are) = (
        counted(embedded.len(), "collection"),
        agree(embedded.len(), "is", "are"),
    );
    if let Some(form) = context.recorded
        && form != CollectionForm::Embedded
    {
        let message = format!(
            "a finished migration to the {form} form is recorded, but {count} {are} in the form of \
             2.1, so Milvus 2.1 ran on the migrated metadata: {names}. Stop Milvus 2.1, then run \
             meta-migration migrate: it carries over what 2.1 wrote"
        );
        report.error("2.1-ran", b"", message);
        return;
    }
    let target = context.target.as_ref();
    match target.filter(|target| target.empties_embedded_collections()) {
        Some(target) => {
            let message = format!(
                "{count} {are} in the embedded form, as the official tool writes them: {names}. \
                 {target} takes all fields and partitions from them at its first start. Run meta-migration \
                 repair --target-version {target}"
            );
            if context.accepts_embedded {
                report.warning("embedded-form", b"", message);
            } else {
                report.error("embedded-form", b"", message);
            }
        }
        None => report.warning(
            "embedded-form",
            b"",
            format!(
                "{count} {are} in the embedded form, as the official tool writes them: {names}. Each \
                 loses its fields and partitions at the first restart after it was renamed or altered, and \
                 all of them on 2.3.18, 2.4.5 and later at the first start. Run meta-migration repair \
                 --target-version VERSION"
            ),
        ),
    }
}
