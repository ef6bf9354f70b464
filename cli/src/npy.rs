//! Raw outputs as `.npy` files: what segmentation and detection models return.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use dyno_core::{ElementType, Error, ErrorKind, Result, Tensor};

/// The data starts at a multiple of this.
const ALIGNMENT: usize = 64;

/// Writes `tensor` to `path` in the `.npy` format, version 1.0 (NEP 1): `np.load` reads it.
///
/// Fails with [`ErrorKind::Io`] if the file cannot be written.
pub(crate) fn save(path: &Path, tensor: &Tensor) -> Result<()> {
    let header = header(tensor)?;
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&header)?;
        file.write_all(&tensor.data().to_le_bytes())?;
        file.flush()
    };
    write().map_err(|e| Error::io(path, "write", e))
}

/// Magic, version, length, and a Python dictionary padded with spaces to the alignment.
fn header(tensor: &Tensor) -> Result<Vec<u8>> {
    const PREFIX: &[u8] = b"\x93NUMPY\x01\x00";
    let dimensions: Vec<String> = tensor.shape().iter().map(usize::to_string).collect();
    let tuple = match dimensions.join(", ") {
        none if none.is_empty() => none,
        some => some + ",",
    };
    let mut dictionary = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': ({tuple}), }}",
        descr(tensor.data().element())?,
    );
    let length_at = PREFIX.len();
    let unpadded = length_at + 2 + dictionary.len() + 1;
    let padding = unpadded.next_multiple_of(ALIGNMENT) - unpadded;
    dictionary.extend(std::iter::repeat_n(' ', padding));
    dictionary.push('\n');
    let length = u16::try_from(dictionary.len()).map_err(|e| {
        Error::with_source(
            ErrorKind::InvalidArgument,
            "the shape has too many dimensions for .npy version 1.0",
            e,
        )
    })?;
    Ok([PREFIX, &length.to_le_bytes(), dictionary.as_bytes()].concat())
}

/// The format's name of an element type.
fn descr(element: ElementType) -> Result<&'static str> {
    Ok(match element {
        ElementType::F32 => "<f4",
        ElementType::I64 => "<i8",
        ElementType::I32 => "<i4",
        ElementType::U8 => "|u1",
        ElementType::I8 => "|i1",
        ElementType::Bool => "|b1",
        other => {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{other:?} elements cannot be written as .npy"),
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use dyno_core::TensorData;

    use super::*;

    fn saved(shape: &[usize], data: TensorData) -> (String, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output.npy");
        save(&path, &Tensor::new(shape.to_vec(), data).unwrap()).unwrap();
        let file = std::fs::read(path).unwrap();
        assert_eq!(&file[..8], b"\x93NUMPY\x01\x00");
        let data_at = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
        assert_eq!(data_at % ALIGNMENT, 0);
        let dictionary = String::from_utf8(file[10..data_at].to_vec()).unwrap();
        assert!(dictionary.ends_with('\n'));
        (dictionary.trim_end().to_owned(), file[data_at..].to_vec())
    }

    #[test]
    fn every_element_type_is_written() {
        for (data, descr, bytes) in [
            (
                TensorData::F32(vec![1.0, -2.0]),
                "<f4",
                &[0, 0, 128, 63, 0, 0, 0, 192][..],
            ),
            (
                TensorData::I32(vec![-1, 258]),
                "<i4",
                &[255, 255, 255, 255, 2, 1, 0, 0],
            ),
            (TensorData::U8(vec![0, 255]), "|u1", &[0, 255]),
            (TensorData::I8(vec![-1, 1]), "|i1", &[255, 1]),
            (TensorData::Bool(vec![0, 1]), "|b1", &[0, 1]),
        ] {
            let (dictionary, found) = saved(&[1, 2], data);
            assert_eq!(
                dictionary,
                format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1, 2,), }}")
            );
            assert_eq!(found, bytes);
        }
        let (dictionary, found) = saved(&[1], TensorData::I64(vec![-2]));
        assert!(dictionary.contains("'<i8'"));
        assert_eq!(found, (-2i64).to_le_bytes());
    }

    #[test]
    fn shapes_are_python_tuples() {
        let data = |n| TensorData::U8(vec![0; n]);
        assert!(saved(&[], data(1)).0.contains("'shape': (), "));
        assert!(saved(&[3], data(3)).0.contains("'shape': (3,), "));
        assert!(
            saved(&[2, 3, 4], data(24))
                .0
                .contains("'shape': (2, 3, 4,), ")
        );
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_io_error() {
        let tensor = Tensor::new(vec![1], TensorData::U8(vec![0])).unwrap();
        let error = save(Path::new("/nowhere/at/all.npy"), &tensor).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
    }
}
