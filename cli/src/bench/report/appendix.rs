//! The end of the page: what it takes to judge the numbers, and all of them.

use super::grid::Aim;
use super::html::Html;
use super::page::{Page, escaped};
use super::policies::POLICIES;
use crate::simulate::report::Summary;

impl Page<'_> {
    pub(super) fn machine(&self, html: &mut Html) {
        html.heading("machine", "Machine, and how to run it again");
        let machine = &self.machine;
        let profiles = self.grid.models.iter().map(|model| {
            let profile = model.bundle.profile();
            let words = profile.map_or_else(
                || "no profile".to_owned(),
                |p| format!("profiled on {}, {} thread(s)", p.machine, p.threads),
            );
            let hash = model.bundle.manifest().hash.to_string();
            vec![model.name.clone(), format!("{words}; hash {hash}")]
        });
        let rows = [
            ("CPU", machine.cpu.clone()),
            ("cores", machine.cores.to_string()),
            ("system", machine.system.clone()),
            ("dyno", format!("{}, {}", machine.dyno, machine.build)),
            ("date", format!("{} (UTC)", machine.date)),
        ];
        let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
        html.table(&["", ""], &[], rows.into_iter().chain(profiles));
        html.paragraph(
            "The same program and files give the same numbers on any machine: only bundles' profiles are \
             measured. Cells that are in the folder already are not simulated again.",
        );
        let arguments: Vec<String> = std::env::args().skip(1).map(|a| quoted(&a)).collect();
        html.add(format_args!(
            "<pre>dyno {}</pre>",
            escaped(&arguments.join(" "))
        ));
    }

    pub(super) fn all_cells(&self, html: &mut Html) {
        type Number = fn(&Summary) -> String;
        html.heading("cells", "All cells");
        let columns: [(Aim, &str, Number); 3] = [
            (Aim::Latency, "mean latency, ms", |s| {
                format!("{:.1}", s.latency_ms.mean)
            }),
            (Aim::Throughput, "frames a second", |s| {
                format!("{:.2}", s.throughput_fps)
            }),
            (Aim::Onloading, "server time a call, ms", |s| {
                format!("{:.2}", s.server_ms_mean)
            }),
        ];
        let header: Vec<&str> = ["bundle", "device", "link"]
            .into_iter()
            .chain(POLICIES.iter().map(|p| p.name))
            .chain(["usual plan of dyno"])
            .collect();
        let numbers: Vec<usize> = (3..3 + POLICIES.len()).collect();
        for (aim, what, number) in columns {
            html.add(format_args!(
                "<details><summary>{}: {what}</summary>",
                aim.as_str()
            ));
            let cells = self.cells.iter().filter(|cell| cell.key.aim == aim);
            let rows = cells.map(|cell| {
                let key = &cell.key;
                let mut row = vec![
                    key.model.clone(),
                    format!("×{}", key.slowdown),
                    key.link.clone(),
                ];
                row.extend(POLICIES.iter().map(|policy| {
                    let summary = cell.policy(policy.name);
                    summary.map_or_else(|| "–".to_owned(), number)
                }));
                let usual = cell.policy("dyno").and_then(|s| s.usual_plan.as_ref());
                row.push(usual.map_or_else(String::new, |(plan, share)| {
                    format!("{plan} ({:.0} %)", 100.0 * share)
                }));
                row
            });
            html.table(&header, &numbers, rows);
            html.add(format_args!("</details>"));
        }
    }
}

/// Who is compared, and where each comes from.
pub(super) fn rivals(html: &mut Html) {
    html.heading("rivals", "The policies");
    html.paragraph(
        "Neurosurgeon and JALAD are told the true times of device and server, the true round trip and \
         the link's true rate of the last second. JALAD and dyno_paper choose among what calibration \
         allows, as DynO does.",
    );
    html.add(format_args!("<ul>"));
    for policy in &POLICIES {
        html.add(format_args!(
            "<li><b>{}</b>: {} {}</li>",
            policy.name,
            escaped(policy.what),
            escaped(policy.source)
        ));
    }
    html.add(format_args!("</ul>"));
}

/// As a shell takes it.
fn quoted(argument: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_quoted_where_a_shell_would_take_them_apart() {
        assert_eq!(quoted("--rates"), "--rates");
        assert_eq!(quoted("it's & so"), "'it'\\''s & so'");
        assert_eq!(quoted(""), "''");
    }
}
