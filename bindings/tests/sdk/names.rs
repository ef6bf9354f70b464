//! The public names of Kotlin and Swift are the same, but for what `parity/names.json` lists: times
//! and rates that are types of their own in Swift, and words that Swift's own libraries have taken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A type, its members, and what they are called where names differ: Kotlin first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    #[serde(rename = "type")]
    name: Option<String>,
    types: Option<[String; 2]>,
    members: Vec<String>,
    #[serde(default)]
    differ: Vec<[String; 2]>,
}

#[test]
fn kotlin_and_swift_call_things_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("parity/names.json")).unwrap();
    let table: Vec<Named> = serde_json::from_str(&table).unwrap();
    let languages = [
        declarations(&root.join("../android/lib/src/main/kotlin/ai/dyno"), "kt"),
        declarations(&root.join("../ios/Sources/Dyno"), "swift"),
    ];
    let mut missing = Vec::new();
    for named in &table {
        for (language, types) in languages.iter().enumerate() {
            let name = match (&named.name, &named.types) {
                (Some(name), None) => name,
                (None, Some(names)) => &names[language],
                _ => panic!("either type or types: {named:?}"),
            };
            let Some(declared) = types.get(name) else {
                missing.push(format!("{name} in language {language}"));
                continue;
            };
            let differing = named.differ.iter().map(|names| &names[language]);
            let members = named.members.iter().chain(differing);
            missing.extend(
                members
                    .filter(|member| !declared.contains(member))
                    .map(|member| format!("{name}.{member} in language {language}")),
            );
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// What each public type of a folder's sources declares, its extensions included.
fn declarations(folder: &Path, extension: &str) -> BTreeMap<String, Vec<String>> {
    let mut types: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in sources(folder, extension) {
        // The types around a line, with how far each is indented.
        let mut around: Vec<(usize, String)> = Vec::new();
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let code = line.trim_start();
            let indent = line.len() - code.len();
            if code.is_empty() || code.starts_with(['/', '*', '@', ')', '}']) {
                continue;
            }
            around.retain(|(outer, _)| *outer < indent);
            let words: Vec<&str> = code
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .filter(|word| !word.is_empty())
                .collect();
            let follows = |kinds: &[&str]| {
                let at = words.iter().position(|word| kinds.contains(word))?;
                // `enum class`, `data class` and the like.
                let rest = words[at + 1..].iter().find(|word| !kinds.contains(word))?;
                Some((*rest).to_owned())
            };
            if let Some(name) = follows(&["class", "interface", "struct", "enum", "extension"]) {
                // Kotlin's classes may declare members on their first line.
                let members = words
                    .windows(2)
                    .filter(|pair| matches!(pair[0], "val" | "var"));
                let members = members.map(|pair| pair[1].to_owned());
                types.entry(name.clone()).or_default().extend(members);
                around.push((indent, name));
            } else if let Some(member) = follows(&["val", "var", "let", "fun", "func", "case"]) {
                for (_, name) in &around {
                    types.entry(name.clone()).or_default().push(member.clone());
                }
            }
        }
    }
    types
}

/// The sources of a folder and those in it, but for what is generated.
fn sources(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|entry| entry.is_dir());
    let inner = folders.iter().filter(|folder| !folder.ends_with("ffi"));
    files
        .into_iter()
        .filter(|file| file.extension().is_some_and(|found| found == extension))
        .chain(inner.flat_map(|folder| sources(folder, extension)))
        .collect()
}
