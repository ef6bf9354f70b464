//! A tensor as maps: channels of rows of elements, which is how codecs and error diffusion walk it.

/// The maps of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Maps {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Maps {
    /// A tensor without two spatial dimensions is one row: each element has the one before it as its
    /// only neighbour.
    pub(super) fn of(shape: &[usize]) -> Self {
        let elements = shape.iter().product();
        match *shape {
            [.., height, width] if shape.len() >= 3 && height * width > 1 => Self {
                channels: elements / (height * width),
                height,
                width,
            },
            _ => Self {
                channels: 1,
                height: 1,
                width: elements,
            },
        }
    }

    /// Elements of one map.
    pub(super) const fn plane(self) -> usize {
        self.height * self.width
    }

    /// Whether neighbours are neighbours in a picture.
    pub(super) const fn are_spatial(self) -> bool {
        self.height > 1
    }
}
