//! A recorded board on disk for the program itself, whose running clock follows what is written.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where its GPU's nodes are.
pub const GPU: &str = "sys/devices/platform/17000000.ga10b/devfreq/17000000.ga10b";

/// Lays a copy of agx-orin-r35.4 out, its running clock a link to its floor, readable for everybody.
pub fn board(folder: &Path) -> PathBuf {
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/boards");
    let board = folder.join("board");
    let copied = Command::new("cp").arg("-a").arg(boards.join("agx-orin-r35.4")).arg(&board).status().unwrap();
    assert!(copied.success());
    fs::remove_file(board.join(GPU).join("cur_freq")).unwrap();
    symlink("min_freq", board.join(GPU).join("cur_freq")).unwrap();
    fs::create_dir_all(board.join("run")).unwrap();
    for folder in [folder, &board] {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    }
    board
}

/// What a node of its GPU holds.
pub fn node(board: &Path, name: &str) -> String {
    fs::read_to_string(board.join(GPU).join(name)).unwrap().trim().to_owned()
}
