//! What a frame of a program consists of, as its first frames show it; every later one has to be the same.

use jetpace_tables::names::Shown;
use jetpace_tables::work::{BlockId, Size};

use super::told::Frame;

/// The name of the only block of a program that tells none.
const WHOLE: &str = "frame";

/// The blocks in the order in which they run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    blocks: Vec<Part>,
    /// The size of the frames, where it is the program's own.
    pub size: Size,
}

/// A block of every frame.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// `None` where the whole frame is one.
    id: Option<BlockId>,
    name: String,
    repeats: bool,
}

impl Outline {
    /// As a frame is; `names` are the blocks' by their numbers.
    ///
    /// # Errors
    /// Where frames like this one cannot be measured, in words that follow the program's name.
    pub fn of(frame: &Frame, names: &[String]) -> Result<Self, String> {
        let mut blocks: Vec<Part> = Vec::new();
        for ran in &frame.blocks {
            let name = names.get(ran.block.index()).ok_or_else(|| {
                let number = ran.block.0;
                format!(
                    "tells block {number}, which has no name: ask jetpace_block_find for it, or name it by --blocks"
                )
            })?;
            if blocks.iter().any(|part| part.id == Some(ran.block)) {
                let name = Shown(name);
                return Err(format!("runs block {name} twice in a frame: a frame runs each block once, in one order"));
            }
            blocks.push(Part { id: Some(ran.block), name: name.clone(), repeats: false });
        }
        if blocks.is_empty() {
            blocks.push(Part { id: None, name: WHOLE.to_owned(), repeats: false });
        }
        Ok(Self { blocks, size: size(frame)? })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether there is none, which never is.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// A block's name.
    pub fn name(&self, block: usize) -> &str {
        self.blocks.get(block).map_or("", |part| &part.name)
    }

    /// A block's number in the program; `None` where the frame has no blocks.
    pub fn id(&self, block: usize) -> Option<BlockId> {
        self.blocks.get(block)?.id
    }

    /// Whether the program repeats a block that it is asked to repeat.
    pub fn repeats(&self, block: usize) -> bool {
        self.blocks.get(block).is_some_and(|part| part.repeats)
    }

    /// Notes whether it does.
    pub fn set_repeats(&mut self, block: usize, repeats: bool) {
        if let Some(part) = self.blocks.get_mut(block) {
            part.repeats = repeats;
        }
    }

    /// The size of a frame that is like the others.
    ///
    /// # Errors
    /// Where it is not, in words that follow the program's name.
    pub fn check(&self, frame: &Frame, names: &[String]) -> Result<Size, String> {
        let ids = self.blocks.iter().filter_map(|part| part.id);
        if !ids.eq(frame.blocks.iter().map(|ran| ran.block)) {
            let name =
                |ran: &super::told::Ran| names.get(ran.block.index()).map_or("one without a name", String::as_str);
            let now: Vec<&str> = frame.blocks.iter().map(name).collect();
            let before: Vec<&str> = self.blocks.iter().map(|part| part.name.as_str()).collect();
            return Err(format!(
                "has other blocks in a frame than before: {}; they were {}. Every frame has to run the same blocks in the \
                 same order",
                Shown(&if now.is_empty() { "none".to_owned() } else { now.join(", ") }),
                Shown(&before.join(", "))
            ));
        }
        size(frame)
    }
}

/// The size that all blocks of a frame have.
fn size(frame: &Frame) -> Result<Size, String> {
    let mut sizes = frame.blocks.iter().map(|ran| ran.size);
    let first = sizes.next().unwrap_or_default();
    match sizes.find(|size| *size != first) {
        Some(other) => Err(format!("tells sizes {} and {} in one frame: a frame has one size", first.0, other.0)),
        None => Ok(first),
    }
}
