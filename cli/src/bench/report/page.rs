//! The page: what is shown, in which order, and what is said of it.

use super::appendix;
use super::cell::Cell;
use super::chart::{self, Series};
use super::grid::{Aim, Grid, Key, Link};
use super::heat::{self, GAIN, REGRET, SHARE, Shade, Steps};
use super::html::Html;
use super::measured::Measured;
use super::policies::POLICIES;
use super::targets::{Target, avoidable_share, speed_over_best};
use crate::bench::machine::Machine;
use crate::simulate::report::Summary;

/// Sections: the anchors, and the words that lead to them.
const SECTIONS: [(&str, &str); 9] = [
    ("targets", "Targets"),
    ("regret", "Regret"),
    ("time", "Over time"),
    ("throughput", "Throughput"),
    ("bytes", "Bytes"),
    ("server", "Server time"),
    ("rivals", "Rivals"),
    ("machine", "Machine"),
    ("cells", "All cells"),
];

/// Everything that is shown.
pub(super) struct Page<'a> {
    pub(super) targets: Vec<Target>,
    pub(super) machine: Machine,
    pub(super) measured: &'a [Measured],
    pub(super) grid: &'a Grid,
    pub(super) cells: &'a [Cell],
}

impl Page<'_> {
    /// The whole page.
    pub(super) fn html(&self) -> String {
        let mut html = Html::new("DynO: split inference on simulated links");
        let names: Vec<&str> = self.grid.models.iter().map(|m| m.name.as_str()).collect();
        html.paragraph(&format!(
            "{} on devices {} times slower than the server, over {} links with round trips of {} \
             ms: every policy in every cell, in virtual time. The planner and the estimators are those \
             of the client; spans, codecs, the server and TCP are models fed by the bundle's profile \
             and calibration.",
            joined(&names),
            joined(&self.grid.slowdowns),
            self.grid.links.len(),
            joined(&self.grid.rtts_ms)
        ));
        let links = SECTIONS.map(|(id, words)| format!("<a href=\"#{id}\">{words}</a>"));
        html.add(format_args!("<nav>{}</nav>", links.concat()));
        self.targets(&mut html);
        self.regret(&mut html);
        self.over_time(&mut html);
        self.throughput(&mut html);
        self.bytes(&mut html);
        self.server_time(&mut html);
        self.measured(&mut html);
        appendix::rivals(&mut html);
        self.machine(&mut html);
        self.all_cells(&mut html);
        html.finish()
    }

    fn targets(&self, html: &mut Html) {
        html.heading("targets", "Targets");
        html.add(format_args!(
            "<div class=\"wide\"><table>\n<thead><tr><th>target</th><th>wanted</th><th \
             class=\"n\">found</th><th></th><th>where</th></tr></thead>\n<tbody>"
        ));
        for t in &self.targets {
            let class = match t.met {
                Some(true) => "met",
                Some(false) => "missed",
                None => "n",
            };
            html.add(format_args!(
                "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td \
                 class=\"{class}\">{}</td><td>{}</td></tr>",
                escaped(t.what),
                escaped(&t.wanted),
                escaped(&t.found),
                t.verdict(),
                escaped(&t.detail)
            ));
        }
        html.add(format_args!("</tbody></table></div>"));
        html.paragraph(
            "A target about every cell is met only if its worst cell meets it. Best rival: \
             device_only, server_raw, neurosurgeon, jalad or dyno_paper, whichever is best in the cell; \
             server_jpeg may lose more accuracy than is allowed, and static_best is hindsight. A \
             late cut wins where the best plan for all frames, or calls for least latency, splits in the \
             second half of the model's cuts. Losses of accuracy are the upper bounds of calibration.",
        );
    }

    fn regret(&self, html: &mut Html) {
        html.heading("regret", "Regret");
        html.paragraph(
            "Latency: DynO's mean over that of an oracle that knows every photo and the link's future. \
             A device so slow that it makes few calls within a run pays much for its first ones.",
        );
        self.heat(html, Aim::Latency, REGRET, |cell| {
            let value = cell.regret()?;
            Some((value, format!("{value:.3}"), latency_note(cell)))
        });
        html.paragraph("Streams: DynO's frames a second over those of the best rival.");
        self.heat(html, Aim::Throughput, GAIN, |cell| {
            let value = speed_over_best(cell)?;
            let text = format!("{value:.3}");
            Some((value, text, speed_note(cell)))
        });
    }

    fn over_time(&self, html: &mut Html) {
        html.heading("time", "Latency over time");
        html.paragraph(
            "Every call of DynO for least latency, on the trace and the device of each bundle on which it \
             changed plans most often. Colours are plans; a ring is a call that the device finished \
             because the answer did not come; the dashed line is what the device alone takes.",
        );
        let mut drawn = false;
        for model in &self.grid.models {
            let cells = self.cells.iter().filter(|cell| {
                let key = &cell.key;
                key.model == model.name && !cell.calls.is_empty()
            });
            let Some((cell, link)) = cells
                .max_by_key(|cell| chart::changes(&cell.calls))
                .and_then(|cell| Some((cell, self.link_of(cell)?)))
            else {
                continue;
            };
            drawn = true;
            html.subheading(&cell.key.place());
            let alone = cell.policy("device_only");
            let alone_ms = alone.map_or(0.0, |s| s.latency_ms.mean);
            let picture = chart::timeline(&cell.calls, &link.trace, cell.key.seconds, alone_ms);
            let caption = format!(
                "{} calls, {} changes of plan. {}.",
                cell.calls.len(),
                chart::changes(&cell.calls),
                latency_note(cell)
            );
            html.figure(picture, &caption);
        }
        if !drawn {
            html.paragraph("No trace was given (--traces).");
        }
    }

    fn throughput(&self, html: &mut Html) {
        html.heading("throughput", "Throughput against bandwidth");
        html.paragraph(
            "Frames a second of a stream: device, link and server work on successive frames at once.",
        );
        self.panels(html, Aim::Throughput, "frames a second", |s| {
            s.throughput_fps
        });
    }

    fn bytes(&self, html: &mut Html) {
        html.heading("bytes", "Bytes a frame");
        html.paragraph(
            "Bytes sent for each frame of the same streams, probes included; a policy that sends nothing \
             is at 0.",
        );
        self.panels(html, Aim::Throughput, "bytes a frame", |s| s.bytes_mean);
    }

    fn server_time(&self, html: &mut Html) {
        html.heading("server", "Server time a call");
        html.paragraph(
            "Onloading: least server time within 100 ms. Where no plan keeps the limit, server time \
             counts for nothing and the fastest plan is wanted. The rivals know no such aim and choose as \
             for latency.",
        );
        self.panels(html, Aim::Onloading, "server time a call, ms", |s| {
            s.server_ms_mean
        });
        html.subheading("Calls beyond 100 ms");
        html.paragraph(
            "Share of DynO's calls that took longer although another plan would not have, as an oracle \
             sees it.",
        );
        self.heat(html, Aim::Onloading, SHARE, |cell| {
            let share = avoidable_share(cell)?;
            let dyno = cell.policy("dyno")?;
            let note = format!(
                "{} of {} calls took longer, {} of them avoidably",
                dyno.limit_violations,
                dyno.calls,
                dyno.avoidable_violations.unwrap_or(0)
            );
            Some((share, format!("{:.1} %", 100.0 * share), note))
        });
    }

    fn measured(&self, html: &mut Html) {
        if self.measured.is_empty() {
            return;
        }
        html.heading("measured", "Measured and simulated");
        html.paragraph(
            "What dyno bench link measured with the real client and server over an emulated link, beside \
             the simulation of the same for least latency. Its pause between calls, its queue and its \
             losses may differ.",
        );
        let header = [
            "policy",
            "calls",
            "mean ms",
            "simulated",
            "p95 ms",
            "simulated",
            "bytes",
            "simulated",
            "server ms",
            "simulated",
        ];
        for measured in self.measured {
            html.subheading(&measured.place());
            let cell = measured.same(self.cells);
            if cell.is_none() {
                html.paragraph(
                    "No cell of this page is of that bundle, device, link and round trip.",
                );
            }
            html.table(&header, &[1, 2, 3, 4, 5, 6, 7, 8, 9], measured.rows(cell));
        }
    }

    /// A coloured table, and its key. `number` gives a cell's number, its text and a note.
    fn heat(
        &self,
        html: &mut Html,
        aim: Aim,
        steps: &Steps,
        number: impl Fn(&Cell) -> Option<(f64, String, String)>,
    ) {
        let shade = |cell: &Cell| {
            let (value, text, note) = number(cell)?;
            Some(Shade {
                text,
                class: heat::class(steps, value),
                note,
            })
        };
        let table = heat::table(self.grid, self.cells, aim, shade);
        html.add(format_args!("{table}\n{}", heat::key(steps)));
    }

    /// Panels of a number over the links of one rate, for every bundle.
    fn panels(&self, html: &mut Html, aim: Aim, what: &str, number: fn(&Summary) -> f64) {
        if !self.grid.links.iter().any(|link| link.rate_mbit.is_some()) {
            html.paragraph("There is no link of one rate (--rates).");
            return;
        }
        for model in &self.grid.models {
            for &rtt_ms in &self.grid.rtts_ms {
                html.subheading(&format!("{}, round trip of {rtt_ms} ms", model.name));
                let panel = |&slowdown: &f64| {
                    let is_on_it = |key: &Key| {
                        key.aim == aim
                            && key.model == model.name
                            && key.slowdown.total_cmp(&slowdown).is_eq()
                            && key.rtt_ms.total_cmp(&rtt_ms).is_eq()
                    };
                    let series = self.series(is_on_it, number);
                    (format!("device ×{slowdown}"), series)
                };
                let panels: Vec<(String, Vec<Series>)> =
                    self.grid.slowdowns.iter().map(panel).collect();
                html.add(format_args!("{}", chart::panels(&panels, what)));
            }
        }
    }

    /// A line for each policy, over the rates of the cells that are on it.
    fn series(&self, is_on_it: impl Fn(&Key) -> bool, number: fn(&Summary) -> f64) -> Vec<Series> {
        let cells: Vec<(&Cell, f64)> = self
            .cells
            .iter()
            .filter(|cell| is_on_it(&cell.key))
            .filter_map(|cell| Some((cell, cell.key.rate_mbit?)))
            .collect();
        let series = |policy| Series {
            policy,
            points: cells
                .iter()
                .filter_map(|(cell, rate)| Some((*rate, number(cell.policy(policy.name)?))))
                .collect(),
        };
        POLICIES.iter().map(series).collect()
    }

    fn link_of(&self, cell: &Cell) -> Option<&Link> {
        let mut links = self.grid.links.iter();
        links.find(|link| link.name == cell.key.link)
    }
}

