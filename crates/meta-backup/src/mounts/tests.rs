//! Mount tables of real runtimes, without irrelevant lines.

use super::Ephemeral::{Layer, Memory, PodVolume};
use super::*;

/// `docker run --rm -v "$PWD/migration.yaml:/milvus/configs/migration.yaml" -v /srv/backups:/backups --tmpfs /scratch`.
const DOCKER: &str = "\
1043 837 0:56 / / rw,relatime master:389 - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/QWERT:/var/lib/docker/overlay2/l/ZXCVB,upperdir=/var/lib/docker/overlay2/9a/diff,workdir=/var/lib/docker/overlay2/9a/work
1044 1043 0:59 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
1045 1043 0:60 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755,inode64
1046 1045 0:61 / /dev/pts rw,nosuid,noexec,relatime - devpts devpts rw,gid=5,mode=620,ptmxmode=666
1047 1043 0:62 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
1048 1047 0:30 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate
1049 1045 0:58 / /dev/mqueue rw,nosuid,nodev,noexec,relatime - mqueue mqueue rw
1050 1045 0:63 / /dev/shm rw,nosuid,nodev,noexec,relatime - tmpfs shm rw,size=65536k,inode64
1051 1043 0:64 / /scratch rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,inode64
1052 1043 8:1 /home/me/migration.yaml /milvus/configs/migration.yaml rw,relatime - ext4 /dev/sda1 rw,errors=remount-ro
1053 1043 8:1 /srv/backups /backups rw,relatime - ext4 /dev/sda1 rw,errors=remount-ro
1054 1043 8:1 /var/lib/docker/containers/5d/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/sda1 rw,errors=remount-ro
1055 1043 8:1 /var/lib/docker/containers/5d/hostname /etc/hostname rw,relatime - ext4 /dev/sda1 rw,errors=remount-ro
1056 1043 8:1 /var/lib/docker/containers/5d/hosts /etc/hosts rw,relatime - ext4 /dev/sda1 rw,errors=remount-ro
838 1044 0:59 /bus /proc/bus ro,nosuid,nodev,noexec,relatime - proc proc rw
";

/// A pod on containerd with a PVC, an NFS volume, an emptyDir on disk, and one in memory.
const CONTAINERD: &str = "\
2133 1986 0:412 / / rw,relatime master:701 - overlay overlay rw,lowerdir=/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/61/fs,upperdir=/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/94/fs,workdir=/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/94/work
2134 2133 0:414 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
2140 2133 8:16 / /backups rw,relatime - ext4 /dev/sdb rw
2141 2133 259:1 /var/lib/kubelet/pods/0c5e/volumes/kubernetes.io~empty-dir/scratch /scratch rw,relatime - xfs /dev/nvme0n1p1 rw,attr2
2142 2133 0:398 / /ram rw,relatime - tmpfs tmpfs rw,size=16Gi
2143 2133 0:399 /exports/milvus /nfs rw,relatime - nfs4 10.0.0.3:/exports/milvus rw,vers=4.2
2144 2133 259:1 /var/lib/kubelet/pods/0c5e/etc-hosts /etc/hosts rw,relatime - xfs /dev/nvme0n1p1 rw,attr2
2145 2133 0:400 / /run/secrets/kubernetes.io/serviceaccount ro,relatime - tmpfs tmpfs rw,size=16Gi
";

/// Rootless Podman.
const PODMAN: &str = "\
780 652 0:49 / / rw,nodev,relatime - overlay overlay rw,context=\"system_u:object_r:container_file_t:s0:c1,c2\",lowerdir=/home/me/.local/share/containers/storage/overlay/l/AB,upperdir=/home/me/.local/share/containers/storage/overlay/77/diff,workdir=/home/me/.local/share/containers/storage/overlay/77/work,userxattr
781 780 0:53 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
786 780 0:45 /containers/overlay-containers/77/userdata/.containerenv /run/.containerenv rw,nosuid,nodev,relatime - tmpfs tmpfs rw,size=3262216k
787 780 0:35 /home/me/my\\040backups /my\\040backups rw,relatime - btrfs /dev/mapper/luks rw,subvolid=257,subvol=/home
";

const PODMAN_FUSE: &str = "\
500 400 0:50 / / rw,nodev,noatime - fuse.fuse-overlayfs fuse-overlayfs rw,user_id=0,group_id=0
501 500 8:1 /srv /srv rw,relatime - ext4 /dev/sda1 rw
";

const DOCKER_BTRFS: &str = "\
300 200 0:31 /@/var/lib/docker/btrfs/subvolumes/4f0c / rw,relatime - btrfs /dev/sda2 rw,subvolid=300
301 300 0:31 /@/srv /srv rw,relatime - btrfs /dev/sda2 rw,subvolid=256
";

