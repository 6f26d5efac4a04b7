//! Determines from `/proc/self/mountinfo` whether a folder outlives the container that the program
//! runs in (see proc_pid_mountinfo(5)).

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Why files in a folder are lost with the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ephemeral {
    /// The folder is in the container's writable layer.
    Layer,
    /// The folder is in memory (tmpfs).
    Memory,
    /// The folder is in an emptyDir volume of a Kubernetes pod.
    PodVolume,
}

/// File systems with which container runtimes combine image layers.
const LAYERED: [&[u8]; 4] = [
    b"overlay",
    b"aufs",
    b"fuse.fuse-overlayfs",
    b"fuse-overlayfs",
];

/// Folders in which runtimes without such a file system keep container roots, as part of a mount's
/// root.
const LAYER_FOLDERS: [&[u8]; 5] = [
    b"/docker/vfs/dir/",
    b"/docker/btrfs/subvolumes/",
    b"/storage/vfs/dir/",
    b"/storage/btrfs/subvolumes/",
    b"/io.containerd.snapshotter.v1.",
];

/// Prefix of the device names of Docker's devicemapper driver.
const LAYER_DEVICE: &[u8] = b"/dev/mapper/docker-";

/// Folder name in the path of the kubelet's emptyDir volumes.
const POD_VOLUMES: &[u8] = b"/kubernetes.io~empty-dir/";

/// One line of mountinfo.
struct Mount {
    id: u64,
    parent: u64,
    /// The path in the mounted file system that is visible at `point`.
    root: Vec<u8>,
    point: Vec<u8>,
    kind: Vec<u8>,
    source: Vec<u8>,
}

impl Mount {
    /// Parses a line; `None` if it has another form.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = number(fields.next()?)?;
        let parent = number(fields.next()?)?;
        let root = unescaped(fields.nth(1)?);
        let point = unescaped(fields.next()?);
        // Optional fields end with a dash.
        fields.by_ref().find(|field| *field == b"-")?;
        Some(Self {
            id,
            parent,
            root,
            point,
            kind: fields.next()?.to_vec(),
            source: unescaped(fields.next()?),
        })
    }

    fn contains_folder(&self, folder: &[u8]) -> bool {
        match folder.strip_prefix(self.point.as_slice()) {
            Some(rest) => rest.is_empty() || rest.starts_with(b"/") || self.point == b"/",
            None => false,
        }
    }

    fn is_layer(&self) -> bool {
        LAYERED.contains(&self.kind.as_slice())
            || LAYER_FOLDERS.iter().any(|part| contains(&self.root, part))
            || self.source.starts_with(LAYER_DEVICE)
    }
}

/// Returns why a folder is lost with the container; `None` if it is not, or if there is no
/// container.
///
/// `folder` must be absolute and without symbolic links. A container is recognized only by the file
/// system of its root, because files such as `/.dockerenv` also exist in machines made from images.
/// A layered root without a container (a live system) is not persistent either.
#[must_use]
pub(super) fn ephemeral(mountinfo: &[u8], folder: &Path) -> Option<Ephemeral> {
    let mounts: Vec<Mount> = mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(Mount::parse)
        .collect();
    let root = mount_of(&mounts, b"/")?;
    if !root.is_layer() {
        return None;
    }
    let mount = mount_of(&mounts, folder.as_os_str().as_bytes())?;
    if mount.id == root.id {
        return Some(Ephemeral::Layer);
    }
    if mount.kind == b"tmpfs" || mount.kind == b"ramfs" {
        return Some(Ephemeral::Memory);
    }
    contains(&mount.root, POD_VOLUMES).then_some(Ephemeral::PodVolume)
}

/// Returns the mount of a folder as the kernel resolves it. Among the mounts on one file system,
/// the one nearest its root is followed first; it hides mounts below it.
fn mount_of<'m>(mounts: &'m [Mount], folder: &[u8]) -> Option<&'m Mount> {
    let is_root = |mount: &&Mount| mount.point == b"/";
    let mut current = mounts.iter().filter(is_root).find(|mount| {
        mount.parent == mount.id || !mounts.iter().any(|other| other.id == mount.parent)
    })?;
    // The number of steps is limited because a malformed table may contain a cycle.
    for _ in 0..mounts.len() {
        let next = mounts
            .iter()
            .filter(|mount| mount.parent == current.id && mount.id != current.id)
            .filter(|mount| mount.contains_folder(folder))
            .min_by_key(|mount| mount.point.len());
        match next {
            Some(mount) => current = mount,
            None => return Some(current),
        }
    }
    None
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Decodes spaces, tabs, line feeds and backslashes, which are three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests;
