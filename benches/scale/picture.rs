//! Draws time and memory by size, with logarithmic axes.

use std::fmt::Write as _;

use crate::result::{Command, Size};

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const PANEL: f64 = WIDTH + 2.0 * LEFT;
const COMMANDS: [&str; 5] = ["plan", "backup", "migrate", "verify", "rollback"];
/// Colors for light and dark pages. The lines and the name of a command have its class.
const STYLE: &str = r#"<style>
text{font:12px system-ui,"Segoe UI",Helvetica,Arial,"DejaVu Sans",sans-serif;fill:#1f2328}.title{font-weight:600}
.frame{fill:none;stroke:#8c959f}.grid{stroke:#d8dee4}.line{fill:none;stroke-width:2}.dashed{stroke-dasharray:4 4}
.allowed{stroke:#1f2328}polyline.plan{stroke:#59636e}polyline.backup{stroke:#116329}polyline.migrate{stroke:#cf222e}
polyline.verify{stroke:#8250df}polyline.rollback{stroke:#0969da}
text.plan{fill:#59636e}text.backup{fill:#116329}text.migrate{fill:#cf222e}text.verify{fill:#8250df}text.rollback{fill:#0969da}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.frame{stroke:#7d8590}.grid{stroke:#30363d}.allowed{stroke:#e6edf3}
polyline.plan{stroke:#9198a1}polyline.backup{stroke:#56d364}polyline.migrate{stroke:#ff7b72}polyline.verify{stroke:#d2a8ff}
polyline.rollback{stroke:#79c0ff}text.plan{fill:#9198a1}text.backup{fill:#56d364}text.migrate{fill:#ff7b72}
text.verify{fill:#d2a8ff}text.rollback{fill:#79c0ff}}
</style>"#;
/// The memory limit: 64 MiB and 500 bytes per segment index.
const ALLOWED_MIB: fn(f64) -> f64 = |indexes| 64.0 + indexes * 500.0 / 1_048_576.0;

/// A panel: its position, and the powers of ten at the ends of its axes.
struct Panel {
    left: f64,
    x: (f64, f64),
    y: (f64, f64),
}

impl Panel {
    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let part = |value: f64, (from, to): (f64, f64)| (value.log10() - from) / (to - from);
        (
            self.left + WIDTH * part(x, self.x),
            TOP + HEIGHT * (1.0 - part(y, self.y)),
        )
    }

    fn frame(&self, svg: &mut String, title: &str) {
        let (left, middle) = (self.left, self.left + WIDTH / 2.0);
        let _ = writeln!(
            svg,
            r##"<rect x="{left}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" class="frame"/>
<text x="{middle}" y="24" text-anchor="middle" class="title">{title}</text>
<text x="{middle}" y="{}" text-anchor="middle">segment indexes</text>"##,
            TOP + HEIGHT + 38.0
        );
        for power in self.x.0 as i32..=self.x.1 as i32 {
            let (x, _) = self.place(10f64.powi(power), 1.0);
            let bottom = TOP + HEIGHT;
            let _ = writeln!(
                svg,
                r##"<path d="M{x:.1} {TOP}V{bottom}" class="grid"/><text x="{x:.1}" y="{}" text-anchor="middle">{}</text>"##,
                bottom + 18.0,
                10f64.powi(power)
            );
        }
        for power in self.y.0 as i32..=self.y.1 as i32 {
            let (_, y) = self.place(1.0, 10f64.powi(power));
            let _ = writeln!(
                svg,
                r##"<path d="M{left} {y:.1}H{}" class="grid"/><text x="{}" y="{:.1}" text-anchor="end">{}</text>"##,
                left + WIDTH,
                left - 6.0,
                y + 4.0,
                10f64.powi(power)
            );
        }
    }

    fn line(&self, svg: &mut String, points: &[(f64, f64)], class: &str) {
        let path: Vec<String> = points
            .iter()
            .map(|(x, y)| {
                let (x, y) = self.place(*x, *y);
                format!("{x:.1},{y:.1}")
            })
            .collect();
        let _ = writeln!(
            svg,
            r#"<polyline points="{}" class="line {class}"/>"#,
            path.join(" ")
        );
    }
}

/// Returns the SVG: solid lines for the program, dashed lines for the floor and the memory limit.
pub(crate) fn draw(sizes: &[Size]) -> String {
    let indexes = || sizes.iter().map(|size| size.segment_indexes as f64);
    let least = indexes().fold(f64::INFINITY, f64::min);
    let most = indexes().fold(1.0, f64::max);
    let x = (
        least.log10().floor(),
        (most.log10().ceil()).max(least.log10().floor() + 1.0),
    );
    let time = Panel {
        left: LEFT,
        x,
        y: (-2.0, 2.0),
    };
    let memory = Panel {
        left: LEFT + PANEL,
        x,
        y: (1.0, 3.0),
    };
    let (width, height) = (2.0 * PANEL, TOP + HEIGHT + 60.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"Time and memory over size\">\n{STYLE}\n"
    );
    time.frame(&mut svg, "seconds (dashed: the floor)");
    memory.frame(&mut svg, "peak memory, MiB (dashed: the aim)");
    for (row, name) in COMMANDS.into_iter().enumerate() {
        let over = |figure: fn(&Command) -> f64| -> Vec<(f64, f64)> {
            let found = sizes.iter().filter_map(|size| {
                let command = size.commands.iter().find(|command| command.name == name)?;
                Some((size.segment_indexes as f64, figure(command)))
            });
            found.collect()
        };
        time.line(&mut svg, &over(|command| command.seconds), name);
        if matches!(name, "backup" | "migrate" | "rollback") {
            let floor = over(|command| command.floor);
            time.line(&mut svg, &floor, &format!("{name} dashed"));
        }
        let mebibytes = over(|command| command.peak_kib as f64 / 1024.0);
        memory.line(&mut svg, &mebibytes, name);
        let y = TOP + 18.0 + 16.0 * row as f64;
        let _ = writeln!(
            svg,
            r#"<text x="{}" y="{y}" class="{name}">{name}</text>"#,
            LEFT + 10.0
        );
    }
    let allowed: Vec<(f64, f64)> = indexes().map(|size| (size, ALLOWED_MIB(size))).collect();
    memory.line(&mut svg, &allowed, "allowed dashed");
    svg + "</svg>\n"
}
