//! docs/FORMATS.md as the tests read it: which fields each document is said to have, and which exit codes there are.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// The page.
pub fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/FORMATS.md")).unwrap()
}

/// What stands below a heading, up to the next one.
pub fn section(heading: &str) -> String {
    let page = page();
    let start = page.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("FORMATS has no section {heading}"));
    let rest = &page[start + 4..];
    rest[..rest.find("\n## ").unwrap_or(rest.len())].to_owned()
}

/// The names in the JSON skeletons of a section.
fn named(heading: &str) -> BTreeSet<String> {
    let section = section(heading);
    let blocks = section.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("json\n"));
    blocks.flat_map(|block| block.split('"').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// Maps whose keys are words for people.
const BY_WORDS: [&str; 5] = ["faults", "fields", "rows", "events", "reasons"];

/// The names in a document; those of a map whose keys are words for people are not fields.
fn printed(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                names.insert(name.clone());
                if !(BY_WORDS.contains(&name.as_str()) && value.is_object()) {
                    printed(value, names);
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| printed(value, names)),
        _ => {}
    }
}

/// Every field that a command printed is named in its section, and every field that is named there was printed by one.
pub fn agree(heading: &str, documents: &[Value]) {
    let (named, mut printed_names) = (named(heading), BTreeSet::new());
    documents.iter().for_each(|document| printed(document, &mut printed_names));
    let unnamed: Vec<_> = printed_names.difference(&named).collect();
    assert!(unnamed.is_empty(), "docs/FORMATS.md, {heading}, does not name {unnamed:?}");
    let never: Vec<_> = named.difference(&printed_names).collect();
    assert!(never.is_empty(), "docs/FORMATS.md, {heading}, names {never:?}, which nothing here prints");
}

/// Every word of these stands in backquotes in a section, by itself or in a list with commas.
pub fn mentions<'a>(heading: &str, words: impl IntoIterator<Item = &'a str>) {
    let section = section(heading);
    let known: BTreeSet<&str> = section.split('`').skip(1).step_by(2).flat_map(|code| code.split(',')).collect();
    for word in words {
        assert!(known.contains(word), "docs/FORMATS.md, {heading}, does not name `{word}`");
    }
}
