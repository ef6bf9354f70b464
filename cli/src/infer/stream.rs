//! `dyno infer --stream`: the images as frames of one stream.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use dyno_core::client::{Client, Keep, Staged, StreamOptions};
use futures_util::stream::{self, Stream, StreamExt as _};

use super::report::Report;
use crate::verify::read_photo;

/// An image that was read, and whether it is a frame.
type Read = (PathBuf, Result<()>);

/// Infers all `images`, and says at the end how many there were a second.
pub(super) async fn infer(
    client: &Client,
    images: &[PathBuf],
    report: &mut Report<'_>,
) -> Result<()> {
    let (sender, read) = mpsc::channel();
    let options = StreamOptions {
        keep: Keep::All,
        ..StreamOptions::default()
    };
    let began = Instant::now();
    let mut answers = client.infer_stream(frames(client, images, sender), options)?;
    let mut answered = 0_u32;
    while let Some(frame) = answers.next().await {
        // Before it come those that are no images.
        let image = loop {
            match read.try_recv() {
                Ok((image, Ok(()))) => break image,
                Ok((image, Err(error))) => report.image(&image, None, Err(error))?,
                Err(_) => bail!("there are more answers than images: report this as a bug"),
            }
        };
        answered += u32::from(frame.answer.is_ok());
        let inference = frame.answer.map_err(anyhow::Error::from);
        report.image(&image, Some(frame.seq), inference)?;
    }
    let took_s = began.elapsed().as_secs_f64();
    for (image, is_frame) in read {
        if let Err(error) = is_frame {
            report.image(&image, None, Err(error))?;
        }
    }
    let rate = f64::from(answered) / took_s;
    eprintln!("{answered} frames in {took_s:.2} s: {rate:.1} frames/s");
    Ok(())
}

/// The images that are some, as frames; what was read is told in its order.
fn frames(
    client: &Client,
    images: &[PathBuf],
    read: mpsc::Sender<Read>,
) -> impl Stream<Item = Staged> + Send + use<> {
    let client = client.clone();
    stream::iter(images.to_vec())
        .then(move |image| {
            let (client, path) = (client.clone(), image.clone());
            async move {
                let staged = tokio::task::spawn_blocking(move || stage(&client, &path)).await;
                let staged = staged.context("the thread that read it ended");
                (image, staged.and_then(|staged| staged))
            }
        })
        .filter_map(move |(image, staged)| {
            let (frame, is_frame) = match staged {
                Ok(staged) => (Some(staged), Ok(())),
                Err(error) => (None, Err(error)),
            };
            // Nobody listens once nobody takes answers.
            let _ = read.send((image, is_frame));
            std::future::ready(frame)
        })
}

fn stage(client: &Client, image: &Path) -> Result<Staged> {
    let photo = read_photo(image)?;
    Ok(client.stage(&photo.pixels()?)?)
}
