//! A request of the Open Inference Protocol from anywhere: three bytes say where its JSON ends, as the
//! header would, and the rest is the body.
#![no_main]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use dyno_core::{ElementType, TensorSpec};
use dyno_server::internals::InferRequest;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

/// Bytes allocated for each byte of a body, at most: an element of two characters becomes four bytes
/// in a vector that doubles, and four more little-endian.
const BYTES_PER_BYTE: usize = 16;
/// Bytes allocated whatever the body: messages, lists' first places.
const BYTES_ANYWAY: usize = 16 << 10;

#[global_allocator]
static COUNTING: Counting = Counting;
static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, and how much it has given.
struct Counting;

// SAFETY: every call is handed on as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn spec(name: &str, element: ElementType, shape: &[usize]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        element,
        shape: shape.to_vec(),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&[form, low, high], body)) = bytes.split_first_chunk() else {
        return;
    };
    let json_bytes = match form % 3 {
        0 => None,
        1 => Some(0),
        _ => Some(usize::from(u16::from_le_bytes([low, high]))),
    };
    let input = spec("x", ElementType::F32, &[1, 2]);
    let outputs = [
        spec("a", ElementType::F32, &[1, 3]),
        spec("b", ElementType::I64, &[1]),
    ];
    let body = body.to_vec();
    let length = body.len();
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let parsed = InferRequest::parse(body, json_bytes, &input, &outputs);
    let most = PEAK.load(Ordering::Relaxed) - before;
    assert!(
        most <= BYTES_PER_BYTE * length + BYTES_ANYWAY,
        "{most} bytes allocated for a body of {length}"
    );
    let Ok(request) = parsed else {
        return;
    };
    assert_eq!(request.input.len(), 8);

    // Written down again, it is the same request.
    let wanted = request.outputs.iter().map(|output| {
        let name = &outputs[output.index].name;
        json!({"name": name, "parameters": {"binary_data": output.binary}})
    });
    let mut head = json!({
        "inputs": [{
            "name": "x", "shape": [1, 2], "datatype": "FP32",
            "parameters": {"binary_data_size": 8},
        }],
        "outputs": wanted.collect::<Vec<_>>(),
    });
    if let Some(id) = &request.id {
        head["id"] = json!(id);
    }
    if let Some(timeout) = request.timeout {
        let us = u64::try_from(timeout.as_micros()).expect("it came as 64 bits");
        head["parameters"] = json!({"timeout": us});
    }
    let head = serde_json::to_vec(&head).expect("a request can be written");
    let json_bytes = Some(head.len());
    let again = [head, request.input.clone()].concat();
    let again = InferRequest::parse(again, json_bytes, &input, &outputs);
    assert_eq!(again.expect("what was written can be read"), request);
});
