//! Turns `connectors/` into static tables, or stops the build with every problem of every file.

#[path = "src/catalog/build_time.rs"]
#[expect(dead_code, reason = "the build writes the model with `Debug`, which the compiler does not count as reading")]
mod catalog;
#[path = "src/code.rs"]
#[expect(dead_code, reason = "the build needs the names alone")]
mod code;
#[path = "src/template.rs"]
#[expect(dead_code, reason = "the build looks for holes and fills none")]
mod template;

use catalog::check::Problems;
use catalog::compile::{Folder, Source, compile};
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=connectors");
    let mut problems = Problems::default();
    let mut connectors = Vec::new();
    for folder in entries(Path::new("connectors")).into_iter().filter(|path| path.is_dir()) {
        connectors.extend(compile(&read(&folder, &mut problems), &mut problems));
    }
    for problem in &problems.found {
        println!("cargo::error={problem}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("catalog.rs");
    let source =
        format!("/// Every connector, sorted by id.\npub static CONNECTORS: &[Connector] = &{connectors:?};\n");
    fs::write(out, source).expect("OUT_DIR can be written");
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn read(folder: &Path, problems: &mut Problems) -> Folder {
    let mut source = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| {
            problems.found.push(format!("{}:1: {error}", path.display()));
            String::new()
        });
        Source { path: path.display().to_string(), text }
    };
    Folder {
        id: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        connector: source(folder.join("connector.toml")),
        tools: entries(&folder.join("tools")).into_iter().map(&mut source).collect(),
        cases: source(folder.join("cases.toml")),
    }
}
