//! Finds cycles among the modules of one crate.
//!
//! Each module counts as the child of the common parent that contains it, so a module and its
//! children, which refer to each other in Rust, are one node. A path counts for the module that
//! defines the named item: re-exports are followed.

use std::collections::{BTreeMap, BTreeSet};

/// The code of each module by its path below the crate.
pub(super) type Modules = BTreeMap<Vec<String>, String>;

/// Paths below the crate that a module imports, by the name that it gives them.
type Imports = BTreeMap<Vec<String>, BTreeMap<String, Vec<String>>>;

/// Edges between the children of one module.
type Siblings = BTreeMap<String, BTreeSet<String>>;

/// Returns a line for each group of sibling modules that depend on each other.
pub(super) fn find(modules: &Modules) -> Vec<String> {
    let graph = Graph {
        modules,
        imports: imports(modules),
    };
    let mut siblings: BTreeMap<Vec<String>, Siblings> = BTreeMap::new();
    for (module, code) in modules {
        for path in named(code) {
            let Some(path) = absolute(modules, module, &path) else {
                continue;
            };
            let other = graph.definition(path, 0);
            let common = module
                .iter()
                .zip(&other)
                .take_while(|(a, b)| a == b)
                .count();
            if common < module.len() && common < other.len() {
                let edges = siblings.entry(module[..common].to_vec()).or_default();
                let targets = edges.entry(module[common].clone()).or_default();
                targets.insert(other[common].clone());
            }
        }
    }
    siblings
        .into_iter()
        .filter_map(|(parent, edges)| cycle(&parent, edges))
        .collect()
}

struct Graph<'m> {
    modules: &'m Modules,
    imports: Imports,
}

impl Graph<'_> {
    /// Returns the module that defines the item a path names.
    fn definition(&self, path: Vec<String>, depth: usize) -> Vec<String> {
        let is_module = |length: &usize| self.modules.contains_key(&path[..*length]);
        let length = (0..=path.len()).rev().find(is_module).unwrap_or(0);
        let module = path[..length].to_vec();
        let import = path
            .get(length)
            .and_then(|name| self.imports.get(&module)?.get(name));
        match import {
            Some(target) if depth < 8 && *target != path => {
                let mut target = target.clone();
                target.extend(path[length + 1..].iter().cloned());
                self.definition(target, depth + 1)
            }
            _ => module,
        }
    }
}

/// The modules that remain after repeatedly removing those without dependencies.
fn cycle(parent: &[String], mut edges: Siblings) -> Option<String> {
    loop {
        let needing: BTreeSet<String> = edges.keys().cloned().collect();
        for targets in edges.values_mut() {
            targets.retain(|target| needing.contains(target));
        }
        let before = edges.len();
        edges.retain(|_, targets| !targets.is_empty());
        if edges.len() == before {
            break;
        }
    }
    let edges: Vec<String> = edges
        .into_iter()
        .map(|(module, targets)| {
            let targets: Vec<String> = targets.into_iter().collect();
            format!("{module} -> {}", targets.join(", "))
        })
        .collect();
    (!edges.is_empty()).then(|| format!("[{}] {}", parent.join("::"), edges.join("; ")))
}

fn imports(modules: &Modules) -> Imports {
    let mut imports = Imports::new();
    for (module, code) in modules {
        let names = imports.entry(module.clone()).or_default();
        for path in used(code) {
            if let (Some(name), Some(path)) =
                (path.last().cloned(), absolute(modules, module, &path))
            {
                names.insert(name, path);
            }
        }
    }
    imports
}

/// Resolves a path below the crate; `None` for a path of another crate.
fn absolute(modules: &Modules, module: &[String], path: &[String]) -> Option<Vec<String>> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    let rest = &path[supers..];
    let first = rest.first()?;
    if supers > 0 {
        let base = module.len().checked_sub(supers)?;
        return Some([&module[..base], rest].concat());
    }
    match first.as_str() {
        "crate" => Some(rest[1..].to_vec()),
        "self" => Some([module, &rest[1..]].concat()),
        _ => {
            let path = [module, rest].concat();
            modules.contains_key(&path[..=module.len()]).then_some(path)
        }
    }
}

/// Returns all paths used in a module.
fn named(code: &str) -> Vec<Vec<String>> {
    let mut paths = used(code);
    for word in code.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        if word.contains("::") && !word.starts_with("::") {
            let parts = word.split("::").filter(|part| !part.is_empty());
            paths.push(
                parts
                    .map(|part| part.trim_matches(':').to_owned())
                    .collect(),
            );
        }
    }
    paths
}

/// Returns the paths of all `use` declarations.
fn used(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("use ") {
        let starts_word = !rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        rest = &rest[at + 4..];
        if starts_word
            && let Some(end) = rest.find(';')
            && is_tree(&rest[..end])
        {
            expand(&rest[..end], &[], &mut paths);
        }
    }
    paths
}

/// Whether the text is a tree of `use` and not part of a string.
fn is_tree(text: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_:{},*".contains(c);
    text.chars().all(is_part) && text.matches('{').count() == text.matches('}').count()
}

/// Expands one `use` tree: `a::{b, c::d}` names `a::b` and `a::c::d`.
fn expand(tree: &str, prefix: &[String], paths: &mut Vec<Vec<String>>) {
    let tree = tree.trim();
    let (head, group) = match tree.split_once('{') {
        Some((head, group)) => (head, group.strip_suffix('}')),
        None => (tree, None),
    };
    let head = head.split(" as ").next().unwrap_or_default();
    let parts = head.split("::").map(str::trim);
    let parts = parts.filter(|part| !part.is_empty() && *part != "*");
    let mut path = [prefix, &parts.map(str::to_owned).collect::<Vec<_>>()].concat();
    let Some(group) = group else {
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        paths.push(path);
        return;
    };
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                expand(&group[start..at], &path, paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !group[start..].trim().is_empty() {
        expand(&group[start..], &path, paths);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(code: &[(&str, &str)]) -> Modules {
        let mut modules = Modules::new();
        for (name, code) in code {
            let parts = name.split("::").filter(|part| !part.is_empty());
            modules.insert(parts.map(str::to_owned).collect(), (*code).to_owned());
        }
        modules
    }

    #[test]
    fn siblings_that_import_each_other_are_a_cycle() {
        let found = find(&modules(&[
            ("", "mod a; mod b; mod c;"),
            ("a", "use crate::b::{self, B};"),
            ("b", "fn f() -> super::a::A {}"),
            ("c", "use super::a::A;"),
        ]));
        assert_eq!(found, ["[] a -> b; b -> a; c -> a"]);
    }

    #[test]
    fn a_parent_and_its_child_are_not_a_cycle() {
        let code = [
            ("", "mod a;"),
            ("a", "mod b; use b::B;"),
            ("a::b", "use super::A;"),
        ];
        assert_eq!(find(&modules(&code)), Vec::<String>::new());
    }

    #[test]
    fn re_exports_are_followed() {
        let found = find(&modules(&[
            ("", "mod a; mod b; pub use b::B;"),
            ("a", "use crate::B;"),
            ("b", "use crate::a;"),
        ]));
        assert_eq!(found, ["[] a -> b; b -> a"]);
    }
}
