use super::*;
use crate::RangeResponse;

const LIMITS: PageLimits = PageLimits {
    bytes: 1 << 20,
    first_count: 20,
    max_count: 50,
    keys_only: false,
};

fn page(keys: impl IntoIterator<Item = String>, count: i64) -> Page {
    let entries: Vec<Entry> = keys.into_iter().map(|key| Entry::new(key, "v")).collect();
    Page {
        limit: 20,
        response: RangeResponse {
            more: count > entries.len() as i64,
            entries,
            count,
            revision: 1,
            cluster: 0,
        },
    }
}

fn ranges(splits: &Splits) -> Vec<KeyRange> {
    let pieces = splits.pieces.iter();
    pieces.map(|piece| piece.range.clone()).collect()
}

#[test]
fn gaps_take_few_requests_and_an_empty_end_takes_none() {
    let range = KeyRange::prefix("root/");
    let mut splits = Splits::new(LIMITS);
    let near = (0..20).map(|number| format!("root/100000000000/5/{number:08}"));
    splits.add(range.clone(), &page(near, 120));
    let (mut requests, mut left) = (0, 100);
    while let Some(split) = splits.next() {
        assert!(!split.range.is_empty());
        let found = if split.range.contains(b"root/100900000000/5") {
            std::mem::take(&mut left)
        } else {
            0
        };
        // One page with all remaining keys: the range after it is known to be empty.
        let keys = (0..found).map(|number| format!("root/100900000000/5/{number:08}"));
        splits.received(&page(keys, found));
        requests += 1;
    }
    assert_eq!(left, 0);
    assert!(splits.pieces.is_empty());
    assert!(requests < 12, "{requests} requests");
}

#[test]
fn search_for_the_next_key_requests_nothing_after_it() {
    let cut = [b"root/b".to_vec()];
    let parts = parts(KeyRange::prefix("root/"), &cut);
    let mut splits = Splits::new(LIMITS);
    for (range, folder) in parts.iter().zip(["a", "k"]) {
        let keys = (100_000..100_020).map(|number| format!("root/{folder}/{number}/5"));
        splits.add(range.clone(), &page(keys, 400));
    }
    assert!(splits.next().is_some() && splits.next().is_some());
    // A gap: one split at a time, although the next part is known to have many keys.
    let nothing = || page(Vec::new(), 0);
    splits.received(&nothing());
    assert_eq!(splits.next(), None);
    splits.received(&nothing());
    for _ in 0..3 {
        let step = splits.next().unwrap();
        assert!(step.position == 0 && parts[0].contains(&step.range.start));
        assert_eq!(splits.next(), None);
        splits.received(&nothing());
    }
    // Keys found, far denser than the width implies: still one split at a time.
    let step = splits.next().unwrap();
    let start = String::from_utf8(step.range.start).unwrap();
    let keys = (0..50).map(|number| format!("{start}{number:02}"));
    splits.received(&page(keys, 300));
    assert!(splits.next().is_some());
    assert_eq!(splits.next(), None);
    // The width matches again.
    let keys = (50..90).map(|number| format!("{start}{number:02}"));
    splits.received(&page(keys, 40));
    let ahead: Vec<Split> = (0..3).filter_map(|_| splits.next()).collect();
    assert_eq!(ahead.len(), 3);
    assert!(splits.first_is_requested());
}

#[test]
fn split_after_a_sparse_one_is_slightly_wider() {
    let mut splits = Splits::new(LIMITS);
    let keys = (0..20).map(|number| format!("root/{:06}", number * 10));
    splits.add(KeyRange::prefix("root/"), &page(keys, 10_000));
    let width = |split: &Split| {
        let number = |key: &[u8]| {
            let text = String::from_utf8_lossy(&key[5..]);
            text.trim_end_matches('\0').parse::<u64>().unwrap()
        };
        number(&split.range.end) - number(&split.range.start)
    };
    let first = splits.next().unwrap();
    splits.received(&page(["root/000200".to_owned()], 1));
    let second = splits.next().unwrap();
    assert_eq!(width(&second), SPARSE_FACTOR * width(&first));
}

#[test]
fn split_width_follows_the_counted_density() {
    let mut splits = Splits::new(LIMITS);
    let keys = (0..20).map(|number| format!("root/{:06}", number * 10));
    splits.add(KeyRange::prefix("root/"), &page(keys, 10_000));
    let first = splits.next().unwrap();
    assert_eq!(first.limit, 50);
    assert_eq!(first.range.start, b"root/000190\0");
    assert_eq!(first.range.end, b"root/000608");
    // Ten times the estimated density.
    let keys = (0..50).map(|number| format!("root/{:06}", 191 + number));
    splits.received(&page(keys, 440));
    let rest = splits.next().unwrap();
    assert_eq!(rest.range.start, b"root/000240\0");
    assert_eq!(rest.range.end, b"root/000281");
}

#[test]
fn remaining_count_is_exact_when_nothing_is_in_flight() {
    // Less dense than estimated, then denser: the rest of a split is divided too.
    let numbers = (0..200).step_by(10).chain(191..800);
    let numbers = numbers.chain((1_000..5_000).step_by(37));
    let keys: Vec<String> = numbers.map(|number| format!("root/{number:06}")).collect();
    let within = |range: &KeyRange| -> Vec<String> {
        let inside = keys.iter().filter(|key| range.contains(key.as_bytes()));
        inside.cloned().collect()
    };
    let range = KeyRange::prefix("root/");
    let mut splits = Splits::new(LIMITS);
    let (first, count) = (keys[..20].to_vec(), keys.len() as i64);
    splits.add(range, &page(first, count));
    let mut found = 20;
    while let Some(split) = splits.next() {
        let inside = within(&split.range);
        let count = inside.len() as i64;
        let limit = usize::try_from(split.limit).unwrap();
        let read: Vec<String> = inside.into_iter().take(limit).collect();
        found += read.len();
        splits.received(&page(read, count));
        for piece in &splits.pieces {
            let left = within(&piece.range).len() as i64;
            assert!(matches!(piece.state, PieceState::Waiting(known) if known == left));
        }
    }
    assert_eq!(found, keys.len());
}

#[test]
fn requested_and_waiting_pieces_are_contiguous() {
    let cuts = [b"root/c".to_vec(), b"root/x".to_vec(), b"z".to_vec()];
    let parts = parts(KeyRange::prefix("root/"), &cuts);
    assert_eq!(parts.len(), 3);
    let mut splits = Splits::new(LIMITS);
    for (range, folder) in parts.iter().zip(["a", "k", "y"]) {
        let keys = (100..120).map(|number| format!("root/{folder}/{number}"));
        splits.add(range.clone(), &page(keys, 400));
    }
    assert_eq!(splits.keys(), 1_200);
    let positions = (0..6).filter_map(|_| splits.next());
    let positions: Vec<usize> = positions.map(|split| split.position).collect();
    assert_eq!(positions, [0, 1, 2, 3, 4, 5]);
    let ranges = ranges(&splits);
    assert_eq!(ranges[0].start, successor(b"root/a/119"));
    let of_first = ranges
        .iter()
        .filter(|range| parts[0].contains(&range.start));
    let of_first: Vec<_> = of_first.collect();
    assert!(of_first.windows(2).all(|pair| pair[0].end == pair[1].start));
    assert_eq!(of_first.last().unwrap().end, parts[0].end);
    assert_eq!(ranges.last().unwrap().end, parts[2].end);
}
