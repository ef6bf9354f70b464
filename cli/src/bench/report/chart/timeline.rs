//! Calls over time on a trace: what the link carries, how long each call took, and under which plan.

use std::collections::BTreeMap;

use super::super::super::plot::{Escaped, Svg, text_width};
use crate::bench::axis::{Log, linear_ticks};
use crate::simulate::CallLine;
use crate::trace::Trace;

const WIDTH: f64 = 1140.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
/// Rows of the key, then the link, the latencies, the plans and the axis.
const KEY_TOP: f64 = 14.0;
const KEY_ROW: f64 = 18.0;
const LINK_HEIGHT: f64 = 74.0;
const LATENCY_HEIGHT: f64 = 210.0;
const BAND_HEIGHT: f64 = 14.0;
const GAP: f64 = 24.0;
const AXIS: f64 = 40.0;
const TICK_ROW: f64 = 15.0;
/// Size of the key's text.
const KEY_PX: f64 = 11.5;
/// Plans with a colour of their own, but for the device alone, which has the next; the others share
/// the last.
const COLOURED: usize = 4;
const DEVICE_COLOUR: usize = 4;
const OTHERS_COLOUR: usize = 5;
/// The plan of the device alone, as plans are written.
const DEVICE: &str = "device";
/// Steps in which the link's rate is drawn.
const LINK_STEPS: u32 = 540;

/// The picture; `alone_ms` is what the device alone takes.
pub(in super::super) fn timeline(
    calls: &[CallLine],
    trace: &Trace,
    seconds: f64,
    alone_ms: f64,
) -> String {
    let plans = Plans::new(calls);
    let key = plans.key();
    let top = KEY_TOP + key.1 * KEY_ROW + 8.0;
    let latency_top = top + LINK_HEIGHT + GAP;
    let band_top = latency_top + LATENCY_HEIGHT + 6.0;
    let height = band_top + BAND_HEIGHT + AXIS;
    let latencies = calls.iter().map(|call| call.latency_ms).chain([alone_ms]);
    let picture = Picture {
        calls,
        plans: &plans,
        seconds,
        latency: Log::new(latencies, LATENCY_HEIGHT).padded(),
    };
    let mut svg = Svg::default();
    svg.add(format_args!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\">\n<title>Latency over time</title>\n{}",
        key.0
    ));
    picture.link(&mut svg, trace, top);
    picture.latencies(&mut svg, latency_top, alone_ms);
    picture.band(&mut svg, band_top);
    picture.time(&mut svg, top, band_top + BAND_HEIGHT);
    svg.add(format_args!("</svg>"));
    svg.0
}

/// How often the plan of a call is not that of the call before it.
pub(in super::super) fn changes(calls: &[CallLine]) -> usize {
    let pairs = calls.windows(2);
    pairs.filter(|two| two[0].plan != two[1].plan).count()
}

/// Colours of plans.
struct Plans<'a> {
    /// Name, calls and colour, the usual ones first.
    named: Vec<(&'a str, usize, usize)>,
    /// Calls of the others.
    others: usize,
    resumed: usize,
}

