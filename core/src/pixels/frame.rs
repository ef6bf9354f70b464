//! A photo at the model's size, and the input tensor made from it.

use std::fmt;
use std::sync::Arc;

use super::buffer::{check_size, invalid};
use super::photo::Photo;
use super::{Colour, Layout, Preprocess, ppm};
use crate::{Error, ErrorKind, Result, Tensor, TensorData};

/// A photo at the model's size (RGB, 8 bits): the last stage that is still an image. Cheap to
/// clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    width: usize,
    height: usize,
    /// Shared, because a call keeps the frame for finishing on the device while it is worked on.
    rgb: Arc<Vec<u8>>,
}

impl Frame {
    /// A frame from R, G, B bytes, row by row without padding.
    ///
    /// Fails with [`ErrorKind::InvalidImage`] if they do not fill the size, or the size is beyond
    /// the limits of a photo.
    pub fn from_rgb(width: usize, height: usize, rgb: Vec<u8>) -> Result<Self> {
        check_size(width, height)?;
        if rgb.len() != width * height * 3 {
            return Err(invalid(format!(
                "{} bytes do not fill a frame of {width}x{height} RGB pixels",
                rgb.len()
            )));
        }
        Ok(Self {
            width,
            height,
            rgb: Arc::new(rgb),
        })
    }

    /// Decodes a photo that has already been staged: it must have exactly the model's size.
    ///
    /// Fails with [`ErrorKind::InvalidImage`] if it has another, before its pixels are decoded, or
    /// for what [`Photo::decode`] refuses; with [`ErrorKind::InvalidArgument`] if `preprocess`
    /// makes no sense.
    pub fn decode(bytes: &[u8], preprocess: &Preprocess) -> Result<Self> {
        preprocess.check()?;
        if ppm::is_ppm(bytes) {
            let (width, height) = (preprocess.width, preprocess.height);
            return Self::from_rgb(width, height, ppm::decode(bytes, width, height)?);
        }
        let photo = Photo::decode_sized(bytes, |width, height| {
            if (width, height) == (preprocess.width, preprocess.height) {
                return Ok(());
            }
            Err(invalid(format!(
                "the model takes photos staged to {}x{} pixels, this one has {width}x{height}",
                preprocess.width, preprocess.height
            )))
        })?;
        Self::from_rgb(photo.width(), photo.height(), photo.into_rgb())
    }

    /// Colour order, scaling, mean and standard deviation, layout: the model's input tensor, of
    /// shape [`Preprocess::input_shape`] and type f32.
    ///
    /// Fails with [`ErrorKind::InvalidArgument`] if `preprocess` makes no sense or is for another
    /// size than the frame's.
    pub fn to_tensor(&self, preprocess: &Preprocess) -> Result<Tensor> {
        preprocess.check()?;
        if (self.width, self.height) != (preprocess.width, preprocess.height) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "a frame of {}x{} pixels for a model of {}x{}: stage the photo with this \
                     model's preprocessing",
                    self.width, self.height, preprocess.width, preprocess.height
                ),
            ));
        }
        let tables = value_tables(preprocess);
        let mut values = vec![0.0; self.rgb.len()];
        match preprocess.layout {
            Layout::Nchw => self.fill_planes(&mut values, &tables, preprocess.colour),
            Layout::Nhwc => self.fill_pixels(&mut values, &tables, preprocess.colour),
        }
        Tensor::new(preprocess.input_shape().to_vec(), TensorData::F32(values))
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The R, G, B bytes, row by row.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    fn fill_planes(&self, values: &mut [f32], tables: &[Table; 3], colour: Colour) {
        let (first, rest) = values.split_at_mut(self.width * self.height);
        let (second, third) = rest.split_at_mut(self.width * self.height);
        let (red, blue) = match colour {
            Colour::Rgb => (first, third),
            Colour::Bgr => (third, first),
        };
        let [red_table, green_table, blue_table] = tables;
        let pixels = self.rgb.as_chunks::<3>().0.iter();
        for (((&[r, g, b], red), green), blue) in pixels.zip(red).zip(second).zip(blue) {
            *red = red_table[usize::from(r)];
            *green = green_table[usize::from(g)];
            *blue = blue_table[usize::from(b)];
        }
    }

    fn fill_pixels(&self, values: &mut [f32], tables: &[Table; 3], colour: Colour) {
        let [red, green, blue] = tables;
        let pixels = self.rgb.as_chunks::<3>().0.iter();
        for (&[r, g, b], value) in pixels.zip(values.as_chunks_mut::<3>().0) {
            let (r, g, b) = (
                red[usize::from(r)],
                green[usize::from(g)],
                blue[usize::from(b)],
            );
            *value = match colour {
                Colour::Rgb => [r, g, b],
                Colour::Bgr => [b, g, r],
            };
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({}x{})", self.width, self.height)
    }
}

