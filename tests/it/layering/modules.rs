//! Which module of a crate uses which, read from its sources: `use` declarations and paths that start with `crate`,
//! `self`, `super` or a child's name. Tests are left out, and what a facade passes on counts as its definition's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A module's path within its crate, such as `plan::schedule`; the root is empty.
pub type Module = String;

/// The modules of a crate, and what each uses.
pub struct Modules {
    sources: BTreeMap<Module, Source>,
}

/// One file.
#[derive(Default)]
struct Source {
    /// Without comments and tests.
    text: String,
    /// Every `use`, flat: whether it is passed on, the path, and the name it has here.
    uses: Vec<(bool, Vec<String>, String)>,
}

impl Modules {
    /// All files below a crate's `src`.
    pub fn read(src: &Path) -> Self {
        let mut sources = BTreeMap::new();
        collect(src, "", &mut sources);
        Self { sources }
    }

    /// Names of all modules.
    pub fn names(&self) -> impl Iterator<Item = &Module> {
        self.sources.keys()
    }

    /// What a module uses of its own crate.
    pub fn used_by(&self, module: &str) -> BTreeSet<Module> {
        let source = &self.sources[module];
        let inline = paths(&source.text);
        let children = self.children(module);
        let mentioned = children.iter().filter(|child| mentions(&source.text, child)).map(|child| vec![child.clone()]);
        let all = source.uses.iter().map(|(_, path, _)| path.clone()).chain(inline).chain(mentioned);
        let mut found: BTreeSet<Module> = all.filter_map(|path| self.resolve(module, &path)).collect();
        found.retain(|used| used != module && !used.is_empty());
        found
    }

    /// Siblings that use each other in a circle, each with all that it holds: every circle once. A folder's own file is
    /// no sibling of what it holds.
    pub fn circles(&self) -> Vec<Vec<Module>> {
        let mut arrows: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
        for module in self.names() {
            for used in self.used_by(module) {
                if let Some((from, to)) = siblings(module, &used) {
                    arrows.entry(from).or_default().insert(to);
                }
            }
        }
        let mut found: Vec<Vec<Module>> = Vec::new();
        for module in arrows.keys() {
            let there = reached(&arrows, module);
            let circle: Vec<Module> =
                there.iter().filter(|other| reached(&arrows, other).contains(module)).cloned().collect();
            if circle.len() > 1 && !found.contains(&circle) {
                found.push(circle);
            }
        }
        found
    }

    fn children(&self, module: &str) -> Vec<String> {
        let direct = |name: &&Module| name.rsplit_once("::").map_or("", |split| split.0) == module && !name.is_empty();
        self.names().filter(direct).map(|name| name.rsplit("::").next().unwrap().to_owned()).collect()
    }

    /// The module that a path leads to, where it stays in this crate.
    fn resolve(&self, from: &str, path: &[String]) -> Option<Module> {
        let (first, mut rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => String::new(),
            "self" => from.to_owned(),
            "super" => parent(from),
            child if self.sources.contains_key(&join(from, child)) => join(from, child),
            _ => return None,
        };
        while let Some((next, behind)) = rest.split_first() {
            if next == "super" {
                at = parent(&at);
            } else if self.sources.contains_key(&join(&at, next)) {
                at = join(&at, next);
            } else {
                let passed_on = self.sources.get(&at)?.uses.iter().find(|(on, _, name)| *on && name == next);
                // A facade's own name leads on to where it is defined.
                return passed_on.and_then(|(_, path, _)| self.resolve(&at, path)).or(Some(at));
            }
            rest = behind;
        }
        Some(at)
    }
}

/// Where two modules part: the siblings that hold them; `None` where one holds the other.
fn siblings(a: &str, b: &str) -> Option<(Module, Module)> {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.split("::").collect(), b.split("::").collect());
    let parted = (0..a.len().min(b.len())).find(|i| a[*i] != b[*i])?;
    Some((a[..=parted].join("::"), b[..=parted].join("::")))
}

