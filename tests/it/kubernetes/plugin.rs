//! The program as a plugin of kubectl.

use std::os::unix::fs::symlink;
use std::process::Command;

#[test]
fn the_program_works_as_a_kubectl_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("kubectl-milvus_migrate");
    symlink(env!("CARGO_BIN_EXE_meta-migration"), &plugin).unwrap();
    for (arguments, code, text) in [
        (&["preflight", "--help"][..], 0, "--instance"),
        (&["upgrade"], 2, "--instance"),
        (&["-config=missing.yaml"], 2, "missing.yaml"),
    ] {
        let output = Command::new(&plugin).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let printed = [output.stdout, output.stderr].concat();
        let printed = String::from_utf8(printed).unwrap();
        assert!(printed.contains(text), "{arguments:?}: {printed}");
    }
}
