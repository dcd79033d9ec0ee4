//! trtexec's `--exportProfile`: a JSON array, first `{"count": N}`, then a layer each with its name and `timeMs` (the sum
//! over N runs), `averageMs`, `medianMs` (from 8.4 on) and `percentage`. Up to 10.x names are not escaped: where the file
//! is no JSON for that reason it is read line by line, as trtexec writes one layer a line.

use serde_json::Value;

/// A layer of an engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// As TensorRT names it; several may have one name.
    pub name: String,
    /// Milliseconds of one run; 0 where it never ran.
    pub ms: f64,
}

/// The layers of a profile, in the order in which they run, and how many runs are behind it.
///
/// # Errors
/// What is wrong, without the file's name.
pub fn parse(bytes: &[u8]) -> Result<(u32, Vec<Layer>), String> {
    let text = std::str::from_utf8(bytes).map_err(|e| format!("byte {}: not UTF-8 text", e.valid_up_to()))?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err("empty".to_owned());
    }
    let entries = match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(entries)) => entries,
        Ok(Value::Object(object)) if object.contains_key("stages") => {
            return Err("a profile of TensorRT Edge-LLM: use `jetpace import edge-llm`".to_owned());
        }
        Ok(Value::Object(object)) if object.contains_key("Layers") => {
            return Err("what --exportLayerInfo writes, which holds no times: --exportProfile is meant".to_owned());
        }
        Ok(_) => return Err("no list of layers: --exportProfile of trtexec is meant".to_owned()),
        Err(e) => by_lines(text).map_err(|why| match e.is_eof() {
            true => format!("cut off ({e})"),
            false => format!("{why} ({e})"),
        })?,
    };
    if entries.iter().any(|entry| entry.get("computeMs").is_some()) {
        return Err("what --exportTimes writes: give it to --times, and --exportProfile's file to --clock".to_owned());
    }
    let count = match entries.iter().find_map(|entry| entry.get("count")) {
        None => 1,
        Some(count) => count
            .as_u64()
            .and_then(|count| u32::try_from(count).ok())
            .filter(|count| *count > 0)
            .ok_or_else(|| format!("count {count} is not how many runs there were"))?,
    };
    let layers: Vec<Layer> = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.get("count").is_none())
        .map(|(at, entry)| layer(entry, count).map_err(|why| format!("entry {at}: {why}")))
        .filter(|layer| !matches!(layer, Ok(layer) if is_no_layer(&layer.name)))
        .collect::<Result<_, _>>()?;
    if layers.is_empty() {
        return Err("no layers: was the engine built with --profilingVerbosity=none?".to_owned());
    }
    if layers.iter().all(|layer| layer.ms == 0.0) {
        return Err("no layer took any time".to_owned());
    }
    Ok((count, layers))
}

/// Stations of a train are where layers wait for each other; their time is in the layers.
fn is_no_layer(name: &str) -> bool {
    name.starts_with("[trainStation")
}

fn layer(entry: &Value, count: u32) -> Result<Layer, String> {
    let name = entry.get("name").and_then(Value::as_str).ok_or("no layer's name")?;
    let number = |key: &str| match entry.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let ms = value.as_f64().filter(|ms| (0.0..1e8).contains(ms));
            ms.map(Some).ok_or_else(|| format!("{key} {value} is not a time in milliseconds"))
        }
    };
    let (median, mean, sum) = (number("medianMs")?, number("averageMs")?, number("timeMs")?);
    let ms = median.or(mean).or(sum.map(|sum| sum / f64::from(count)));
    Ok(Layer { name: name.to_owned(), ms: ms.ok_or_else(|| format!("'{name}' has no time"))? })
}

/// One entry a line, as trtexec writes them; a name ends where `timeMs` comes.
fn by_lines(text: &str) -> Result<Vec<Value>, String> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.as_slice() {
        ["[", between @ .., "]"] => {
            let entry = |(at, line): (usize, &&str)| entry(line).ok_or_else(|| format!("line {}: no layer", at + 2));
            between.iter().enumerate().map(entry).collect()
        }
        ["[", ..] => Err("cut off: its last line is not the list's end".to_owned()),
        _ => Err("no list of layers: --exportProfile of trtexec is meant".to_owned()),
    }
}

