//! Whether a folder outlives the container that the program runs in, decided from the text of
//! `/proc/self/mountinfo` (see proc_pid_mountinfo(5)).

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Why what is written to a folder is lost with the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ephemeral {
    /// It belongs to the container's own writable layer.
    Layer,
    /// It is in memory (tmpfs).
    Memory,
    /// It is an emptyDir volume of a Kubernetes pod.
    PodVolume,
}

/// File systems that container runtimes build a root of image layers with.
const LAYERED: [&[u8]; 4] = [
    b"overlay",
    b"aufs",
    b"fuse.fuse-overlayfs",
    b"fuse-overlayfs",
];

/// Where runtimes without such a file system keep a container's root, as it shows in a mount's own root.
const LAYER_FOLDERS: [&[u8]; 5] = [
    b"/docker/vfs/dir/",
    b"/docker/btrfs/subvolumes/",
    b"/storage/vfs/dir/",
    b"/storage/btrfs/subvolumes/",
    b"/io.containerd.snapshotter.v1.",
];

/// How Docker names the devices of its devicemapper driver.
const LAYER_DEVICE: &[u8] = b"/dev/mapper/docker-";

/// The kubelet's folder of a pod's emptyDir volumes.
const POD_VOLUMES: &[u8] = b"/kubernetes.io~empty-dir/";

/// One line of mountinfo.
struct Mount {
    id: u64,
    parent: u64,
    /// The folder of the file system that is mounted.
    root: Vec<u8>,
    point: Vec<u8>,
    kind: Vec<u8>,
    source: Vec<u8>,
}

impl Mount {
    /// `None` for a line of another form.
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

    fn holds(&self, folder: &[u8]) -> bool {
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

/// Says why a folder, absolute and without symbolic links, is lost with the container; `None` where it is
/// not, or where the program does not run in a container.
///
/// A container is recognised by its root file system alone: `/.dockerenv` and the like stay behind in
/// machines that are made from images. A root of layers that is not a container's (a live system) is lost
/// just so.
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

/// The mount that a folder is on. The kernel goes from mount to mount the same way: among the mounts on
/// one file system the one nearest its root comes first and hides what is mounted below it.
fn mount_of<'m>(mounts: &'m [Mount], folder: &[u8]) -> Option<&'m Mount> {
    let is_root = |mount: &&Mount| mount.point == b"/";
    let mut current = mounts.iter().filter(is_root).find(|mount| {
        mount.parent == mount.id || !mounts.iter().any(|other| other.id == mount.parent)
    })?;
    // Each step leads to another mount; a list that leads round is not mountinfo.
    for _ in 0..mounts.len() {
        let next = mounts
            .iter()
            .filter(|mount| mount.parent == current.id && mount.id != current.id)
            .filter(|mount| mount.holds(folder))
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

/// Blanks, tabs, line feeds and backslashes are written as three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..3).filter(|_| *first == b'\\');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
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
