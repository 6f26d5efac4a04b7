//! A partial backup: an unknown set of entries is missing.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use meta_backup::Tolerance;
use meta_migrate::{EngineErrorKind, ErrorClass, RestoreCommand};
use milvus_meta::transform::CollectionForm;

use super::instance::Instance;
use meta_fuzz::wire::bytes_field;

fn frame(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u64).to_le_bytes(), message].concat()
}

/// A birdwatcher file of these entries that declares one more.
fn birdwatcher(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let extra = format!(
        r#"{{"cnt":"{}","rev":"9","instance":"by-dev","metaPath":"meta"}}"#,
        entries.len() + 1
    );
    let mut part = vec![8, 1];
    bytes_field(&mut part, 3, extra.as_bytes());
    let mut file = [frame(&[8, 2]), frame(&part)].concat();
    for (key, value) in entries {
        let mut pair = Vec::new();
        bytes_field(&mut pair, 1, key);
        bytes_field(&mut pair, 2, value);
        file.extend(frame(&pair));
    }
    file.extend(frame(b""));
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&file).unwrap();
    gzip.finish().unwrap()
}

#[tokio::test]
async fn keys_missing_from_a_partial_backup_are_kept() {
    let it = Instance::small(CollectionForm::Split);
    let before = it.image();
    let absolute = |relative: &String| format!("by-dev/meta/{relative}").into_bytes();
    let saved: Vec<_> = before
        .iter()
        .skip(1)
        .map(|(key, value)| (absolute(key), value.clone()))
        .collect();
    std::fs::write(it.backup(), birdwatcher(&saved)).unwrap();
    let changed = before.keys().next_back().unwrap();
    it.put(changed, b"changed");
    let mut options = it.restore_options(RestoreCommand::Restore);
    options.accept_loss = true;
    let refused = it.restore_with(&options).await.unwrap_err();
    assert!(
        matches!(*refused.failure, EngineErrorKind::Backup(_)),
        "{refused:?}"
    );
    options.limits.tolerance = Tolerance {
        skip_hash_check: false,
        allow_partial: true,
    };
    let refused = it.restore_with(&options).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorClass::Usage, "{refused:?}");
    assert!(refused.to_string().contains("--keep-extra"), "{refused}");
    options.keep_extra = true;
    let report = it.restore_with(&options).await.unwrap();
    assert_eq!((report.delete, report.kept), (0, 1), "{report:?}");
    assert_eq!(it.image(), before);
}
