//! Operations that make a file durable, as a trait: tests record their order and inject failures.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Operations of the operating system for publishing a backup.
pub(super) trait Disk: Send + Sync {
    /// Syncs a file or folder to the device.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// Creates a hard link. Fails if the name exists.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Drops the pages of a synced file from the cache, so that the next read is from the device.
    fn drop_cache(&self, file: &File) -> io::Result<()>;
}

pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    #[cfg(target_os = "linux")]
    fn drop_cache(&self, file: &File) -> io::Result<()> {
        use rustix::fs::{Advice, fadvise};
        Ok(fadvise(file, 0, None, Advice::DontNeed)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn drop_cache(&self, _file: &File) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod recording {
    //! A disk that records operations and may damage a file after it is named.

    use std::path::PathBuf;
    use std::sync::Mutex;

    use super::*;

    type Damage = Box<dyn Fn(&Path) + Send + Sync>;

    #[derive(Default)]
    pub(crate) struct Recording {
        steps: Mutex<Vec<String>>,
        damage: Option<Damage>,
    }

    impl Recording {
        /// Calls `damage` for each file immediately after it is named.
        pub(crate) fn damaging(damage: impl Fn(&Path) + Send + Sync + 'static) -> Self {
            Self {
                damage: Some(Box::new(damage)),
                ..Self::default()
            }
        }

        pub(crate) fn steps(&self) -> Vec<String> {
            self.steps.lock().unwrap().clone()
        }

        fn record(&self, step: String) {
            self.steps.lock().unwrap().push(step);
        }
    }

    /// The current name of an open file, `hidden file`, or `folder`.
    fn name(file: &File) -> String {
        use std::os::fd::AsRawFd;
        let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        if file.metadata().unwrap().is_dir() {
            return "folder".to_owned();
        }
        let name = path.file_name().map(PathBuf::from).unwrap_or_default();
        let name = name.to_string_lossy();
        if name.starts_with('.') {
            "hidden file".to_owned()
        } else {
            name.into_owned()
        }
    }

    impl Disk for Recording {
        fn sync(&self, file: &File) -> io::Result<()> {
            self.record(format!("sync {}", name(file)));
            RealDisk.sync(file)
        }

        fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
            RealDisk.link(from, to)?;
            let name = to.file_name().unwrap().to_string_lossy();
            self.record(format!("name {name}"));
            if let Some(damage) = &self.damage {
                damage(to);
            }
            Ok(())
        }

        fn drop_cache(&self, file: &File) -> io::Result<()> {
            self.record(format!("drop the cache of {}", name(file)));
            RealDisk.drop_cache(file)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    /// A pipe supports neither operation, so an error shows that the operation reached the kernel.
    #[test]
    fn sync_and_drop_cache_reach_the_kernel() {
        let (reader, _writer) = io::pipe().unwrap();
        let pipe = File::from(OwnedFd::from(reader));
        let error = RealDisk.sync(&pipe).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        RealDisk.drop_cache(&pipe).unwrap_err();
    }

    #[test]
    fn link_does_not_replace_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        let error = RealDisk.link(&from, &to).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&to).unwrap(), "old");
    }
}
