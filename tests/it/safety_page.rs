//! `docs/safety.md` names a test for every claim, and each of them exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/safety.md")).unwrap()
}

/// The names of all test functions below `crates`, `src` and `tests`.
pub(crate) fn tests() -> BTreeSet<String> {
    tests_in(&["crates", "src", "tests"])
}

fn tests_in(folders: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in folders {
        collect(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
            &mut names,
        );
    }
    names
}

fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    for item in fs::read_dir(folder).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            collect_names(&fs::read_to_string(&path).unwrap(), names);
        }
    }
}

/// Collects the names after `fn` in lines that follow a test attribute.
fn collect_names(text: &str, names: &mut BTreeSet<String>) {
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some((_, rest)) = line.split_once("fn ")
            && is_test
        {
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            names.insert(name.to_owned());
            is_test = false;
        }
    }
}

/// The names of tests in backquotes: lower-case words with at least two underscores.
fn named(page: &str) -> BTreeSet<String> {
    page.split('`')
        .skip(1)
        .step_by(2)
        .filter(|text| {
            text.matches('_').count() >= 2
                && text
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_test_named_on_the_page_exists() {
    let tests = tests();
    let named = named(&page());
    let missing: Vec<_> = named.difference(&tests).collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
    assert!(
        named.len() > 60,
        "the page names only {} tests",
        named.len()
    );
}

/// D32, D40, D42, D48 and D49 do not exist: the numbering has gaps.
#[test]
fn every_tool_defect_has_a_test_or_a_reason() {
    let page = page();
    let gaps = [32, 40, 42, 48, 49];
    for number in (1..=54).filter(|number| !gaps.contains(number)) {
        let start = format!("| D{number} |");
        let lines: Vec<_> = page
            .lines()
            .filter(|line| line.starts_with(&start))
            .collect();
        let [line] = lines[..] else {
            panic!("D{number} has {} lines", lines.len());
        };
        let answer = line.split('|').nth(3).unwrap_or_default().trim();
        assert!(!answer.is_empty(), "D{number} has no answer");
        let prefix = format!("d{number}_");
        let is_tested = tests().iter().any(|test| test.starts_with(&prefix));
        let is_named = named(line).iter().any(|test| test.starts_with(&prefix));
        assert_eq!(
            is_named, is_tested,
            "D{number}: a test is named for it, so the line has to name that test"
        );
        assert!(
            !named(line).is_empty() || answer.contains("cannot occur"),
            "D{number} has neither a test nor a reason"
        );
    }
}

#[test]
fn every_script_defect_has_a_test_or_a_reason() {
    let page = page();
    for number in 1..=18 {
        let start = format!("| S{number} |");
        let mut lines = page.lines().filter(|line| line.starts_with(&start));
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("S{number} has no line"));
        assert!(
            !named(line).is_empty() || line.contains("cannot occur"),
            "S{number} has neither a test nor a reason"
        );
    }
}

#[test]
fn test_names_are_recognised() {
    let found = named("`one_test_name` and `Type` and `a_b` and `src/x.rs` and `d3_and_more`");
    assert_eq!(
        found.into_iter().collect::<Vec<_>>(),
        ["d3_and_more", "one_test_name"]
    );
    let mut names = BTreeSet::new();
    collect_names(
        "#[test]\n    fn a_b() {}\nfn helper() {}\n#[tokio::test]\n#[x]\nasync fn c<T>()",
        &mut names,
    );
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a_b", "c"]);
}

/// An entry of `tests/mutations.toml`.
struct Mutation {
    name: String,
    file: String,
    replace: String,
    with: String,
    /// `lib` for unit tests, otherwise integration tests.
    kind: String,
    tests: BTreeSet<String>,
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn mutations() -> Vec<Mutation> {
    /// The text of a literal string: `'…'` or `'''…'''`.
    fn text<'t>(entry: &'t str, key: &str) -> &'t str {
        let start = format!("\n{key} = ");
        let (_, rest) = entry
            .split_once(&start)
            .unwrap_or_else(|| panic!("{entry}"));
        let mark = if rest.starts_with("'''") { "'''" } else { "'" };
        rest[mark.len()..].split(mark).next().unwrap()
    }
    let file = read("tests/mutations.toml");
    let entries = file.split("[[mutation]]").skip(1);
    entries
        .map(|entry| {
            let (_, tests) = entry.split_once("\ntests = [").unwrap();
            let tests = tests.split('\'').skip(1).step_by(2).map(str::to_owned);
            Mutation {
                name: text(entry, "name").to_owned(),
                file: text(entry, "file").to_owned(),
                replace: text(entry, "replace").to_owned(),
                with: text(entry, "with").to_owned(),
                kind: text(entry, "kind").to_owned(),
                tests: tests.collect(),
            }
        })
        .collect()
}

/// The rows of the tables of claims: the claim, its tests and its mutations.
fn claims(page: &str) -> Vec<[&str; 3]> {
    let mut is_inside = false;
    let mut claims = Vec::new();
    for line in page.lines() {
        if line.starts_with("| claim |") {
            is_inside = true;
        } else if !line.starts_with('|') {
            is_inside = false;
        } else if is_inside && !line.starts_with("| ---") {
            let cells: Vec<_> = line.trim_matches('|').split(" | ").collect();
            let [claim, tests, mutations] = cells[..] else {
                panic!("not three cells: {line}");
            };
            claims.push([claim, tests, mutations.trim()]);
        }
    }
    claims
}

/// Checks that the claim names the tests of its mutation, and that the mutation can be applied.
fn check_mutation(mutation: &Mutation, tests: &str, of_kind: &BTreeSet<String>) {
    let (name, named) = (&mutation.name, named(tests));
    let others: Vec<_> = mutation.tests.difference(&named).collect();
    assert!(others.is_empty(), "{name}: not named: {others:?}");
    assert!(!mutation.tests.is_empty(), "{name}");
    let opens = |text: &str| ['(', '[', '{'].map(|it| text.matches(it).count());
    let closes = |text: &str| [')', ']', '}'].map(|it| text.matches(it).count());
    for expression in [&mutation.replace, &mutation.with] {
        assert_eq!(
            opens(expression),
            closes(expression),
            "{name}: {expression}"
        );
    }
    let others: Vec<_> = mutation.tests.difference(of_kind).collect();
    assert!(others.is_empty(), "{name}: of another kind: {others:?}");
    let count = read(&mutation.file).matches(&mutation.replace).count();
    assert_eq!(
        count, 1,
        "{name}: in {}: {}",
        mutation.file, mutation.replace
    );
}

/// `scripts/mutants` checks that the tests detect the mutations, which needs a build and is run on
/// request.
#[test]
fn every_claim_names_mutations_its_tests_kill() {
    let page = page();
    let mut mutations = mutations();
    let (unit, integration) = (tests_in(&["crates", "src"]), tests_in(&["tests"]));
    let claims = claims(&page);
    assert!(claims.len() > 50, "{} claims", claims.len());
    for [claim, tests, names] in claims {
        for name in names.split(", ").map(|name| name.trim_matches('`')) {
            let position = mutations.iter().position(|one| one.name == name);
            let position =
                position.unwrap_or_else(|| panic!("{claim}: no mutation {name:?} is left"));
            let mutation = mutations.swap_remove(position);
            let of_kind = if mutation.kind == "lib" {
                &unit
            } else {
                &integration
            };
            check_mutation(&mutation, tests, of_kind);
        }
    }
    let left: Vec<_> = mutations.iter().map(|one| &one.name).collect();
    assert!(left.is_empty(), "mutations without a claim: {left:?}");
}