const DOCKER_VFS: &str = "\
300 200 8:1 /var/lib/docker/vfs/dir/4f0c / rw,relatime - ext4 /dev/sda1 rw
301 300 8:1 /srv /srv rw,relatime - ext4 /dev/sda1 rw
";

const DOCKER_DEVICEMAPPER: &str = "\
300 200 253:5 /rootfs / rw,relatime - xfs /dev/mapper/docker-8:1-1234-4f0c rw,nouuid
301 300 8:1 /srv /srv rw,relatime - ext4 /dev/sda1 rw
";

/// A host with `/tmp` in memory, an overlay on `/home`, the root of a container, and an emptyDir
/// volume.
const HOST: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
23 22 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
30 22 0:26 / /tmp rw,nosuid,nodev shared:16 - tmpfs tmpfs rw,inode64
31 22 0:51 / /home rw,relatime shared:90 - overlay overlay rw,lowerdir=/srv/home,upperdir=/srv/up,workdir=/srv/work
32 22 0:56 / /var/lib/docker/overlay2/9a/merged rw,relatime shared:301 - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/QWERT
33 22 8:1 /var/lib/kubelet/pods/0c5e/volumes/kubernetes.io~empty-dir/x /mnt/x rw,relatime - ext4 /dev/sda1 rw
";

/// A virtual machine made from a container image, which includes `/.dockerenv`.
const VIRTUAL_MACHINE: &str = "\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
22 27 0:21 / /proc rw,relatime - proc proc rw
25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=24683652k
24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw,mode=755
";

/// An initial ramdisk and the real root: two mounts on `/`, the second above the first.
const STACKED_ROOT: &str = "\
1 1 0:2 / / rw - rootfs rootfs rw
20 1 8:2 / / rw,relatime - ext4 /dev/sda2 rw
";

/// A volume mounted on a folder hides an earlier mount inside that folder.
const HIDDEN: &str = "\
10 9 0:56 / / rw,relatime - overlay overlay rw
11 10 8:1 /srv /data/backups rw,relatime - ext4 /dev/sda1 rw
12 10 0:64 / /data rw,relatime - tmpfs tmpfs rw
";

#[test]
fn folders_that_outlive_a_container_are_recognized() {
    let cases: [(&str, &str, Option<Ephemeral>); 33] = [
        (DOCKER, "/tmp", Some(Layer)),
        (DOCKER, "/", Some(Layer)),
        (DOCKER, "/milvus/configs", Some(Layer)),
        (DOCKER, "/backupsx", Some(Layer)),
        (DOCKER, "/scratch/deep", Some(Memory)),
        (DOCKER, "/dev/shm", Some(Memory)),
        (DOCKER, "/backups", None),
        (DOCKER, "/backups/today", None),
        (CONTAINERD, "/milvus", Some(Layer)),
        (CONTAINERD, "/scratch", Some(PodVolume)),
        (CONTAINERD, "/ram", Some(Memory)),
        (CONTAINERD, "/backups", None),
        (CONTAINERD, "/nfs/a", None),
        (PODMAN, "/root", Some(Layer)),
        (PODMAN, "/my backups", None),
        (PODMAN, "/my", Some(Layer)),
        (PODMAN_FUSE, "/tmp", Some(Layer)),
        (PODMAN_FUSE, "/srv", None),
        (DOCKER_BTRFS, "/tmp", Some(Layer)),
        (DOCKER_BTRFS, "/srv", None),
        (DOCKER_VFS, "/tmp", Some(Layer)),
        (DOCKER_VFS, "/srv", None),
        (DOCKER_DEVICEMAPPER, "/tmp", Some(Layer)),
        (DOCKER_DEVICEMAPPER, "/srv", None),
        (HOST, "/root", None),
        (HOST, "/tmp", None),
        (HOST, "/home/me", None),
        (HOST, "/mnt/x", None),
        (VIRTUAL_MACHINE, "/tmp", None),
        (STACKED_ROOT, "/tmp", None),
        (HIDDEN, "/data/backups", Some(Memory)),
        ("", "/tmp", None),
        ("not a mount table\n1 2\n", "/tmp", None),
    ];
    for (table, folder, expected) in cases {
        let found = ephemeral(table.as_bytes(), Path::new(folder));
        assert_eq!(found, expected, "{folder} in\n{table}");
    }
}

#[test]
fn a_cycle_in_the_mount_table_ends() {
    let table = "1 1 0:1 / / rw - overlay overlay rw\n\
                 2 1 0:2 / /a rw - ext4 /dev/sda1 rw\n\
                 3 2 0:2 / /a rw - ext4 /dev/sda1 rw\n\
                 2 3 0:2 / /a rw - ext4 /dev/sda1 rw\n";
    assert_eq!(ephemeral(table.as_bytes(), Path::new("/a")), None);
}