/// The value of every byte.
type Table = [f32; 256];

/// (byte / 255 − mean) / std for R, G and B: a look-up costs less than a division.
fn value_tables(preprocess: &Preprocess) -> [Table; 3] {
    std::array::from_fn(|channel| {
        let (mean, std) = (preprocess.mean[channel], preprocess.std[channel]);
        std::array::from_fn(|byte| {
            let value = (byte as f64 / 255.0 - f64::from(mean)) / f64::from(std);
            // The tensor is f32; the table is worked out in f64 so that it rounds once.
            #[allow(clippy::cast_possible_truncation)]
            let value = value as f32;
            value
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::sample::{WHOLE, preprocess, rgb};
    use super::*;
    use crate::schedule::PhotoCodec;

    fn assert_close(values: &[f32], expected: &[f32]) {
        assert_eq!(values.len(), expected.len());
        for (value, expected) in values.iter().zip(expected) {
            assert!(
                (value - expected).abs() < 1e-6,
                "{value} instead of {expected}"
            );
        }
    }

    #[test]
    fn mean_and_std_are_taken_per_channel_in_every_order() {
        let frame = Frame::from_rgb(2, 1, vec![69, 83, 14, 255, 0, 128]).unwrap();
        let mut preprocess = preprocess(2, 1, WHOLE);
        // NumPy: (x / 255 - mean) / std.
        let [r0, g0, b0] = [-0.936_295_9, -0.582_633, -1.560_435_8];
        let [r1, g1, b1] = [2.248_908_4, -2.035_714_4, 0.426_492_43];
        for (colour, layout, expected) in [
            (Colour::Rgb, Layout::Nchw, [r0, r1, g0, g1, b0, b1]),
            (Colour::Bgr, Layout::Nchw, [b0, b1, g0, g1, r0, r1]),
            (Colour::Rgb, Layout::Nhwc, [r0, g0, b0, r1, g1, b1]),
            (Colour::Bgr, Layout::Nhwc, [b0, g0, r0, b1, g1, r1]),
        ] {
            (preprocess.colour, preprocess.layout) = (colour, layout);
            let tensor = frame.to_tensor(&preprocess).unwrap();
            assert_eq!(tensor.shape(), preprocess.input_shape());
            assert_close(tensor.as_f32().unwrap(), &expected);
        }
    }

    #[test]
    fn a_std_of_one_255th_gives_the_bytes_themselves() {
        let mut preprocess = preprocess(256, 1, WHOLE);
        (preprocess.mean, preprocess.std) = ([0.0; 3], [1.0 / 255.0; 3]);
        let grey = (0..=255).flat_map(|value| [value; 3]).collect();
        let tensor = Frame::from_rgb(256, 1, grey)
            .unwrap()
            .to_tensor(&preprocess);
        let values = tensor.unwrap().as_f32().unwrap()[..256].to_vec();
        for (byte, value) in values.iter().enumerate() {
            assert!((value - byte as f32).abs() < 1e-4, "{byte} became {value}");
        }
    }

    #[test]
    fn a_frame_of_another_size_is_refused() {
        let frame = Frame::from_rgb(4, 2, vec![0; 24]).unwrap();
        let error = frame.to_tensor(&preprocess(2, 4, WHOLE)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let png = frame.encode(PhotoCodec::Png).unwrap();
        let error = Frame::decode(&png, &preprocess(2, 4, WHOLE)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidImage);
        assert!(
            error
                .to_string()
                .contains("staged to 2x4 pixels, this one has 4x2")
        );
    }

    #[test]
    fn bytes_that_do_not_fill_the_size_are_refused() {
        for (width, height, length) in [(4, 2, 23), (4, 2, 25), (0, 0, 0)] {
            let error = Frame::from_rgb(width, height, vec![0; length]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidImage);
        }
    }

    #[test]
    fn a_staged_photo_comes_back_as_it_was() {
        let frame = Frame::from_rgb(33, 17, rgb(33, 17)).unwrap();
        for codec in [PhotoCodec::Png, PhotoCodec::WebPLossless] {
            let bytes = frame.encode(codec).unwrap();
            assert_eq!(
                Frame::decode(&bytes, &preprocess(33, 17, WHOLE)).unwrap(),
                frame
            );
        }
    }
}
