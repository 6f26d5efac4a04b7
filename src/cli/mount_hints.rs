//! Hints for mounting a backup folder that outlives the container.

use std::path::Path;

use meta_backup::Ephemeral;
use meta_report::shell::quoted;

/// The mount point if the backup's own folder cannot be one.
const USUAL_FOLDER: &str = "/backups";

/// Returns options that keep the backup, ready to paste.
pub(in crate::cli) fn mount_hints(path: &Path, why: Ephemeral) -> Vec<String> {
    let parent = path.parent().filter(|_| !path.is_dir());
    let folder = parent.unwrap_or(path);
    let moves = folder == Path::new("/");
    let folder = match moves {
        true => USUAL_FOLDER.to_owned(),
        false => folder.display().to_string(),
    };
    let docker = quoted(&format!(":{folder}"));
    let mut hints = Vec::new();
    if why != Ephemeral::PodVolume {
        hints.push(format!(
            "docker run -v \"$PWD/backups\"{docker} ...   # mounts a directory of the host there; podman \
             takes the same option"
        ));
    }
    hints.push(format!(
        "volumeMounts: [{{name: backups, mountPath: {}}}]   # in Kubernetes, with a volume of a \
         PersistentVolumeClaim",
        serde_json::Value::from(folder.as_str())
    ));
    if moves {
        hints.push(format!(
            "--backup-file {USUAL_FOLDER}/milvus.mmb (in a YAML file config.backupFilePath) writes the backup there"
        ));
    }
    hints.push(
        "--allow-ephemeral-backup (in a YAML file config.allowEphemeralBackup: true) accepts that the backup \
         is lost"
            .to_owned(),
    );
    hints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_hints_name_the_folder_of_the_backup() {
        let hints = mount_hints(Path::new("/tmp/migration.bak"), Ephemeral::Layer);
        assert!(hints[0].starts_with("docker run -v \"$PWD/backups\":/tmp ..."));
        assert!(hints[1].contains("mountPath: \"/tmp\""), "{}", hints[1]);
        assert_eq!(hints.len(), 3);
        let hints = mount_hints(Path::new("/migration.bak"), Ephemeral::Layer);
        assert!(hints[0].contains(":/backups ..."));
        assert!(hints[2].contains("--backup-file /backups/milvus.mmb"));
        let hints = mount_hints(Path::new("/my dir/b.mmb"), Ephemeral::PodVolume);
        assert!(hints[0].contains("mountPath: \"/my dir\""));
    }
}
