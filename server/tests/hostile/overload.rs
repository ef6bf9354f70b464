//! Ten times more than there is room for (row 23).

use dyno_core::schedule::{Codec, Levels, Precision};
use futures_util::future::join_all;

use crate::bundle::{large_cut, packed};
use crate::child::Child;
use crate::common::json;

const CAPACITY: usize = 16;

/// Row 23: each is answered, with outputs or with when to come back.
#[tokio::test]
async fn a_burst_of_ten_times_the_capacity_is_answered_in_full() {
    let capacity = CAPACITY.to_string();
    let server = Child::start(&["--max-in-flight", &capacity]).await;
    let body = packed(
        large_cut(),
        Precision::Levels(Levels::EIGHT_BITS),
        Codec::Lz4,
    );
    let mut done = 0;
    let mut shed = 0;
    server
        .endures(2, async || {
            let burst = (0..10 * CAPACITY).map(|_| server.packed(body.clone()));
            for answer in join_all(burst).await {
                match answer.status().as_u16() {
                    200 => {
                        assert_eq!(answer.content_length(), Some(12 * 4));
                        done += 1;
                    }
                    429 | 503 => {
                        let seconds = answer.headers()["retry-after"].to_str().unwrap();
                        assert!(seconds.parse::<u32>().unwrap() >= 1);
                        assert_eq!(json(answer).await["kind"], "overloaded");
                        shed += 1;
                    }
                    // Accepted, and its turn came too late.
                    504 => assert_eq!(json(answer).await["kind"], "deadline_exceeded"),
                    other => panic!("{other}"),
                }
            }
        })
        .await;
    assert!(done >= CAPACITY, "{done} served, {shed} shed");
    // Nothing of it stays: the next one is alone.
    let answer = server.packed(body).await;
    assert_eq!(answer.status(), 200);
    let load = answer.headers()["dyno-load"].to_str().unwrap();
    assert!(load.starts_with("in-flight=1,"), "{load}");
}
