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
