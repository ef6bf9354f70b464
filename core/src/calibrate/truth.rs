//! The true classes of photos, from a CSV file whose paths need not be those of this machine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::{Error, ErrorKind, Result};

/// Columns that are read, by their names in the first line.
const FILE_COLUMN: &str = "file";
const CLASS_COLUMN: &str = "class_index";

/// True classes by file.
#[derive(Debug, Clone)]
pub struct Truth {
    /// By file name: the parts of the path in front of it, last first, and the class.
    by_name: HashMap<String, Vec<(Vec<String>, usize)>>,
    rows: usize,
}

impl Truth {
    /// Reads a CSV file: a line with the columns' names, among them `file` and `class_index`, then
    /// one line a photo.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, "read", e))?;
        Self::parse(&text).map_err(|e| e.context(path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut lines = text
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.trim().is_empty());
        let header = lines.next().map_or_else(Vec::new, |(_, line)| fields(line));
        let column = |name: &str| {
            header.iter().position(|field| field == name).ok_or_else(|| {
                invalid(format!(
                    "its first line must name the columns {FILE_COLUMN} and {CLASS_COLUMN}, and \
                     '{name}' is not there"
                ))
            })
        };
        let (file, class) = (column(FILE_COLUMN)?, column(CLASS_COLUMN)?);
        let mut truth = Self {
            by_name: HashMap::new(),
            rows: 0,
        };
        for (number, line) in lines {
            let fields = fields(line);
            let bad = || invalid(format!("line {} has no file or no class index", number + 1));
            let path = fields.get(file).filter(|f| !f.is_empty()).ok_or_else(bad)?;
            let class = fields
                .get(class)
                .and_then(|c| c.parse().ok())
                .ok_or_else(bad)?;
            let mut parts = parts(Path::new(&path.replace('\\', "/")));
            if parts.is_empty() {
                return Err(bad());
            }
            let name = parts.remove(0);
            truth.by_name.entry(name).or_default().push((parts, class));
            truth.rows += 1;
        }
        Ok(truth)
    }

    /// The class of each of `files`: that of the row whose path has the longest end in common with
    /// it, or none.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] if no file has a row, if two rows fit one file
    /// equally well and disagree, or if a class is not below `classes`.
    pub fn of(&self, files: &[PathBuf], classes: usize) -> Result<Vec<Option<usize>>> {
        let found: Result<Vec<Option<usize>>> = files.iter().map(|f| self.class_of(f)).collect();
        let found = found?;
        if let Some(class) = found.iter().flatten().find(|&&class| class >= classes) {
            return Err(invalid(format!(
                "the labels have class {class}, the model 0 to {}",
                classes.saturating_sub(1)
            )));
        }
        if found.iter().all(Option::is_none) {
            let example = files
                .first()
                .map_or_else(String::new, |f| f.display().to_string());
            return Err(invalid(format!(
                "none of the {} labels is of one of the {} photos: the column {FILE_COLUMN} must \
                 hold names like that of {example}",
                self.rows,
                files.len()
            )));
        }
        Ok(found)
    }

    fn class_of(&self, file: &Path) -> Result<Option<usize>> {
        let mut own = parts(file);
        if own.is_empty() {
            return Ok(None);
        }
        let name = own.remove(0);
        let in_common =
            |other: &[String]| own.iter().zip(other).take_while(|(a, b)| a == b).count();
        let rows = self.by_name.get(&name).map_or(&[][..], Vec::as_slice);
        let longest = rows.iter().map(|(parts, _)| in_common(parts)).max();
        let mut best = rows
            .iter()
            .filter(|(parts, _)| Some(in_common(parts)) == longest)
            .map(|(_, class)| *class);
        let class = best.next();
        if best.any(|other| Some(other) != class) {
            return Err(invalid(format!(
                "the labels give {} more than one class",
                file.display()
            )));
        }
        Ok(class)
    }
}

/// The parts of a path, the file's name first.
fn parts(path: &Path) -> Vec<String> {
    let part = |c: std::path::Component<'_>| match c {
        std::path::Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
        _ => None,
    };
    path.components().rev().filter_map(part).collect()
}

/// The fields of a line of CSV; a quoted one may hold commas and doubled quotes.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.trim_end_matches('\r').chars().peekable();
    while let Some(c) = characters.next() {
        let last = fields.len() - 1;
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                fields[last].push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields[last].push(c),
        }
    }
    fields.iter().map(|field| field.trim().to_owned()).collect()
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABELS: &str = "file,class_index,name\r\n\
        photos/a.jpg,1,\"goldfish, small\"\r\n\
        val/a.jpg,2,hen\r\n\
        \"val/b, c.jpg\",3,\"a \"\"b\"\"\"\r\n";

    fn of(files: &[&str]) -> Result<Vec<Option<usize>>> {
        let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        Truth::parse(LABELS).unwrap().of(&files, 10)
    }

    #[test]
    fn files_are_found_by_the_end_of_their_path() {
        assert_eq!(
            of(&[
                "/data/photos/a.jpg",
                "val/a.jpg",
                "/x/b, c.jpg",
                "val/z.jpg"
            ])
            .unwrap(),
            [Some(1), Some(2), Some(3), None]
        );
    }

    #[test]
    fn labels_that_do_not_match_are_an_error() {
        let error = of(&["/data/z.jpg"]).unwrap_err().to_string();
        assert!(error.contains("none of the 3 labels"), "{error}");
        assert!(error.contains("/data/z.jpg"), "{error}");
        let error = of(&["elsewhere/a.jpg"]).unwrap_err().to_string();
        assert!(error.contains("more than one class"), "{error}");
        let files = [PathBuf::from("val/a.jpg")];
        let error = Truth::parse(LABELS).unwrap().of(&files, 2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn what_is_no_list_of_labels_is_refused() {
        for (text, says) in [
            ("", "'file'"),
            ("file,name\na.jpg,hen\n", "'class_index'"),
            ("file,class_index\na.jpg,hen\n", "line 2"),
            ("file,class_index\n\na.jpg\n", "line 3"),
        ] {
            let error = Truth::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
