//! Pictures of the page, as SVG within it: they use the page's style, so that they suit a light and
//! a dark page alike.

mod lines;
mod timeline;

pub(super) use lines::{Series, panels};
pub(super) use timeline::{changes, timeline};
