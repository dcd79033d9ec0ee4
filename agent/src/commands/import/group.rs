//! Blocks out of layers: lines `block = regex`, the first that matches a layer's name wins, and a layer that none matches
//! belongs to the block of the layer before.

use regex::Regex;

use super::profile::Layer;

/// A rule file.
#[derive(Debug)]
pub struct Rules(Vec<(String, Regex)>);

/// No table has more blocks.
const MOST_BLOCKS: usize = 64;

impl Rules {
    /// Reads the rules.
    ///
    /// # Errors
    /// What is wrong, with its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rules = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why: &str| format!("line {}: {why}", at + 1);
            let (block, pattern) = line.split_once('=').ok_or_else(|| wrong("not `block = regex`"))?;
            let (block, pattern) = (block.trim(), pattern.trim());
            if block.is_empty() || pattern.is_empty() {
                return Err(wrong("not `block = regex`"));
            }
            let regex = Regex::new(pattern).map_err(|e| wrong(&e.to_string()))?;
            rules.push((block.to_owned(), regex));
        }
        if rules.is_empty() { Err("no rules: lines `block = regex` are meant".to_owned()) } else { Ok(Self(rules)) }
    }

    /// The blocks of an engine's layers, in the order in which they run: each with the positions of its layers.
    ///
    /// # Errors
    /// Where a block's layers are not neighbours, or there are too many blocks.
    pub fn blocks(&self, layers: &[Layer]) -> Result<Vec<(String, Vec<usize>)>, String> {
        let mut blocks: Vec<(String, Vec<usize>)> = Vec::new();
        for (at, layer) in layers.iter().enumerate() {
            let rule = self.0.iter().find(|(_, regex)| regex.is_match(&layer.name));
            let before = blocks.last().map(|(name, _)| name.clone());
            let name = rule.map(|(name, _)| name.clone()).or(before.clone());
            let name = name.or_else(|| self.0.first().map(|(name, _)| name.clone())).unwrap_or_default();
            match blocks.iter_mut().position(|(block, _)| *block == name) {
                Some(known) if known + 1 == blocks.len() => blocks[known].1.push(at),
                Some(_) => {
                    let before = before.unwrap_or_default();
                    return Err(format!(
                        "layer '{}' is of block {name} again after block {before}: a block's layers have to be neighbours",
                        layer.name
                    ));
                }
                None => blocks.push((name, vec![at])),
            }
        }
        match blocks.len() {
            0..=MOST_BLOCKS => Ok(blocks),
            many => Err(format!("{many} blocks; a table has {MOST_BLOCKS} at most")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(names: &[&str]) -> Vec<Layer> {
        names.iter().map(|name| Layer { name: (*name).to_owned(), ms: 1.0 }).collect()
    }

    #[test]
    fn layers_fall_into_the_first_rule_that_matches_or_stay_with_the_one_before() {
        let rules = Rules::parse("# mine\nstem = stage0\nbody=stage[12]\nhead = neck|head\n").unwrap();
        let blocks = rules.blocks(&layers(&["in", "a/stage0", "x", "stage1", "stage2", "neck", "out"])).unwrap();
        assert_eq!(
            blocks,
            [("stem".to_owned(), vec![0, 1, 2]), ("body".to_owned(), vec![3, 4]), ("head".to_owned(), vec![5, 6])]
        );
    }

    #[test]
    fn what_cannot_be_blocks_is_refused() {
        let rules = Rules::parse("a = x\nb = y\n").unwrap();
        let why = rules.blocks(&layers(&["x", "y", "x"])).unwrap_err();
        assert!(why.contains("neighbours"), "{why}");
        for (text, said) in [("", "no rules"), ("a\n", "line 1"), ("a = (\n", "line 1: regex"), (" = x\n", "line 1")] {
            let why = Rules::parse(text).unwrap_err();
            assert!(why.contains(said), "{text}: {why}");
        }
    }
}
