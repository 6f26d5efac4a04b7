//! `--report`: the page for the approver of a change.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::instance::Instance;
use super::tool::Tool;

const TARGET: [&str; 2] = ["--target-version", "2.2.16"];

fn with(command: &[&'static str]) -> Vec<&'static str> {
    [command, &TARGET].concat()
}

fn page(tool: &Tool, name: &str) -> String {
    let page = fs::read_to_string(tool.path().join(name)).unwrap();
    well_formed(&page);
    page
}

/// Fails unless every element is closed in order and the page loads or runs nothing.
fn well_formed(page: &str) {
    const VOID: [&str; 3] = ["!doctype", "meta", "html"];
    let mut open = Vec::new();
    let (before, rest) = page.split_once("<style>").unwrap();
    let (_, after) = rest.split_once("</style>").unwrap();
    let markup = [before, after].concat();
    for tag in markup.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').expect("an open tag");
        let name = tag.split_ascii_whitespace().next().unwrap();
        let name = name.trim_end_matches('/');
        match name.strip_prefix('/') {
            Some("html") => {}
            Some(name) => assert_eq!(open.pop(), Some(name), "{tag}"),
            None if VOID.contains(&name) || tag.ends_with('/') => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for active in [
        "<script", "<img", "<link", "<iframe", "src=", "href=", "@import", "url(", " on",
    ] {
        let found = page.find(active);
        let is_text = active == " on" && !page.contains(" on=");
        assert!(found.is_none() || is_text, "{active}");
    }
}

#[tokio::test]
async fn plan_report_shows_the_plan_and_next_command() {
    let it = Instance::sample().await;
    let tool = it.tool();
    tool.run(&with(&["plan", "--report", "plan.html"]))
        .expect(0);
    let page = page(&tool, "plan.html");
    let ended = tool.run(&with(&["plan", "--format", "json"]));
    let plan = ended.document();
    let digest = plan["digest"].as_str().unwrap();
    for text in [
        "Migration plan",
        "Ready",
        it.root.meta_root(),
        digest,
        &format!("--plan {}", &digest[..12]),
        "meta-migration migrate",
        "meta-migration rollback",
        "this run is at Plan",
        "prefers-color-scheme:dark",
        "@media print",
        "2.2.16",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

/// Nothing in etcd is checked, and its address does not matter.
#[test]
fn report_of_a_file_names_the_file_and_no_etcd() {
    let tool = Tool::new();
    let backup = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/testdata/demo/milvus-2.1.4.bak"
    );
    tool.run(&with(&["plan", "--from", backup, "--report", "plan.html"]))
        .expect(0);
    let page = page(&tool, "plan.html");
    assert!(page.contains(&format!("by-dev/meta in {backup}")), "{page}");
    let (facts, etcd) = ("<dt>Endpoints</dt>", "the lock is free");
    assert!(!page.contains(facts));
    assert!(!page.contains("--endpoints"), "{page}");
    let (_, command) = page.split_once("meta-migration migrate ").unwrap();
    let (command, _) = command.split_once('<').unwrap();
    assert_eq!(
        command,
        format!(
            "--target-version 2.2.16 --from {backup} --to {}",
            backup.replace(".bak", "-migrated.mmb")
        )
    );
    let (_, check) = page.split_once(etcd).unwrap();
    let (state, _) = check.split_once("</li>").unwrap();
    assert!(state.contains("later"), "{state}");
}

#[tokio::test]
async fn migrate_report_shows_the_result() {
    let it = Instance::sample().await;
    let tool = it.tool();
    tool.run(&with(&[
        "migrate",
        "--yes",
        "--backup-file",
        "b.mmb",
        "--report",
        "r.html",
    ]))
    .expect(0);
    let done = page(&tool, "r.html");
    for text in [
        "Migration report",
        "Migrated",
        "this run is at Done",
        "b.mmb",
        "rollback",
    ] {
        assert!(done.contains(text), "{text}");
    }
    // A later run replaces the page.
    tool.run(&with(&["migrate", "--yes", "--report", "r.html"]))
        .expect(0);
    assert!(page(&tool, "r.html").contains("Already migrated"));
}

#[tokio::test]
async fn report_escapes_names_from_the_metadata() {
    let it = Instance::small().await;
    let key = "root-coord/segment-index/<script>alert(1)</script>\u{202e}\u{1b}&\"";
    it.put(key, b"\xff").await;
    let tool = it.tool();
    tool.run(&with(&["plan", "--report", "plan.html"]))
        .expect(4);
    let plan = page(&tool, "plan.html");
    assert!(plan.contains("Not ready"));
    assert!(
        plan.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "{plan}"
    );
    assert!(!plan.contains(['\u{202e}', '\u{1b}']));
    tool.run(&with(&["migrate", "--yes", "--report", "r.html"]))
        .expect(4);
    let failed = page(&tool, "r.html");
    assert!(failed.contains("Not migratable"));
    assert!(failed.contains("&lt;script&gt;"));
}

#[tokio::test]
async fn report_overwrites_only_reports() {
    let it = Instance::small().await;
    let before = it.dump().await;
    let tool = it.tool();
    tool.file("mine.html", "<!doctype html>my page");
    for (path, why) in [
        ("mine.html", "is not a report"),
        ("no/such/folder.html", "No such file"),
        (".", "cannot write the report"),
    ] {
        for command in [&["plan"][..], &["migrate", "--yes"]] {
            let command = [command, &TARGET, &["--report", path]].concat();
            tool.run(&command).expect(2).says(why);
        }
    }
    assert_eq!(it.dump().await, before);
    let mine = fs::read_to_string(tool.path().join("mine.html")).unwrap();
    assert_eq!(mine, "<!doctype html>my page");
    let left = fs::read_dir(tool.path()).unwrap();
    let left = left
        .map(|entry| entry.unwrap().file_name())
        .collect::<Vec<_>>();
    assert_eq!(left, ["mine.html"]);
}

/// Opens a page in headless Chromium.
fn browse(page: &Path, arguments: &[&str]) -> (String, String) {
    let is_there = |path: &&str| Path::new(path).exists();
    let browsers = ["/usr/bin/chromium-headless-shell", "/usr/bin/chromium"];
    let browser = browsers.into_iter().find(is_there).expect("Chromium");
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
        ])
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr))
}

/// Debian's package chromium-headless-shell is enough.
#[tokio::test]
#[ignore = "needs Chromium"]
async fn report_renders_in_a_browser() {
    let it = Instance::sample().await;
    let tool = it.tool();
    tool.run(&with(&["plan", "--report", "plan.html"]))
        .expect(0);
    let page = tool.path().join("plan.html");
    let (dom, log) = browse(&page, &["--dump-dom"]);
    assert!(dom.contains("<h2>Findings</h2>"), "{dom}");
    assert!(!log.contains("CONSOLE"), "{log}");
    let picture = |name: &str, options: &[&str]| {
        let path = tool.path().join(name);
        let target = format!("--screenshot={}", path.display());
        browse(
            &page,
            &[&["--window-size=1000,2400", &target], options].concat(),
        );
        fs::read(path).unwrap()
    };
    let light = picture("light.png", &[]);
    let dark = picture("dark.png", &["--blink-settings=preferredColorScheme=0"]);
    // An empty page makes a picture of a few kilobytes.
    assert!(light.len() > 50_000 && dark.len() > 50_000);
    assert_ne!(light, dark, "the page has a dark scheme");
    let target = tool.path().join("page.pdf");
    browse(&page, &[&format!("--print-to-pdf={}", target.display())]);
    assert!(fs::metadata(target).unwrap().len() > 20_000);
}