fn entry(line: &str) -> Option<Value> {
    let line = line.trim_start_matches(',').trim_end_matches(',').trim();
    if let Ok(value) = serde_json::from_str(line) {
        return Some(value);
    }
    let inside = line.strip_prefix('{')?.strip_suffix('}')?.trim();
    let after = inside.strip_prefix("\"name\"")?.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let at = after.rfind("\"timeMs\"")?;
    let name = after.get(..at)?.trim_end().strip_suffix(',')?.trim_end().strip_suffix('"')?;
    let mut entry = serde_json::Map::new();
    entry.insert("name".to_owned(), Value::from(name));
    for pair in after.get(at..)?.split(',') {
        let (key, value) = pair.split_once(':')?;
        let key = key.trim().strip_prefix('"')?.strip_suffix('"')?;
        let number: f64 = value.trim().parse().ok()?;
        // A layer that never ran has a mean of nothing, which some releases write as nan: no JSON, and no value.
        entry.insert(key.to_owned(), Value::from(Some(number).filter(|number| number.is_finite())));
    }
    Some(Value::Object(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> Result<Vec<(String, f64)>, String> {
        parse(text.as_bytes()).map(|(_, layers)| layers.into_iter().map(|layer| (layer.name, layer.ms)).collect())
    }

    #[test]
    fn every_release_reads_by_its_best_figure() {
        let old = r#"[ {"count":10}, {"name":"a","timeMs":20,"averageMs":2.5,"percentage":1} ]"#;
        assert_eq!(ms(old).unwrap(), [("a".to_owned(), 2.5)]);
        let new = r#"[ {"count":10}, {"name":"a","timeMs":20,"averageMs":2.5,"medianMs":1.5,"percentage":1} ]"#;
        assert_eq!(ms(new).unwrap(), [("a".to_owned(), 1.5)]);
        assert_eq!(ms(r#"[ {"count":10}, {"name":"a","timeMs":20} ]"#).unwrap(), [("a".to_owned(), 2.0)]);
    }

    #[test]
    fn names_that_are_not_escaped_read_as_they_are() {
        let text = "[\n  { \"count\" : 4 }\n\
                    , { \"name\" : \"{ForeignNode[a \"b\" \\c...d]}\", \"timeMs\" : 8, \"averageMs\" : 2, \"percentage\" : 9 }\n\
                    , { \"name\" : \"[trainStation1]\", \"timeMs\" : 4, \"averageMs\" : 1, \"percentage\" : 9 }\n\
                    , { \"name\" : \"say \"timeMs\" : 3\", \"timeMs\" : 4, \"averageMs\" : -nan, \"percentage\" : nan }\n]\n";
        let read = ms(text).unwrap();
        assert_eq!(read, [("{ForeignNode[a \"b\" \\c...d]}".to_owned(), 2.0), ("say \"timeMs\" : 3".to_owned(), 1.0)]);
    }

    #[test]
    fn layers_of_one_name_are_counted_apart() {
        let text = r#"[ {"count":1}, {"name":"a","timeMs":1}, {"name":"a","timeMs":2} ]"#;
        assert_eq!(ms(text).unwrap().len(), 2);
    }

    #[test]
    fn what_is_something_else_is_said() {
        for (text, said) in [
            ("", "empty"),
            ("[{\"count\":1},{\"name\":\"a\",\"timeMs\":1}", "cut off"),
            ("[\n {\"count\":1}\n, {\"name\" : \"a\", \"ti", "cut off"),
            ("{\"stages\":[]}", "import edge-llm"),
            ("{\"Layers\":[\"a\"]}", "--exportLayerInfo"),
            ("[{\"computeMs\":1}]", "--times"),
            ("[{\"count\":1}]", "no layers"),
            ("[{\"count\":0},{\"name\":\"a\",\"timeMs\":1}]", "count 0"),
            ("[{\"count\":1},{\"name\":\"a\",\"timeMs\":-1}]", "entry 1: timeMs -1"),
            ("[{\"count\":1},{\"name\":\"a\"}]", "'a' has no time"),
            ("[{\"count\":1},\"a\"]", "no layer's name"),
            ("[{\"count\":1},{\"name\":\"a\",\"timeMs\":0}]", "no layer took any time"),
            ("7", "no list of layers"),
        ] {
            let why = ms(text).unwrap_err();
            assert!(why.contains(said), "{text}: {why}");
        }
    }
}