impl<'a> Plans<'a> {
    fn new(calls: &'a [CallLine]) -> Self {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for call in calls {
            *counts.entry(&call.plan).or_default() += 1;
        }
        let mut usual: Vec<(&str, usize)> = counts.into_iter().collect();
        usual.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        let mut colours = 0..COLOURED;
        let (mut named, mut others) = (Vec::new(), 0);
        for (plan, count) in usual {
            let colour = if plan == DEVICE {
                Some(DEVICE_COLOUR)
            } else {
                colours.next()
            };
            match colour {
                Some(colour) => named.push((plan, count, colour)),
                None => others += count,
            }
        }
        Self {
            named,
            others,
            resumed: calls.iter().filter(|call| call.resumed).count(),
        }
    }

    /// Which colour a plan has.
    fn colour(&self, plan: &str) -> usize {
        let named = self.named.iter().find(|named| named.0 == plan);
        named.map_or(OTHERS_COLOUR, |named| named.2)
    }

    /// The key, and how many rows it has.
    fn key(&self) -> (String, f64) {
        let calls = |count: usize| if count == 1 { "call" } else { "calls" };
        let named = self.named.iter();
        let mut entries: Vec<(String, String)> = named
            .map(|(plan, count, colour)| {
                let text = format!("{plan} ({count} {})", calls(*count));
                (format!("dot k{colour}"), text)
            })
            .collect();
        if self.others > 0 {
            let text = format!("other plans ({} {})", self.others, calls(self.others));
            entries.push((format!("dot k{OTHERS_COLOUR}"), text));
        }
        if self.resumed > 0 {
            let text = format!("ring: finished on the device ({})", self.resumed);
            entries.push((format!("ring k{OTHERS_COLOUR}"), text));
        }
        let mut svg = Svg::default();
        let (mut x, mut row) = (LEFT, 0.0);
        for (class, text) in entries {
            let width = 16.0 + text_width(&text, KEY_PX);
            if x > LEFT && x + width > WIDTH - RIGHT {
                (x, row) = (LEFT, row + 1.0);
            }
            let y = KEY_TOP + row * KEY_ROW;
            svg.add(format_args!(
                "<circle class=\"{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"/><text x=\"{:.1}\" \
                 y=\"{y:.1}\" font-size=\"{KEY_PX}\">{}</text>",
                x + 4.0,
                y - 4.0,
                x + 13.0,
                Escaped(&text)
            ));
            x += width + 14.0;
        }
        (svg.0, row + 1.0)
    }
}

struct Picture<'a> {
    calls: &'a [CallLine],
    plans: &'a Plans<'a>,
    seconds: f64,
    latency: Log,
}

impl Picture<'_> {
    fn x(&self, ms: f64) -> f64 {
        let share = (ms / 1e3 / self.seconds.max(1e-3)).clamp(0.0, 1.0);
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    /// The link's rate as an area: means of equal stretches would hide outages, so they are samples.
    fn link(&self, svg: &mut Svg, trace: &Trace, top: f64) {
        let bottom = top + LINK_HEIGHT;
        let step_ms = self.seconds * 1e3 / f64::from(LINK_STEPS);
        let rate = |i: u32| trace.rate_bps_at(f64::from(i) * step_ms) / 1e6;
        let most = (0..LINK_STEPS).map(rate).fold(0.0, f64::max).max(1e-6);
        let steps: Vec<String> = (0..LINK_STEPS)
            .map(|i| {
                let y = bottom - rate(i) / most * LINK_HEIGHT;
                format!("V{y:.1}H{:.1}", self.x(f64::from(i + 1) * step_ms))
            })
            .collect();
        svg.add(format_args!(
            "<path class=\"area\" d=\"M{LEFT} {bottom:.1}{}V{bottom:.1}z\"/>",
            steps.concat()
        ));
        title(svg, top, "link, Mbit/s");
        for tick in linear_ticks(most, LINK_HEIGHT).iter().step_by(3) {
            row(svg, bottom - tick.at, &tick.label);
        }
    }

    fn latencies(&self, svg: &mut Svg, top: f64, alone_ms: f64) {
        let bottom = top + LATENCY_HEIGHT;
        title(svg, top, "latency, ms");
        for tick in self.latency.ticks(TICK_ROW) {
            row(svg, bottom - tick.at, &tick.label);
        }
        let y = bottom - self.latency.at(alone_ms);
        svg.add(format_args!(
            "<path class=\"alone\" d=\"M{LEFT} {y:.1}H{:.1}\"><title>device alone: {alone_ms:.0} \
             ms</title></path>",
            WIDTH - RIGHT
        ));
        for call in self.calls {
            let (shape, radius) = if call.resumed {
                ("ring", 3.2)
            } else {
                ("dot", 2.2)
            };
            svg.add(format_args!(
                "<circle class=\"{shape} k{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\"><title>{:.1} s: \
                 {:.0} ms, {}{}</title></circle>",
                self.plans.colour(&call.plan),
                self.x(call.start_ms),
                bottom - self.latency.at(call.latency_ms),
                call.start_ms / 1e3,
                call.latency_ms,
                Escaped(&call.plan),
                if call.resumed {
                    ", finished on the device"
                } else {
                    ""
                }
            ));
        }
    }

    /// One stretch for all calls in a row with the same colour.
    fn band(&self, svg: &mut Svg, top: f64) {
        let stretches = self
            .calls
            .chunk_by(|a, b| self.plans.colour(&a.plan) == self.plans.colour(&b.plan));
        let starts: Vec<(f64, usize)> = stretches
            .filter_map(|calls| calls.first())
            .map(|call| (self.x(call.start_ms), self.plans.colour(&call.plan)))
            .collect();
        let ends = starts.iter().skip(1).map(|start| start.0);
        for ((x, colour), end) in starts.iter().zip(ends.chain([WIDTH - RIGHT])) {
            svg.add(format_args!(
                "<rect class=\"band k{colour}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{:.1}\" \
                 height=\"{BAND_HEIGHT}\"/>",
                (end - x).max(0.5)
            ));
        }
        svg.add(format_args!(
            "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">plan</text>",
            LEFT - 8.0,
            top + 11.0
        ));
    }

    fn time(&self, svg: &mut Svg, top: f64, bottom: f64) {
        for tick in linear_ticks(self.seconds, WIDTH - LEFT - RIGHT) {
            let x = LEFT + tick.at;
            svg.add(format_args!(
                "<path class=\"grid\" d=\"M{x:.1} {bottom:.1}v5\"/><text class=\"soft\" x=\"{x:.1}\" \
                 y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 17.0,
                tick.label
            ));
        }
        svg.add(format_args!(
            "<path class=\"axis\" d=\"M{LEFT} {top:.1}V{bottom:.1}H{:.1}\"/><text class=\"soft\" \
             x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">time, s</text>",
            WIDTH - RIGHT,
            f64::midpoint(LEFT, WIDTH - RIGHT),
            bottom + 34.0
        ));
    }
}

