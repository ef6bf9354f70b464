//! Who is compared: names, colours that mean the same everywhere, and where each comes from.

/// What is known of a policy.
#[derive(Debug)]
pub(super) struct Policy {
    /// As `dyno simulate` names it.
    pub(super) name: &'static str,
    /// On a light page, and on a dark one (Okabe and Ito's colours, shifted until both can be read).
    pub(super) light: &'static str,
    pub(super) dark: &'static str,
    /// Colour is not all that tells lines apart.
    pub(super) dash: &'static str,
    pub(super) what: &'static str,
    /// Where it was published.
    pub(super) source: &'static str,
    /// Whether it is a rival that has to be kept up with: JPEG may lose more accuracy than is
    /// allowed, and hindsight is no policy.
    pub(super) is_rival: bool,
}

/// In the order of keys and tables.
pub(super) const POLICIES: [Policy; 9] = [
    Policy {
        name: "dyno",
        light: "#0067a5",
        dark: "#56b4e9",
        dash: "none",
        what: "This version: the planner and the estimators of the client. It knows nothing of the \
               link beforehand, and resumes on the device where an answer does not come.",
        source: "",
        is_rival: false,
    },
    Policy {
        name: "oracle",
        light: "#222222",
        dark: "#eeeeee",
        dash: "5 3",
        what: "Knows each photo's bytes and times and what the link will do, and takes the best plan \
               for every single call.",
        source: "",
        is_rival: false,
    },
    Policy {
        name: "static_best",
        light: "#8a8a8a",
        dark: "#9a9a9a",
        dash: "2 2",
        what: "The best of all fixed plans of the cell, in hindsight.",
        source: "",
        is_rival: false,
    },
    Policy {
        name: "device_only",
        light: "#b87900",
        dark: "#e69f00",
        dash: "none",
        what: "The whole model on the device; sends nothing.",
        source: "",
        is_rival: true,
    },
    Policy {
        name: "server_raw",
        light: "#b34700",
        dark: "#ff8533",
        dash: "7 2",
        what: "The photo's pixels, eight bits each, to the server.",
        source: "",
        is_rival: true,
    },
    Policy {
        name: "server_jpeg",
        light: "#b3478c",
        dark: "#e79ac9",
        dash: "none",
        what: "The photo as JPEG to the server: the smallest that calibration allows, or quality 90 \
               where it allows none.",
        source: "",
        is_rival: false,
    },
    Policy {
        name: "neurosurgeon",
        light: "#007a5a",
        dark: "#2fc79b",
        dash: "9 3",
        what: "The cut of least latency over fp32 activations, at the link's true rate of the last \
               second.",
        source: "Kang et al., Neurosurgeon, ASPLOS 2017.",
        is_rival: true,
    },
    Policy {
        name: "jalad",
        light: "#6a51a3",
        dark: "#b39ddb",
        dash: "4 2",
        what: "Cut and bits of least latency, quantised and compressed (zstd), at the link's true rate \
               of the last second.",
        source: "Li et al., JALAD, ICPADS 2018.",
        is_rival: true,
    },
    Policy {
        name: "dyno_paper",
        light: "#7a4a21",
        dark: "#c9a27e",
        dash: "2 3",
        what: "DynO as published: cut and bits by a moving average of the throughput that requests saw.",
        source: "Almeida et al., DynO: Dynamic Onloading of Deep Neural Networks from Cloud to Device, \
                 ACM TECS 2022.",
        is_rival: true,
    },
];

/// Those that have to be kept up with.
pub(super) fn rivals() -> impl Iterator<Item = &'static Policy> {
    POLICIES.iter().filter(|policy| policy.is_rival)
}

/// The colours as classes, for a light and a dark page.
pub(super) fn css() -> String {
    let rules = |of: fn(&Policy) -> &str| -> String {
        let rule = |p: &Policy| format!(".c-{}{{--c:{}}}", p.name, of(p));
        POLICIES.iter().map(rule).collect()
    };
    format!(
        "{}\n@media (prefers-color-scheme:dark){{{}}}\n",
        rules(|p| p.light),
        rules(|p| p.dark)
    )
}
