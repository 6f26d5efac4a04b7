//! Keys: families, ids, names, timestamps, ranges, the meta root.

use milvus_meta::keys::{
    Family, Key, KeyRange, LogKind, LogPath, MetaRoot, clean_join, push_timestamp, split_timestamp,
    successor,
};

use super::bytes::Bytes;

/// The first byte selects a family, whose prefix is added to the rest; or the rest is a key without
/// a prefix, or the three texts of a root.
pub fn run(input: &[u8]) {
    let mut input = Bytes::new(input);
    let selector = input.byte();
    match Family::ALL.get(usize::from(selector)) {
        Some(family) => {
            let mut key = family.prefix().into_bytes();
            key.extend_from_slice(input.rest());
            relative(&key);
        }
        None if selector == u8::MAX => root(&mut input),
        None => relative(input.rest()),
    }
}

fn relative(relative: &[u8]) {
    let key = Key::parse(relative);
    assert_eq!(key.render(), relative);
    assert_eq!(Key::parse(&key.render()), key);

    let family = Family::of(relative);
    for guess in Family::ALL {
        assert_eq!(Family::of_near(relative, *guess), family);
    }
    let root = MetaRoot::new("a", "meta", "kv").unwrap();
    let key_below_root = root.join(relative);
    assert_eq!(root.strip(&key_below_root), Some(relative));
    assert!(root.range().contains(&key_below_root));
    for other in Family::ALL {
        let ranges = other.ranges(&root);
        let is_in = ranges.iter().any(|range| range.contains(&key_below_root));
        assert_eq!(is_in, *other == family, "{other:?}");
    }

    for kind in LogKind::ALL {
        if let Some(path) = LogPath::parse(kind, relative) {
            assert_eq!(path.to_string().as_bytes(), relative);
            assert!(path.log > 0);
        }
    }

    if let Some((original, timestamp)) = split_timestamp(relative) {
        let mut rendered = original.to_vec();
        push_timestamp(&mut rendered, timestamp);
        assert_eq!(rendered, relative);
    }
    let prefix = KeyRange::prefix(relative);
    assert!(prefix.contains(relative) && prefix.contains(&successor(relative)));
    let single = KeyRange::single(relative);
    assert_eq!(single.contains(relative), !relative.is_empty());
    assert!(!single.contains(&successor(relative)));
    assert!(!prefix.after(relative).contains(relative));
}

fn root(input: &mut Bytes<'_>) {
    let texts = [input.short_chunk(), input.short_chunk(), input.rest()]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let [root_path, meta, kv] = texts.each_ref().map(String::as_str);
    let cleaned = clean_join(&[root_path, meta]);
    assert_eq!(clean_join(&[&cleaned]), cleaned);
    let Ok(root) = MetaRoot::new(root_path, meta, kv) else {
        return;
    };
    assert_eq!(root.meta_root(), cleaned);
    assert!(!cleaned.ends_with('/') && !cleaned.contains("//"));
    let range = root.range();
    assert!(range.contains(&root.lock_key()) && range.contains(&root.session_id_key()));
    assert!(!range.contains(format!("{}/x", root.kv_root()).as_bytes()));
    assert!(!range.contains(format!("{cleaned}2/x").as_bytes()));
    assert_eq!(root.strip(&root.join(b"x")), Some(&b"x"[..]));
}
