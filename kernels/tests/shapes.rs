//! The CPU emulation of the kernels (tests/emu) takes the networks' shapes from a text file; it must hold them all.

use std::path::Path;

use jetpace_kernels::net::{NAMES, Op, Pool, ops};

/// One line per distinct layer, in the order in which the networks first need it.
fn shapes() -> String {
    let mut lines: Vec<String> = Vec::new();
    for op in NAMES.iter().filter_map(|name| ops(name)).flatten().flat_map(|block| block.ops) {
        let line = match op {
            Op::Conv(c) | Op::Shortcut(c) => {
                let mut line =
                    format!("conv {} {} {} {} {} {}", c.inputs, c.outputs, c.kernel, c.stride, c.pad, c.side);
                line += &format!(" {} {}", u8::from(c.relu), u8::from(c.residual));
                match c.pool {
                    None => line += " none",
                    Some(Pool::Max { window, stride, pad }) => line += &format!(" max {window} {stride} {pad}"),
                    Some(Pool::GlobalAverage) => line += " average",
                }
                line
            }
            Op::Linear(l) => format!("linear {} {} {}", l.inputs, l.outputs, u8::from(l.relu)),
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let head = "# conv INPUTS OUTPUTS KERNEL STRIDE PAD SIDE RELU RESIDUAL none|average|max WINDOW STRIDE PAD\n\
                # linear INPUTS OUTPUTS RELU\n";
    format!("{head}{}\n", lines.join("\n"))
}

#[test]
fn emulation_has_every_shape() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/emu/shapes.txt");
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let wanted = shapes();
    if kept != wanted {
        let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shapes.txt");
        std::fs::write(&new, wanted).unwrap();
        panic!("{} is out of date; copy {} over it", path.display(), new.display());
    }
}
