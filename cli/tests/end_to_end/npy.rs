//! Reading `.npy` files as `np.load` does: format version 1.0 of NEP 1.

use std::path::Path;

/// An array in a file.
#[derive(Debug)]
pub(crate) struct Array {
    pub(crate) descr: String,
    pub(crate) shape: Vec<usize>,
    data: Vec<u8>,
}

impl Array {
    pub(crate) fn f32(&self) -> Vec<f32> {
        assert_eq!(self.descr, "<f4");
        let (values, rest) = self.data.as_chunks();
        assert_eq!((values.len(), rest.len()), (self.shape.iter().product(), 0));
        values.iter().map(|v| f32::from_le_bytes(*v)).collect()
    }

    pub(crate) fn i64(&self) -> Vec<i64> {
        assert_eq!(self.descr, "<i8");
        let (values, rest) = self.data.as_chunks();
        assert_eq!((values.len(), rest.len()), (self.shape.iter().product(), 0));
        values.iter().map(|v| i64::from_le_bytes(*v)).collect()
    }
}

#[track_caller]
pub(crate) fn read(path: &Path) -> Array {
    let file = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(&file[..8], b"\x93NUMPY\x01\x00");
    let data_at = 10 + usize::from(u16::from_le_bytes([file[8], file[9]]));
    let header = std::str::from_utf8(&file[10..data_at]).unwrap();
    assert!(header.contains("'fortran_order': False"), "{header}");
    let between = |start: &str, end: &str| {
        let (_, after) = header.split_once(start).unwrap();
        after.split_once(end).unwrap().0
    };
    let numbers = between("'shape': (", ")").split(',').map(str::trim);
    Array {
        descr: between("'descr': '", "'").to_owned(),
        shape: numbers
            .filter(|n| !n.is_empty())
            .map(|n| n.parse().unwrap())
            .collect(),
        data: file[data_at..].to_vec(),
    }
}
