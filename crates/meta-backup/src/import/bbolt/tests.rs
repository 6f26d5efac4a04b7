//! Constructed databases with faults that real ones do not have.

use std::io::Cursor;

use super::*;

const PAGE: usize = 512;
const PAGE_U32: u32 = 512;

type Found = Vec<(Vec<u8>, Vec<u8>)>;

fn page(number: u64, flags: u16, count: u16, overflow: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend_from_slice(&flags.to_le_bytes());
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&overflow.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes.resize(PAGE, 0);
    bytes
}

fn meta(number: u64, root: u64, pages: u64, transaction: u64) -> Vec<u8> {
    let mut body = Vec::new();
    for field in [MAGIC, FORMAT_VERSION, PAGE_U32, 0] {
        body.extend_from_slice(&field.to_le_bytes());
    }
    for field in [root, 0, 0, pages, transaction] {
        body.extend_from_slice(&field.to_le_bytes());
    }
    let checksum = fnv_1a(&body);
    body.extend_from_slice(&checksum.to_le_bytes());
    page(number, FLAG_META, 0, 0, &body)
}

fn leaf(number: u64, elements: &[(u32, &[u8], &[u8])]) -> Vec<u8> {
    let mut heads = Vec::new();
    let mut data = Vec::new();
    for (index, (flags, key, value)) in elements.iter().enumerate() {
        let position = (elements.len() - index) * ELEMENT + data.len();
        for field in [*flags as usize, position, key.len(), value.len()] {
            heads.extend_from_slice(&u32::try_from(field).unwrap().to_le_bytes());
        }
        data.extend_from_slice(key);
        data.extend_from_slice(value);
    }
    page(
        number,
        FLAG_LEAF,
        u16::try_from(elements.len()).unwrap(),
        0,
        &[heads, data].concat(),
    )
}

fn branch(number: u64, children: &[u64]) -> Vec<u8> {
    let mut body = Vec::new();
    for child in children {
        body.extend_from_slice(&[0; 8]);
        body.extend_from_slice(&child.to_le_bytes());
    }
    page(
        number,
        FLAG_BRANCH,
        u16::try_from(children.len()).unwrap(),
        0,
        &body,
    )
}

fn bucket(root: u64) -> Vec<u8> {
    [root.to_le_bytes(), 0_u64.to_le_bytes()].concat()
}

/// Traverses the bucket `key` of a database with these pages after the two meta pages.
fn walk(pages: &[Vec<u8>]) -> Result<Option<Found>, FormatError> {
    let count = pages.len() as u64 + 2;
    let file = [
        [meta(0, 2, count, 7), meta(1, 99, count, 6)].concat(),
        pages.concat(),
    ]
    .concat();
    walk_file(&file)
}

fn walk_file(file: &[u8]) -> Result<Option<Found>, FormatError> {
    let mut found = Vec::new();
    let mut database = Database::open(Cursor::new(file), file.len() as u64)?;
    let there = database.walk_bucket(b"key", &mut |key, value| {
        found.push((key.to_vec(), value.to_vec()));
        Ok(())
    })?;
    Ok(there.then_some(found))
}

