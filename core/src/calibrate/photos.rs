//! The photos of a folder at the model's size; those that cannot be read are left out and named.

use std::path::{Path, PathBuf};

use super::parallel::{cores, in_parallel};
use crate::pixels::{Frame, Photo, Preprocess};
use crate::{Error, ErrorKind, Result};

/// File name extensions of photos.
const EXTENSIONS: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Photos to measure with. Holds their frames: three bytes a pixel of the model's input.
#[derive(Debug)]
pub struct PhotoSet {
    pub(super) files: Vec<PathBuf>,
    pub(super) frames: Vec<Frame>,
    pub(super) skipped: Vec<Skipped>,
}

/// A photo that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its file.
    pub file: PathBuf,
    /// Why.
    pub reason: String,
}

impl PhotoSet {
    /// Reads the JPEG, PNG and WebP files of `folder`, at most `limit` of them, evenly over the list
    /// of their names so that a sorted folder is not cut short by its last classes.
    ///
    /// Fails with [`ErrorKind::InvalidImage`] if there is none that can be read.
    pub fn read(folder: &Path, limit: Option<usize>, preprocess: &Preprocess) -> Result<Self> {
        let files = spread(image_files(folder)?, limit);
        if files.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidImage,
                format!(
                    "there are no JPEG, PNG or WebP files in {}: name a folder with a hundred \
                     photos or more, like those that the model will see",
                    folder.display()
                ),
            ));
        }
        let read = in_parallel(cores(), files.len(), |_, i| {
            Ok(frame(&files[i], preprocess).map_err(|e| e.to_string()))
        })?;
        let mut set = Self {
            files: Vec::new(),
            frames: Vec::new(),
            skipped: Vec::new(),
        };
        for (file, read) in files.into_iter().zip(read) {
            match read {
                Ok(frame) => {
                    set.files.push(file);
                    set.frames.push(frame);
                }
                Err(reason) => set.skipped.push(Skipped { file, reason }),
            }
        }
        match set.skipped.first() {
            Some(first) if set.files.is_empty() => Err(Error::new(
                ErrorKind::InvalidImage,
                format!(
                    "none of the {} photos in {} can be read; the first one: {}: {}",
                    set.skipped.len(),
                    folder.display(),
                    first.file.display(),
                    first.reason
                ),
            )),
            _ => Ok(set),
        }
    }

    /// The files that were read.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The files that were not.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}

fn image_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, "read", e))?;
    let is_image = |path: &PathBuf| {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> = paths.filter(is_image).collect();
    files.sort();
    Ok(files)
}

fn spread(files: Vec<PathBuf>, limit: Option<usize>) -> Vec<PathBuf> {
    let (count, limit) = (files.len(), limit.unwrap_or(usize::MAX));
    if limit >= count {
        return files;
    }
    let taken = (0..limit).map(|i| i * count / limit);
    taken.filter_map(|i| files.get(i).cloned()).collect()
}

fn frame(file: &Path, preprocess: &Preprocess) -> Result<Frame> {
    let content = std::fs::read(file).map_err(|e| Error::io(file, "read", e))?;
    Frame::stage(&Photo::decode(&content)?.pixels()?, preprocess)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::PhotoCodec;
    use crate::schedule::fixtures::manifest;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        folder
    }

    fn read(folder: &tempfile::TempDir, limit: Option<usize>) -> Result<PhotoSet> {
        PhotoSet::read(folder.path(), limit, &manifest().preprocess)
    }

    fn png() -> Vec<u8> {
        let frame = Frame::from_rgb(4, 4, vec![90; 48]).unwrap();
        frame.encode(PhotoCodec::Png).unwrap()
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_named() {
        let png = png();
        let folder = folder(&[
            ("a.jpg", &png),
            ("b.PNG", b"no"),
            ("c.webp", &png),
            ("d.txt", b""),
        ]);
        let set = read(&folder, None).unwrap();
        assert_eq!(set.files().len(), 2);
        assert_eq!(set.frames[0].width(), 64);
        let [skipped] = set.skipped() else {
            panic!("{:?}", set.skipped());
        };
        assert!(skipped.file.ends_with("b.PNG") && skipped.reason.contains("2 bytes"));
    }

    #[test]
    fn a_folder_without_a_readable_photo_is_an_error_that_says_what_to_do() {
        let error = read(&folder(&[("a.txt", b"")]), None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("name a folder"), "{error}");
        let error = read(&folder(&[("a.jpg", b"x")]), None)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("none of the 1 photos") && error.contains("a.jpg"),
            "{error}"
        );
    }

    #[test]
    fn a_limit_takes_photos_from_the_whole_list() {
        let files: Vec<PathBuf> = (0..10).map(|i| PathBuf::from(i.to_string())).collect();
        let names = |limit| -> Vec<String> {
            let taken = spread(files.clone(), Some(limit));
            taken.iter().map(|f| f.display().to_string()).collect()
        };
        assert_eq!(names(3), ["0", "3", "6"]);
        assert_eq!(names(99).len(), 10);
        assert!(names(0).is_empty());
    }
}