fn title(svg: &mut Svg, top: f64, text: &str) {
    svg.add(format_args!(
        "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
        LEFT + 4.0,
        top - 5.0
    ));
}

/// A line across, and its number.
fn row(svg: &mut Svg, y: f64, label: &str) {
    svg.add(format_args!(
        "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text class=\"soft\" x=\"{:.1}\" \
         y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
        WIDTH - RIGHT,
        LEFT - 6.0,
        y + 4.0
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(start_ms: f64, plan: &str) -> CallLine {
        CallLine {
            start_ms,
            latency_ms: 100.0,
            plan: plan.into(),
            bytes: 5,
            server_ms: 1.0,
            resumed: false,
        }
    }

    #[test]
    fn the_usual_plans_have_colours_and_the_others_share_one() {
        let plans = ["a", "b", "b", "c", "d", "e", "device", "f", "b"];
        let calls: Vec<CallLine> = plans.iter().map(|plan| call(0.0, plan)).collect();
        assert_eq!(changes(&calls), 7);
        let plans = Plans::new(&calls);
        assert_eq!((plans.colour("b"), plans.colour("a")), (0, 1));
        assert_eq!(plans.colour("device"), DEVICE_COLOUR);
        assert_eq!((plans.colour("f"), plans.others), (OTHERS_COLOUR, 2));
    }

    #[test]
    fn anything_can_be_drawn() {
        let trace = Trace::constant(0.0);
        let drawn = |calls: &[CallLine]| timeline(calls, &trace, 10.0, 120.0);
        for calls in [vec![], vec![call(5.0, "<&>"), call(20_000.0, "b")]] {
            let picture = drawn(&calls);
            roxmltree::Document::parse(&picture).unwrap();
            assert!(
                !picture.contains("NaN") && !picture.contains("inf"),
                "{picture}"
            );
        }
    }
}
