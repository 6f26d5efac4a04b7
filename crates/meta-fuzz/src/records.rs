//! Records of all families, and their migration.

use std::collections::BTreeMap;
use std::convert::Infallible;

use milvus_meta::catalog::{Owner, Reader};
use milvus_meta::codec::describe;
use milvus_meta::entry::Entry;
use milvus_meta::finding::Severity;
use milvus_meta::keys::{Family, KeyRange, LogKind, MetaRoot, TOMBSTONE};
use milvus_meta::layout::Layout;
use milvus_meta::layout::LayoutDetector;
use milvus_meta::transform::{
    CollectionForm, Migration, OnBrokenRecord, Options, Put, Remaining, SegmentForm,
    SegmentRewrite, Source, leftover_ranges, remaining_after_commit, staged_family_ranges,
};
use milvus_meta::verify::Checker;

use super::bytes::{Bytes, push_chunk, push_short_chunk};
use super::wire;

/// Keys relative to the meta root, with their values.
type Image = BTreeMap<Vec<u8>, Vec<u8>>;

/// The encodings of a value in the input.
const RAW: u8 = 0;
const TOKENS: u8 = 1;
const IS_TOMBSTONE: u8 = 2;

/// The first byte selects form and policy. Entries follow: family, the rest of the key, the value.
pub fn run(input: &[u8]) {
    let mut input = Bytes::new(input);
    let selector = input.byte();
    let form = [
        CollectionForm::Split,
        CollectionForm::Database,
        CollectionForm::Embedded,
    ][usize::from(selector % 3)];
    let policy = if selector & 64 == 0 {
        OnBrokenRecord::Skip
    } else {
        OnBrokenRecord::Fail
    };
    let image = image(&mut input);
    let mut reader = Reader::new(root());
    for (key, value) in &image {
        describe(key, value).to_string();
        let _ = Owner::of(key, value);
        reader.push(&Entry::new(root().join(key), value.clone()));
    }
    let _ = reader.finish();
    check(&image, form, policy);
}

fn image(input: &mut Bytes<'_>) -> Image {
    let mut image = Image::new();
    while !input.is_empty() {
        let family = Family::ALL.get(usize::from(input.byte()));
        let mut key = match family {
            Some(Family::DdMessageSend | Family::DdOperation) | None => Vec::new(),
            Some(family) => family.prefix().into_bytes(),
        };
        key.extend_from_slice(input.short_chunk());
        let value = match input.byte() % 3 {
            RAW => input.chunk().to_vec(),
            TOKENS => wire::message(input),
            _ => TOMBSTONE.to_vec(),
        };
        image.insert(key, value);
    }
    image
}

/// Encodes entries as an input; `None` if one cannot be encoded.
pub fn seed(selector: u8, entries: &[(Vec<u8>, Vec<u8>)]) -> Option<Vec<u8>> {
    let mut out = vec![selector];
    for (key, value) in entries {
        let family = Family::of(key);
        let position = Family::ALL.iter().position(|other| *other == family);
        match (position, family.rest(key)) {
            (Some(position), Some(rest)) => {
                out.push(u8::try_from(position).ok()?);
                push_short_chunk(&mut out, rest);
            }
            _ => {
                out.push(u8::MAX);
                push_short_chunk(&mut out, key);
            }
        }
        if value == TOMBSTONE {
            out.push(IS_TOMBSTONE);
        } else if let Some(tokens) = wire::tokens(value) {
            out.push(TOKENS);
            out.extend_from_slice(&tokens);
            out.push(0);
        } else {
            out.push(RAW);
            push_chunk(&mut out, value);
        }
    }
    Some(out)
}

fn root() -> MetaRoot {
    MetaRoot::new("a", "meta", "kv").unwrap()
}

fn entries(image: &Image) -> impl DoubleEndedIterator<Item = Entry> + Clone + '_ {
    image
        .iter()
        .map(|(key, value)| Entry::new(root().join(key), value.clone()))
}

fn migrate(
    entries: impl Iterator<Item = Entry>,
    form: CollectionForm,
    on_broken_record: OnBrokenRecord,
) -> (Migration, Layout) {
    let target = match form {
        CollectionForm::Split | CollectionForm::Embedded => "2.2.3",
        CollectionForm::Database => "2.2.16",
    };
    let options = Options {
        task: milvus_meta::transform::Task::Migration,
        form,
        segment_form: SegmentForm::Auto,
        on_broken_record,
        schemas: None,
        target: target.parse().unwrap(),
    };
    let mut source = Source::new(root(), options);
    for entry in entries {
        source.push(&entry);
    }
    let layout = source.layout();
    (source.finish(), layout)
}