fn latency_note(cell: &Cell) -> String {
    let of = |name| cell.policy(name).map_or(f64::NAN, |s| s.latency_ms.mean);
    let usual = cell.policy("dyno").and_then(|s| s.usual_plan.as_ref());
    let usual = usual.map_or_else(String::new, |(plan, share)| {
        format!("; usual plan: {plan} ({:.0} %)", 100.0 * share)
    });
    format!(
        "Mean latency: dyno {:.0} ms, oracle {:.0} ms, device alone {:.0} ms{usual}",
        of("dyno"),
        of("oracle"),
        of("device_only")
    )
}

fn speed_note(cell: &Cell) -> String {
    let speeds = POLICIES.iter().filter_map(|policy| {
        let summary = cell.policy(policy.name)?;
        Some(format!("{} {:.2}", policy.name, summary.throughput_fps))
    });
    format!("Frames a second: {}", speeds.collect::<Vec<_>>().join(", "))
}

/// `a, b and c`.
fn joined(words: &[impl ToString]) -> String {
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    match words.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

pub(super) fn escaped(text: &str) -> String {
    super::super::plot::Escaped(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_joined() {
        assert_eq!(joined(&[4, 16, 64]), "4, 16 and 64");
        assert_eq!(joined(&["a"]), "a");
    }
}
