//! Packing allocates nothing once its buffers have grown, whatever the codec.

use allocation_counter::measure;
use dyno_core::bundle::Cut;
use dyno_core::pack::{Packer, Unpacker};
use dyno_core::schedule::{Codec, Levels, Precision};
use dyno_core::{ElementType, TensorSpec};

const SHAPES: [[usize; 4]; 2] = [[1, 40, 56, 56], [1, 160, 7, 7]];

fn cut() -> Cut {
    let spec = |(i, shape): (usize, &[usize; 4])| TensorSpec {
        name: format!("t{i}"),
        element: ElementType::F32,
        shape: shape.to_vec(),
    };
    Cut {
        index: 2,
        after: "node".into(),
        tensors: SHAPES.iter().enumerate().map(spec).collect(),
        flops_before: 0,
        flops_after: 0,
    }
}

fn values(shape: [usize; 4], phase: f32) -> Vec<f32> {
    let elements: usize = shape.iter().product();
    (0..elements)
        .map(|i| ((i as f32).sqrt() * 0.7 + phase).sin().max(-0.2) + 0.2)
        .collect()
}

#[test]
fn packing_in_the_steady_state_allocates_nothing() {
    let cut = cut();
    // The second inference's activation differs from the first's, but is no larger.
    let [first, second] = [0.0, 0.4].map(|phase| SHAPES.map(|shape| values(shape, phase)));
    let mut packer = Packer::default();
    let mut message = Vec::new();
    for &codec in Codec::ALL {
        for levels in [4, 16, 300] {
            let precision = Precision::Levels(Levels::new(levels).unwrap());
            let mut pack = |tensors: &[Vec<f32>; 2], message: &mut Vec<u8>| {
                let tensors = tensors.each_ref().map(Vec::as_slice);
                packer
                    .pack_into(&cut, &tensors, precision, codec, message)
                    .unwrap();
            };
            // Room for messages that are longer by chance.
            pack(&first, &mut message);
            pack(&second, &mut message);
            message.reserve(message.len());
            let counted = measure(|| pack(&first, &mut message));
            assert_eq!(counted.count_total, 0, "{codec} at {levels} levels");
        }
    }
}

#[test]
fn unpacking_in_the_steady_state_allocates_its_tensors_and_nothing_where_there_is_room() {
    let cut = cut();
    let tensors = SHAPES.map(|shape| values(shape, 0.0));
    let result_bytes: usize = tensors.iter().map(|t| size_of_val(t.as_slice())).sum();
    let mut unpacker = Unpacker::default();
    for &codec in Codec::ALL {
        let precision = Precision::Levels(Levels::new(16).unwrap());
        let tensors = tensors.each_ref().map(Vec::as_slice);
        let message = Packer::default()
            .pack(&cut, &tensors, precision, codec)
            .unwrap();
        unpacker.unpack(&message, &cut).unwrap();
        let counted = measure(|| {
            unpacker.unpack(&message, &cut).unwrap();
        });
        // The elements, and a kilobyte for shapes and tables.
        let bytes = usize::try_from(counted.bytes_total).unwrap();
        assert!(bytes >= result_bytes, "{codec}: {bytes}");
        assert!(bytes <= result_bytes + 1024, "{codec}: {bytes}");

        let mut places = SHAPES.map(|shape| vec![0.0; shape.iter().product()]);
        let mut places = places.each_mut().map(Vec::as_mut_slice);
        let counted = measure(|| {
            unpacker.unpack_into(&message, &cut, &mut places).unwrap();
        });
        assert!(counted.bytes_total <= 1024, "{codec}: {counted:?}");
    }
}