fn check(image: &Image, form: CollectionForm, policy: OnBrokenRecord) {
    let (migration, layout) = migrate(entries(image), form, policy);
    let (backward, _) = migrate(entries(image).rev(), form, policy);
    assert_eq!(migration.digest, backward.digest);
    assert_eq!(migration.findings, backward.findings);
    assert_eq!(migration.plan(layout, 1), backward.plan(layout, 1));
    assert!(migration.findings.is_sorted());
    if policy == OnBrokenRecord::Skip {
        // A finding without a key concerns the metadata as a whole: there is no record to skip.
        let mut findings = migration.findings.iter();
        let refused = findings.find(|it| it.severity == Severity::Error && !it.key.is_empty());
        assert_eq!(refused, None);
    }
    let mut detector = LayoutDetector::new(root());
    entries(image).for_each(|entry| detector.push(&entry));
    assert_eq!(detector.layout(), layout);

    check_parts(&migration, image);
    let after = apply(&migration, image);
    check_unrelated_keys(image, &after, &migration);
    if !matches!(layout, Layout::V2_1 | Layout::Empty) {
        return;
    }
    let plan = migration.plan(layout, 1);
    let difference = plan.put.cast_signed() - plan.delete.cast_signed();
    assert_eq!(image.len() as i64 + difference, after.len() as i64);
    check_resume(&migration, image, form, policy);
    if !migration.has_errors() && form != CollectionForm::Embedded {
        check_verification(&after, (image, &migration));
    }
}

/// Checks that each part of the plan is sorted, and that each write is in a permitted range.
fn check_parts(migration: &Migration, image: &Image) {
    let root = root();
    let staged: Vec<Put> = migration.staged().collect();
    assert_eq!(staged.len() as u64, migration.staged_count);
    let bytes: usize = staged
        .iter()
        .map(|put| put.key.len() + put.value.len())
        .sum();
    assert_eq!(bytes as u64, migration.staged_bytes);
    let new = staged_family_ranges(&root);
    for puts in [&staged[..], &migration.history, &migration.rewrites] {
        assert!(puts.is_sorted_by(|a, b| a.key < b.key));
    }
    for put in &staged {
        assert!(new.iter().any(|range| range.contains(&put.key)));
        // Milvus may have its own keys of segment logs there, which must be kept.
        let relative = root.strip(&put.key).unwrap();
        let is_logs = LogKind::ALL
            .iter()
            .any(|kind| kind.family() == Family::of(relative));
        assert!(!is_logs || !image.contains_key(relative));
    }
    for put in migration.history.iter().chain(&migration.rewrites) {
        let family = Family::of(root.strip(&put.key).unwrap());
        assert!(matches!(
            family,
            Family::Collection | Family::CollectionSnapshot
        ));
    }
    let exists = |put: &Put| image.contains_key(root.strip(&put.key).unwrap());
    let keys_of = |puts: &[Put], is_wrong: &dyn Fn(&Put) -> bool| -> Vec<String> {
        let wrong = puts.iter().filter(|put| is_wrong(put));
        wrong
            .map(|put| put.key.escape_ascii().to_string())
            .collect()
    };
    assert!(keys_of(&migration.rewrites, &|put| !exists(put)).is_empty());
    let overwritten = keys_of(&migration.history, &exists);
    assert!(
        overwritten.is_empty() || migration.has_errors(),
        "overwritten: {overwritten:?}"
    );
    // etcd rejects a transaction that puts and deletes the same key.
    let removed = |put: &Put| {
        let mut ranges = migration.removals.iter();
        ranges.any(|range| range.contains(&put.key))
    };
    for puts in [&staged[..], &migration.history, &migration.rewrites] {
        assert!(keys_of(puts, &removed).is_empty());
    }
    check_ranges(migration);
}

/// Checks that the ranges to delete are not empty and do not overlap.
fn check_ranges(migration: &Migration) {
    assert_eq!(migration.leftovers, leftover_ranges(&root()));
    let mut removed: Vec<&KeyRange> = migration
        .removals
        .iter()
        .chain(&migration.leftovers)
        .collect();
    removed.sort();
    for pair in removed.windows(2) {
        assert!(pair[0].end <= pair[1].start, "ranges overlap");
    }
    assert!(removed.iter().all(|range| !range.is_empty()));
}

