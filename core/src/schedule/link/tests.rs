//! Links that are slow, far, asleep or gone, and what is expected of them then.

use std::time::Duration;

use super::*;

fn sample(bytes: usize, sent: Instant, rtt_ms: f64, receive_ms: f64) -> LinkSample {
    LinkSample {
        bytes,
        others: 0,
        sent,
        wall_ms: rtt_ms + receive_ms + 5.0,
        receive_ms,
        server_ms: receive_ms + 5.0,
    }
}

#[test]
fn estimates_come_to_what_was_measured() {
    let mut link = Link::new(LinkPrior::MOBILE);
    let mut now = Instant::now();
    link.connected(None, now);
    for _ in 0..12 {
        // 100 kB in 400 ms: 2 Mbit/s.
        link.answered(sample(100_000, now, 20.0, 400.0));
        now += Duration::from_millis(430);
    }
    let rtt_ms = link.rtt_ms(now);
    assert!((rtt_ms - 20.0).abs() < 1.0, "{rtt_ms}");
    let rate_bps = link.rate_bps(now);
    assert!((rate_bps - 2e6).abs() < 1e5, "{rate_bps}");
}

/// The rate after twelve bodies of `bytes`, over a link that was taken for one of `rate_bps`.
fn learnt_from_bps(bytes: usize, receive_ms: f64, rate_bps: f64) -> f64 {
    let rtt_ms = 20.0;
    let mut link = Link::new(LinkPrior { rtt_ms, rate_bps });
    let mut now = Instant::now();
    link.connected(None, now);
    for _ in 0..12 {
        link.answered(sample(bytes, now, rtt_ms, receive_ms));
        now += Duration::from_millis(50);
    }
    link.rate_bps(now)
}

#[test]
fn even_a_small_body_tells_the_rate_of_a_slow_link() {
    // All of it came after the headers: 1 Mbit/s, and 0.4.
    let rate_bps = learnt_from_bps(4_200, 33.6, 10e6);
    assert!((rate_bps - 1e6).abs() < 5e4, "{rate_bps}");
    let rate_bps = learnt_from_bps(300, 6.0, 8e5);
    assert!((rate_bps - 4e5).abs() < 2e4, "{rate_bps}");
}

#[test]
fn a_hiccup_of_a_fast_link_is_not_taken_for_its_rate() {
    let rate_bps = learnt_from_bps(300, 6.0, 20e6);
    assert!((rate_bps - 20e6).abs() < 1.0, "{rate_bps}");
}

#[test]
fn waiting_for_tcp_is_not_taken_for_a_slow_rate() {
    let mut link = Link::new(LinkPrior {
        rtt_ms: 100.0,
        rate_bps: 20e6,
    });
    let now = Instant::now();
    link.connected(Some(100.0), now);
    // 100 kB on an idle connection at 20 Mbit/s: 300 ms of waiting, 40 ms of sending.
    link.answered(sample(100_000, now + Duration::from_secs(5), 100.0, 340.0));
    let rate_bps = link.rate_bps(now);
    assert!(rate_bps > 13e6, "{rate_bps}");
}

#[test]
fn bodies_that_share_the_uplink_are_not_taken_for_a_slow_one() {
    let mut link = Link::new(LinkPrior {
        rtt_ms: 20.0,
        rate_bps: 8e6,
    });
    let mut now = Instant::now();
    link.connected(Some(20.0), now);
    for _ in 0..20 {
        // 20 kB in 20 ms, which waited for as many and were mixed with as many.
        let mut sample = sample(20_000, now, 40.0, 40.0);
        sample.others = 40_000;
        link.answered(sample);
        now += Duration::from_millis(40);
    }
    let (rtt_ms, rate_bps) = (link.rtt_ms(now), link.rate_bps(now));
    assert!((rtt_ms - 20.0).abs() < 1e-6, "{rtt_ms}");
    assert!((rate_bps / 8e6 - 1.0).abs() < 0.01, "{rate_bps}");
}

#[test]
fn the_handshake_of_a_fresh_connection_is_not_taken_for_a_round_trip() {
    let mut link = Link::new(LinkPrior::MOBILE);
    let now = Instant::now();
    link.answered(sample(1_000, now, 80.0, 0.0));
    assert!((link.rtt_ms(now) - 40.0).abs() < 1e-9);
}

