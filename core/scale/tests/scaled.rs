//! Every kind of pixel, and what lies outside. Not beside the code: it would be compiled once more, which takes minutes.

use dyno_scale::{Channels, Crop, Region, scaled};

const REGION: Region = Region {
    left: 1,
    top: 0,
    width: 2,
    height: 2,
};
const CROP: Crop = Crop {
    left: 0.0,
    top: 0.0,
    width: 2.0,
    height: 2.0,
};

#[test]
fn pixels_of_one_to_four_channels_are_scaled_without_what_is_beside_the_region() {
    for channels in [
        Channels::One,
        Channels::Two,
        Channels::Three,
        Channels::Four,
    ] {
        let pixel = |value: u8| vec![value; channels.bytes()];
        // Two rows of three pixels, of which the first is not looked at.
        let rows = [255, 10, 30, 255, 50, 70].map(pixel).concat();
        let same = scaled(channels, &rows, 3, REGION, CROP, (2, 2)).unwrap_or_default();
        assert_eq!(same, [10, 30, 50, 70].map(pixel).concat());
        let one = scaled(channels, &rows, 3, REGION, CROP, (1, 1)).unwrap_or_default();
        assert_eq!(one, pixel(40));
    }
}

#[test]
fn what_lies_outside_is_refused() {
    let rows = [0; 6];
    let refused =
        |rows: &[u8], region, crop| scaled(Channels::One, rows, 3, region, crop, (2, 2)).is_err();
    assert!(!refused(&rows, REGION, CROP));
    assert!(refused(&rows[1..], REGION, CROP));
    assert!(refused(&rows, Region { left: 2, ..REGION }, CROP));
    assert!(refused(&rows, REGION, Crop { left: 0.5, ..CROP }));
    let below = Region {
        top: u32::MAX,
        ..REGION
    };
    assert!(refused(&rows, below, CROP));
}
