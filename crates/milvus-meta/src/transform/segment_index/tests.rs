use super::*;

fn row(segment: i64, build: i64) -> Row {
    Row {
        ids: (
            CollectionId(1),
            PartitionId(2),
            SegmentId(segment),
            IndexId(3),
        ),
        build: BuildId(build),
        create_time: 0,
        part: Slot::FIRST,
        enabled: false,
    }
}

fn numbered(builds: &[i64], wanted: usize) -> Vec<i64> {
    let mut rows: Vec<_> = builds.iter().map(|build| row(*build, *build)).collect();
    rows.extend((0..wanted).map(|_| row(0, 0)));
    let mut placeholder_ids = PlaceholderIds::new(&rows, &BuildTable::default(), &Built::default());
    (0..wanted).map(|_| placeholder_ids.next().0).collect()
}

#[test]
fn d35_t3_placeholders_use_ids_below_the_smallest() {
    assert_eq!(numbered(&[100, 90], 3), [89, 88, 87]);
}

#[test]
fn t3_placeholders_use_free_ids_from_one() {
    assert_eq!(numbered(&[], 3), [1, 2, 3]);
    assert_eq!(numbered(&[3, 4, 6], 5), [2, 1, 5, 7, 8]);
    assert_eq!(numbered(&[1], 2), [2, 3]);
}

#[test]
fn target_keys_sort_as_text() {
    let of_any_length = [9, 10, 100, 101, 1000];
    let equally_long = [10, 11, 12, 98];
    for segments in [&of_any_length[..], &equally_long] {
        let builds = |segment| [7, 10, 1000, 101].map(|build| row(segment, build));
        let mut rows: Vec<_> = segments.iter().flat_map(|&id| builds(id)).collect();
        sort_by_key(&mut rows);
        let key = |row: &Row| {
            let (collection, partition, segment, _) = row.ids;
            Key::SegmentIndex(collection, partition, segment, row.build).render()
        };
        assert_eq!(rows.len(), segments.len() * 4);
        assert!(rows.iter().map(key).is_sorted(), "{segments:?}");
    }
    for (a, b) in [(-5, 5), (0, 9), (0, 10), (-10, -9), (i64::MIN, i64::MAX)] {
        assert_eq!(as_text(a, b), a.to_string().cmp(&b.to_string()), "{a} {b}");
    }
}

#[test]
fn segment_index_row_stays_small() {
    assert!(size_of::<Row>() <= 64);
}