fn reason(result: Result<Option<Found>, FormatError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn leaves_below_a_branch_come_in_order() {
    let found = walk(&[
        leaf(2, &[(1, b"auth", &bucket(9)), (1, b"key", &bucket(3))]),
        branch(3, &[5, 4]),
        leaf(4, &[(0, b"c", b"3")]),
        leaf(5, &[(0, b"a", b"1"), (0, b"b", b"")]),
    ]);
    let expected: Found = [("a", "1"), ("b", ""), ("c", "3")]
        .map(|(key, value)| (key.into(), value.into()))
        .to_vec();
    assert_eq!(found.unwrap(), Some(expected));
}

#[test]
fn an_inline_bucket_is_read() {
    let inline = [bucket(0), leaf(0, &[(0, b"a", b"1")])[..64].to_vec()].concat();
    let found = walk(&[leaf(2, &[(1, b"key", &inline)])]).unwrap();
    assert_eq!(found, Some(vec![(b"a".to_vec(), b"1".to_vec())]));
}

#[test]
fn a_missing_bucket_is_reported() {
    assert_eq!(walk(&[leaf(2, &[(1, b"auth", &bucket(9))])]).unwrap(), None);
}

#[test]
fn the_newer_meta_page_is_used() {
    let pages = [
        leaf(2, &[]),
        leaf(3, &[(1, b"key", &bucket(4))]),
        leaf(4, &[]),
    ];
    let file = [
        [meta(0, 2, 5, 7), meta(1, 3, 5, 8)].concat(),
        pages.concat(),
    ]
    .concat();
    assert_eq!(walk_file(&file).unwrap(), Some(Vec::new()));
}

#[test]
fn a_page_cycle_is_refused() {
    let root = leaf(2, &[(1, b"key", &bucket(3))]);
    for children in [&[3][..], &[2], &[4, 4]] {
        let reason = reason(walk(&[root.clone(), branch(3, children), leaf(4, &[])]));
        assert!(reason.contains("used twice"), "{reason}");
    }
}

#[test]
fn pages_that_do_not_exist_are_refused() {
    for child in [0, 1, 5, u64::MAX, u64::MAX / PAGE as u64] {
        let reason = reason(walk(&[
            leaf(2, &[(1, b"key", &bucket(3))]),
            branch(3, &[child]),
            leaf(4, &[]),
        ]));
        assert!(reason.contains("does not exist"), "{child}: {reason}");
    }
}

#[test]
fn overflow_pages_beyond_the_end_are_refused() {
    let reason = reason(walk(&[page(2, FLAG_LEAF, 0, u32::MAX, &[])]));
    assert!(reason.contains("runs beyond the end"), "{reason}");
}

#[test]
fn elements_beyond_their_page_are_refused() {
    let mut far = leaf(2, &[(1, b"key", &bucket(3))]);
    far[PAGE_HEAD + 4..PAGE_HEAD + 8].copy_from_slice(&u32::MAX.to_le_bytes());
    let many = page(2, FLAG_LEAF, u16::MAX, 0, &[]);
    let many_children = page(2, FLAG_BRANCH, u16::MAX, 0, &[]);
    assert!(reason(walk(&[far])).contains("reaches beyond"));
    assert!(walk(&[many]).is_err());
    assert!(walk(&[many_children]).is_err());
}

#[test]
fn elements_that_share_bytes_are_refused() {
    // Twenty elements that share the same 168 bytes.
    let mut body = Vec::new();
    for index in 0..20_u32 {
        for field in [0, 320 - index * 16, 8, 160] {
            body.extend_from_slice(&field.to_le_bytes());
        }
    }
    let shared = page(3, FLAG_LEAF, 20, 0, &body);
    let reason = reason(walk(&[leaf(2, &[(1, b"key", &bucket(3))]), shared]));
    assert!(reason.contains("overlap"), "{reason}");
}

#[test]
fn pages_of_another_kind_or_number_are_refused() {
    assert!(reason(walk(&[page(2, 0x10, 0, 0, &[])])).contains("neither branch nor leaf"));
    assert!(reason(walk(&[leaf(3, &[])])).contains("different number"));
}

#[test]
fn damage_to_a_real_database_never_makes_the_reader_panic() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/backups/etcd-3.5.1.snapshot.db"
    );
    let complete = std::fs::read(path).unwrap();
    assert!(walk_file(&complete).unwrap().unwrap().len() > 170);
    // One in seven bits of the head and the first elements of every page.
    for page in 0..complete.len() / 4096 {
        for bit in (0..80 * 8).step_by(7) {
            let mut altered = complete.clone();
            altered[page * 4096 + bit / 8] ^= 1 << (bit % 8);
            let _ = walk_file(&altered);
        }
    }
}