#[test]
fn a_late_answer_makes_predictions_longer_for_a_while() {
    let mut link = Link::new(LinkPrior::MOBILE);
    let now = Instant::now();
    link.answered(sample(20_000, now, 60.0, 16.0));
    link.set_probed(false);
    let sent = now + Duration::from_millis(200);
    let before = link.rate_bps(sent);
    let late = sent + Duration::from_secs(1);
    link.late(20_000, sent, late);
    assert!(link.transfer_ms(20_000, late) > 900.0);
    let later = late + Duration::from_secs(20);
    link.connected(None, later);
    let after = link.rate_bps(later);
    assert!((after / before - 1.0).abs() < 0.3, "{before} {after}");
}

#[test]
fn a_request_that_goes_on_makes_predictions_longer_before_it_ends() {
    let mut link = Link::new(LinkPrior::MOBILE);
    let sent = Instant::now();
    link.answered(sample(20_000, sent, 60.0, 16.0));
    let late = sent + Duration::from_secs(1);
    link.goes_on(20_000, sent, late);
    assert!(link.transfer_ms(20_000, late) > 900.0);
    assert_ne!(link.connection(late), Connection::Fresh);
    // It has another second to be late in.
    let later = late + Duration::from_secs(1);
    link.late(20_000, sent, later);
    assert!(link.transfer_ms(20_000, later) > 1_900.0);
    // Less than is known already says nothing.
    let known_ms = link.transfer_ms(20_000, later);
    link.goes_on(20_000, later, later + Duration::from_millis(500));
    assert!((link.transfer_ms(20_000, later) - known_ms).abs() < 1e-9);
}

#[test]
fn requests_that_are_late_together_count_once() {
    let (mut once, mut together) = (Link::new(LinkPrior::MOBILE), Link::new(LinkPrior::MOBILE));
    let sent = Instant::now();
    let late = sent + Duration::from_millis(300);
    once.late(1_000, sent, late);
    for _ in 0..8 {
        together.late(1_000, sent, late);
    }
    let at = late + Duration::from_secs(1);
    let more = together.transfer_ms(1_000, at) - once.transfer_ms(1_000, at);
    assert!(more.abs() < 1e-9, "{more}");
}

#[test]
fn predictions_that_come_true_make_the_link_a_sure_one() {
    let mut link = Link::new(LinkPrior::MOBILE);
    let mut now = Instant::now();
    link.connected(None, now);
    let unsure = link.at(now).p95_factor();
    for _ in 0..60 {
        link.answered(sample(50_000, now, 20.0, 40.0));
        now += Duration::from_millis(100);
    }
    let sure = link.at(now).p95_factor();
    assert!(sure < 1.2 && sure < unsure, "{unsure} {sure}");
}

#[test]
fn a_radio_that_sleeps_is_woken_before_a_round_trip() {
    let mut link = Link::new(LinkPrior::MOBILE);
    let mut now = Instant::now();
    link.connected(Some(40.0), now);
    for _ in 0..10 {
        now += Duration::from_secs(10);
        link.answered(sample(1_000, now, 340.0, 0.0));
    }
    let (awake, asleep) = (now + Duration::from_secs(2), now + Duration::from_secs(10));
    assert!((link.rtt_ms(asleep) - 40.0).abs() < 1e-6);
    let wake_ms = link.transfer_ms(1_000, asleep) - link.transfer_ms(1_000, awake);
    assert!((wake_ms - 300.0).abs() < 1.0, "{wake_ms}");
}

#[test]
fn what_was_abandoned_goes_first() {
    let mut link = Link::new(LinkPrior {
        rtt_ms: 20.0,
        rate_bps: 8e5,
    });
    let now = Instant::now();
    link.connected(None, now);
    let free = link.transfer_ms(1_000, now);
    link.abandoned(30_000, now);
    assert!((link.transfer_ms(1_000, now) - free - 300.0).abs() < 1e-6);
    let later = now + Duration::from_millis(500);
    assert!((link.transfer_ms(1_000, later) - free).abs() < 1e-6);
}

#[test]
fn bad_news_are_forgotten_and_good_ones_are_not() {
    let (mut slow, mut fast) = (Link::new(LinkPrior::MOBILE), Link::new(LinkPrior::MOBILE));
    let now = Instant::now();
    slow.connected(Some(660.0), now);
    fast.connected(Some(6.0), now);
    let later = now + Duration::from_mins(2);
    assert!((slow.rtt_ms(now) - 660.0).abs() < 1e-6);
    assert!((slow.rtt_ms(later) - 210.0).abs() < 1e-6);
    assert!((fast.rtt_ms(later) - 6.0).abs() < 1e-6);
}

#[test]
fn a_prior_that_makes_no_sense_is_refused() {
    for (rtt_ms, rate_bps) in [(0.0, 1e6), (10.0, -1.0), (f64::NAN, 1e6)] {
        let error = LinkPrior { rtt_ms, rate_bps }.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    LinkPrior::MOBILE.check().unwrap();
}
