//! Pixels → tensor: decoding photos and preparing a model's input.
//!
//! The last stage that is still an image is a [`Frame`]: the photo cropped and scaled to the
//! model's size. The device makes its input tensor from the frame, and at cut 0 sends the frame as
//! an image; so phone and server prepare the same input from the same bytes.
//!
//! ```
//! use dyno_core::pixels::{Colour, Fit, Frame, Layout, PixelFormat, Pixels, Preprocess};
//!
//! let preprocess = Preprocess {
//!     height: 2,
//!     width: 2,
//!     fit: Fit::Crop { crop_fraction: 1.0 },
//!     colour: Colour::Rgb,
//!     layout: Layout::Nchw,
//!     mean: [0.0; 3],
//!     std: [1.0; 3],
//! };
//! let red = [255u8, 0, 0].repeat(4 * 4);
//! let photo = Pixels::new(&red, 4, 4, 4 * 3, PixelFormat::Rgb8)?;
//! let frame = Frame::stage(&photo, &preprocess)?;
//! let input = frame.to_tensor(&preprocess)?;
//! assert_eq!(input.shape(), [1, 3, 2, 2]);
//! assert_eq!(input.as_f32().unwrap()[..5], [1.0, 1.0, 1.0, 1.0, 0.0]);
//! # Ok::<(), dyno_core::Error>(())
//! ```

mod buffer;
mod encode;
mod frame;
mod geometry;
#[cfg(test)]
mod hostile;
mod orientation;
mod photo;
mod ppm;
mod preprocess;
mod preprocess_file;
#[cfg(test)]
mod sample;
mod scale;
mod stage;
mod webp;
mod yuv;
mod yuv_colour;
mod yuv_scale;

pub use buffer::{MAX_PHOTO_PIXELS, MAX_SIDE_PX, PixelFormat, Pixels, Region};
pub use frame::Frame;
pub use geometry::Geometry;
pub use orientation::Orientation;
pub use photo::{MAX_PHOTO_BYTES, Photo};
pub use preprocess::{Anchor, Colour, Fit, Layout, Preprocess};
pub use preprocess_file::{DEFAULT_PAD, PreprocessFile, Resize};
pub use yuv::Yuv420;
pub use yuv_colour::YuvColour;
