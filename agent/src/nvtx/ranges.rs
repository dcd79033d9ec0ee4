//! Ranges by name, as they are written on the command line and in the environment.

use std::fmt;
use std::str::FromStr;

use crate::runtime::wire;

/// Between a domain's name and a range's.
const BEHIND_DOMAIN: &str = "//";

/// Ranges by name: `NAME` in any domain, `DOMAIN//NAME` in one (`//NAME` in that without a name); a `*` at the end stands for
/// any rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    domain: Option<String>,
    name: String,
    any_rest: bool,
}

impl Pattern {
    /// Whether a range of this name is meant, in a domain that [`Self::takes_domain`].
    #[inline]
    pub fn takes_name(&self, name: &[u8]) -> bool {
        let own = self.name.as_bytes();
        if self.any_rest { name.starts_with(own) } else { name == own }
    }

    /// Whether ranges of this domain are meant; the one without a name is empty.
    pub fn takes_domain(&self, domain: &[u8]) -> bool {
        self.domain.as_ref().is_none_or(|own| own.as_bytes() == domain)
    }

    /// What the ranges are called, without domain and rest.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for Pattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (domain, name) = match text.split_once(BEHIND_DOMAIN) {
            Some((domain, name)) => (Some(domain.to_owned()), name),
            None => (None, text),
        };
        let (name, any_rest) = name.strip_suffix('*').map_or((name, false), |name| (name, true));
        match (name, any_rest, &domain) {
            ("", false, _) | ("", true, None) => Err("no range's name: NAME, DOMAIN//NAME or PREFIX*"),
            _ => Ok(Self { domain, name: name.to_owned(), any_rest }),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(domain) = &self.domain {
            write!(f, "{domain}{BEHIND_DOMAIN}")?;
        }
        f.write_str(&self.name)?;
        f.write_str(if self.any_rest { "*" } else { "" })
    }
}

/// Ranges that are a block: `RANGE=BLOCK`, or `RANGE` alone for a block that is called as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The ranges.
    pub ranges: Pattern,
    /// The block's name.
    pub name: String,
}

impl FromStr for Block {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A range's name may hold what parts it from the block's.
        let (ranges, name) = match text.rsplit_once('=') {
            Some((ranges, name)) => (ranges.parse::<Pattern>()?, name.to_owned()),
            None => {
                let ranges: Pattern = text.parse()?;
                let name = ranges.name().to_owned();
                (ranges, name)
            }
        };
        match wire::is_name(&name) {
            true => Ok(Self { ranges, name }),
            false => Err(format!("{name:?} is no block's name: plain text of 1 to {} bytes", wire::LONGEST_NAME)),
        }
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.ranges, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_taken_by_name_domain_and_prefix() {
        let takes = |text: &str, domain: &str, name: &str| {
            let pattern: Pattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), text);
            pattern.takes_domain(domain.as_bytes()) && pattern.takes_name(name.as_bytes())
        };
        assert!(takes("infer", "", "infer") && takes("infer", "app", "infer"));
        assert!(!takes("infer", "", "infer 2") && !takes("infer", "", "inf"));
        assert!(takes("layer*", "", "layer 2") && takes("layer*", "", "layer") && !takes("layer*", "", "laye"));
        assert!(takes("app//infer", "app", "infer") && !takes("app//infer", "", "infer"));
        assert!(takes("//infer", "", "infer") && !takes("//infer", "app", "infer"));
        assert!(takes("app//*", "app", "anything"));
        for wrong in ["", "*", "app//"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn blocks_have_a_name_of_their_own_or_the_ranges() {
        let block = |text: &str| text.parse::<Block>().map(|block| (block.ranges.to_string(), block.name));
        assert_eq!(block("app//stem"), Ok(("app//stem".to_owned(), "stem".to_owned())));
        assert_eq!(block("layer*=body"), Ok(("layer*".to_owned(), "body".to_owned())));
        assert_eq!(block("n=1=body"), Ok(("n=1".to_owned(), "body".to_owned())));
        for wrong in ["", "stem=", "=stem", "app//*", "stem=a\nb"] {
            assert!(block(wrong).is_err(), "{wrong}");
        }
    }
}