fn apply(migration: &Migration, image: &Image) -> Image {
    let mut after = Image::new();
    let mut last = Vec::new();
    for entry in migration.apply(entries(image).map(Ok::<_, Infallible>)) {
        let Ok(entry) = entry;
        assert!(last < entry.key, "the image is ascending");
        last = entry.key.to_vec();
        after.insert(
            root().strip(&entry.key).unwrap().to_vec(),
            entry.value.into(),
        );
    }
    after
}

/// Checks that unrelated keys are unchanged, and that every removed key is in the plan.
fn check_unrelated_keys(before: &Image, after: &Image, migration: &Migration) {
    use milvus_meta::keys::Evidence;
    let removed: Vec<_> = migration
        .removals
        .iter()
        .chain(&migration.leftovers)
        .collect();
    for (key, value) in before {
        let family = Family::of(key);
        let entry = Entry::new(root().join(key), value.clone());
        if let SegmentRewrite::Put(rewritten) = migration.rewritten_segment(&entry) {
            assert_eq!(after.get(key), Some(&rewritten), "{}", key.escape_ascii());
        } else if family.evidence() == Evidence::Both {
            assert_eq!(after.get(key), Some(value), "{}", key.escape_ascii());
        } else if !after.contains_key(key) {
            let key_below_root = root().join(key);
            assert!(removed.iter().any(|range| range.contains(&key_below_root)));
        }
    }
    for (key, value) in after {
        if matches!(Family::of(key), Family::Session | Family::Other) {
            assert_eq!(before.get(key), Some(value));
        }
    }
}

/// Checks that after the commit, continuing with any part of the rewrites done leads to the planned
/// result.
fn check_resume(
    migration: &Migration,
    image: &Image,
    form: CollectionForm,
    policy: OnBrokenRecord,
) {
    if form == CollectionForm::Database || migration.has_errors() {
        return;
    }
    let root = root();
    let relative = |put: &Put| root.strip(&put.key).unwrap().to_vec();
    for done in [0, 1, 2] {
        let mut now = image.clone();
        now.retain(|key, _| {
            let key_below_root = root.join(key);
            !migration
                .removals
                .iter()
                .any(|range| range.contains(&key_below_root))
        });
        let rewrites = migration.rewrites.iter().enumerate();
        let rewritten = rewrites.filter(|(at, _)| done == 2 || (done == 1 && at % 2 == 0));
        let puts = migration
            .history
            .iter()
            .chain(rewritten.map(|(_, put)| put));
        now.extend(puts.map(|put| (relative(put), put.value.clone())));
        let list: Vec<Entry> = entries(&now).collect();
        let rest = remaining_after_commit(&root, form, policy, &list);
        assert_eq!((&rest.history[..], &rest.removals[..]), (&[][..], &[][..]));
        now.extend(
            rest.rewrites
                .iter()
                .map(|put| (relative(put), put.value.clone())),
        );
        for put in &migration.rewrites {
            assert_eq!(now[&relative(put)], put.value);
        }
        let list: Vec<Entry> = entries(&now).collect();
        let rest = remaining_after_commit(&root, form, policy, &list);
        assert_eq!(rest, Remaining::default());
    }
}

/// Checks that verification accepts the result, unless the source has problems that a migration
/// cannot fix.
fn check_verification(after: &Image, (before, migration): (&Image, &Migration)) {
    let mut checker = Checker::new(root());
    entries(after).for_each(|entry| checker.push(&entry));
    let findings = checker.finish();
    assert!(findings.is_sorted());
    let stays = |finding: &milvus_meta::finding::Finding| {
        before.iter().any(|(key, value)| {
            after.get(key) == Some(value)
                && milvus_meta::entry::printable(&root().join(key)) == finding.key
        })
    };
    // Some problems of a collection remain, and both the migration and the verification report
    // them.
    let is_reported = |code: &str| {
        let mut reported = migration.findings.iter();
        reported.any(|finding| finding.code == code)
    };
    // A snapshot at the maximum timestamp remains, and no later snapshot can be written.
    let last = format!("_ts{}", u64::MAX);
    let is_known = |code: &str| match code {
        "snapshot-contradicts" => after.keys().any(|key| key.ends_with(last.as_bytes())),
        "collection-without-parts" => is_reported("collection-without-partitions"),
        "id-mismatch" => is_reported(code),
        _ => false,
    };
    let errors: Vec<_> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .filter(|finding| !stays(finding) && !is_known(&finding.code))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}