fn reached(arrows: &BTreeMap<Module, BTreeSet<Module>>, from: &str) -> BTreeSet<Module> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(module) = open.pop() {
        for next in arrows.get(&module).into_iter().flatten() {
            if found.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    found
}

fn join(module: &str, child: &str) -> Module {
    if module.is_empty() { child.to_owned() } else { format!("{module}::{child}") }
}

fn parent(module: &str) -> Module {
    module.rsplit_once("::").map_or("", |split| split.0).to_owned()
}

fn collect(folder: &Path, module: &str, sources: &mut BTreeMap<Module, Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        if stem == "tests" || stem == "bin" || stem == "main" {
            continue;
        }
        if path.is_dir() {
            collect(&path, &join(module, stem), sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = if stem == "mod" || stem == "lib" { module.to_owned() } else { join(module, stem) };
            sources.insert(name, Source::new(&fs::read_to_string(&path).unwrap()));
        }
    }
}

impl Source {
    fn new(text: &str) -> Self {
        // Tests stand last in a file.
        let text = text.split("\nmod tests {").next().unwrap_or_default();
        let lines = text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code));
        let mut text: String = lines.flat_map(|line| [line, "\n"]).collect();
        while let Some((before, behind)) = text.split_once("pub(in ") {
            let behind = behind.split_once(')').unwrap().1;
            text = format!("{before}pub(super){behind}");
        }
        let mut uses = Vec::new();
        let mut rest = String::new();
        for statement in text.split_inclusive(';') {
            // A `use` stands alone on its line, behind nothing but `pub`.
            let start = statement.rfind("use ").filter(|at| {
                let before = statement[..*at].rsplit('\n').next().unwrap_or_default().trim();
                let path = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_:{},*;".contains(c);
                statement[*at..].chars().all(path)
                    && (before.is_empty() || before.starts_with("pub") && !before.contains(' '))
            });
            let Some(start) = start else {
                rest.push_str(statement);
                continue;
            };
            let before = statement[..start].trim_end();
            let on = before.ends_with("pub") || before.ends_with("pub(super)") || before.ends_with("pub(crate)");
            rest.push_str(&statement[..start]);
            let tree: String =
                statement[start + 4..statement.len() - 1].split_whitespace().collect::<Vec<_>>().join(" ");
            flatten(&tree, &[], on, &mut uses);
        }
        Self { text: rest, uses }
    }
}

/// One use tree into paths.
fn flatten(tree: &str, before: &[String], on: bool, uses: &mut Vec<(bool, Vec<String>, String)>) {
    let tree = tree.trim();
    if let Some(open) = tree.find('{') {
        let mut path = before.to_vec();
        path.extend(tree[..open].split("::").map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned));
        let (mut depth, mut start, inner) = (0, 0, &tree[open + 1..tree.rfind('}').unwrap()]);
        for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    if !inner[start..at].trim().is_empty() {
                        flatten(&inner[start..at], &path, on, uses);
                    }
                    start = at + 1;
                }
                _ => {}
            }
        }
        return;
    }
    let (tree, alias) = tree.split_once(" as ").map_or((tree, None), |(tree, alias)| (tree, Some(alias)));
    let mut path = before.to_vec();
    path.extend(tree.split("::").map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned));
    // `use a::{self}` and `use a::*` are of the module itself.
    if !before.is_empty() && path.last().is_some_and(|last| last == "self") || path.last().is_some_and(|l| l == "*") {
        path.pop();
    }
    let name = alias.or(path.last().map(String::as_str)).unwrap_or_default().to_owned();
    uses.push((on, path, name));
}

/// Paths from `crate`, `super` or `self` in code.
fn paths(text: &str) -> Vec<Vec<String>> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(start) {
            if text[..at].chars().next_back().is_none_or(|c| !word(c) && c != ':' && c != '$') {
                let end = text[at..].find(|c| !word(c) && c != ':').map_or(text.len(), |end| at + end);
                found.push(text[at..end].split("::").filter(|s| !s.is_empty()).map(str::to_owned).collect());
            }
        }
    }
    found
}

/// Whether code has a path that starts with a child's name.
fn mentions(text: &str, child: &str) -> bool {
    let start = format!("{child}::");
    text.match_indices(&start)
        .any(|(at, _)| text[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':'))
}
