//! The guide shows the code that is tested.

use std::fs;
use std::path::Path;

#[test]
fn every_piece_of_code_in_the_readme_is_in_the_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    for folder in ["src", "tests", "examples"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            code.push_str(&unindented(&fs::read_to_string(entry.unwrap().path()).unwrap()));
        }
    }
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let mut pieces = 0;
    for piece in readme.split("```rust,ignore\n").skip(1) {
        let (piece, _) = piece.split_once("```").unwrap();
        for part in unindented(piece).split("// …\n") {
            pieces += 1;
            assert!(code.contains(part), "not in the crate:\n{part}");
        }
    }
    assert!(pieces > 5);
}

fn unindented(text: &str) -> String {
    text.lines().flat_map(|line| [line.trim(), "\n"]).collect()
}
