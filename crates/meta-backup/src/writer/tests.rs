//! The order of operations for a backup, and the handling of device errors.

use std::fs;

use super::super::disk::recording::Recording;
use super::*;

fn header() -> Header {
    Header {
        meta_root: String::from("r"),
        revision: 7,
        ..Header::default()
    }
}

fn options(format: OutputFormat) -> WriteOptions {
    WriteOptions {
        format,
        ..WriteOptions::default()
    }
}

fn write(disk: &Arc<Recording>, path: &Path, format: OutputFormat) -> Result<Summary, BackupError> {
    let disk: Arc<dyn Disk> = Arc::clone(disk) as Arc<dyn Disk>;
    let mut writer = Writer::create_on(disk, path, header(), options(format))?;
    writer.push(b"r/key", b"value")?;
    writer.finish()
}

const FORMATS: [OutputFormat; 2] = [OutputFormat::Native, OutputFormat::Official];

#[test]
fn a_backup_is_synced_named_and_read_back_in_this_order() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(Recording::default());
        write(&disk, &folder.path().join("b.mmb"), format).unwrap();
        assert_eq!(
            disk.steps(),
            [
                "sync hidden file",
                "name b.mmb",
                "sync folder",
                "drop the cache of b.mmb"
            ],
            "{format:?}"
        );
    }
}

#[test]
fn an_existing_file_of_the_same_content_is_synced() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.mmb");
        write(&Arc::new(Recording::default()), &path, format).unwrap();
        let disk = Arc::new(Recording::default());
        assert!(write(&disk, &path, format).unwrap().reused);
        let expected = ["sync hidden file", "sync b.mmb", "sync folder"];
        assert_eq!(disk.steps(), expected, "{format:?}");
    }
}

/// Every seventh byte is damaged, so that all structures are covered.
#[test]
fn read_back_detects_damage_and_removes_the_file() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b.mmb");
        let undamaged = Arc::new(Recording::default());
        write(&undamaged, &path, format).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        for at in (0..bytes.len()).step_by(7) {
            let disk = Arc::new(Recording::damaging(move |path| {
                let mut bytes = fs::read(path).unwrap();
                bytes[at] ^= 0x10;
                fs::write(path, bytes).unwrap();
            }));
            let error = write(&disk, &path, format).unwrap_err();
            assert!(
                matches!(error, BackupError::ReadBack { .. }),
                "{format:?}, byte {at}: {error:?}"
            );
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
}

#[test]
fn read_back_detects_another_backup_with_the_name() {
    for format in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("other");
        let mut writer = Writer::create(&other, header(), options(format)).unwrap();
        writer.push(b"r/key", b"other").unwrap();
        writer.finish().unwrap();
        let disk = Arc::new(Recording::damaging(move |path| {
            fs::copy(&other, path).unwrap();
        }));
        let error = write(&disk, &folder.path().join("b.mmb"), format).unwrap_err();
        assert!(
            matches!(error, BackupError::ReadBack { source: None, .. }),
            "{error:?}"
        );
    }
}

#[test]
fn a_stream_has_the_bytes_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.mmb");
    let disk = Arc::new(Recording::default());
    let file = write(&disk, &path, OutputFormat::Native).unwrap();
    let (mut reader, pipe) = std::io::pipe().unwrap();
    let name = Path::new("-");
    let native = options(OutputFormat::Native);
    let mut writer = Writer::stream(Box::new(pipe), name, header(), native).unwrap();
    writer.push(b"r/key", b"value").unwrap();
    let stream = writer.finish().unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut bytes).unwrap();
    assert!(bytes == fs::read(&path).unwrap());
    assert_eq!((stream.bytes, &stream.digest), (file.bytes, &file.digest));
    assert_eq!(stream.path, name);
}

#[test]
fn the_official_format_cannot_be_streamed() {
    let official = options(OutputFormat::Official);
    let out = Box::new(std::io::sink());
    let error = Writer::stream(out, Path::new("-"), header(), official).err();
    assert!(matches!(error, Some(BackupError::StreamFormat { .. })));
}
