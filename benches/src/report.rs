//! The results as Markdown.

use std::{fmt::Write as _, fs, path::Path};

use crate::{
    error::{Doing, Error, Result},
    machine,
    row::{Load, Row},
    run::{Cell, Plan, Results, Sample},
    servers::Server,
    workspace::write,
};

const START: &str = "<!-- results -->";
const END: &str = "<!-- /results -->";

/// Two tables, what they were measured with, and nothing else.
pub async fn markdown(plan: &Plan, results: &Results) -> String {
    let reference = results
        .servers
        .iter()
        .position(|(server, _)| *server == Server::Nginx);
    let all = |_: &Row| true;
    let cost = table(plan, results, all, |row, cells, index| {
        cost_cell(
            row,
            &cells[index],
            reference.map(|reference| &cells[reference]),
        )
    });
    let loads = |row: &Row| row.load != Load::Idle;
    let speed = table(plan, results, loads, |_, cells, index| {
        speed_cell(&cells[index])
    });
    let versions: Vec<_> = results
        .servers
        .iter()
        .map(|(server, version)| format!("{} {version}", server.name()))
        .collect();
    format!(
        "CPU time of the server for one request, and its memory for one idle connection. In \
         brackets relative to nginx; less is better.\n\n{cost}\n\
         Requests per second with one core for the server and another for origin and generator, \
         and the latency that 1 in 100 requests exceeds.\n\n{speed}\n\
         Measured on {date} with {versions}; {tools}; {kernel}; {cpu}. Rounds: {rounds} of \
         {seconds} s, of which the median counts. Idle connections: {idle}.\n",
        date = machine::today(),
        versions = versions.join(", "),
        tools = machine::tools().await,
        kernel = machine::kernel(),
        cpu = machine::cpu(),
        rounds = plan.rounds,
        seconds = plan.seconds,
        idle = plan.idle_connections,
    )
}

/// Puts `text` between the markers of a document that has them.
pub fn insert(path: &Path, text: &str) -> Result<()> {
    let document = fs::read_to_string(path).at("read", path)?;
    let Some(document) = between_markers(&document, text) else {
        return Err(Error::Markers {
            path: path.to_owned(),
            start: START,
            end: END,
        });
    };
    write(path, document)
}

fn between_markers(document: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(START)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{START}\n\n{text}\n{END}{after}"))
}

/// Rows × servers, for the rows that `wanted` lets through.
fn table(
    plan: &Plan,
    results: &Results,
    wanted: impl Fn(&Row) -> bool,
    cell: impl Fn(&Row, &[Cell], usize) -> String,
) -> String {
    let mut text = "| |".to_owned();
    for (server, _) in &results.servers {
        let _ = write!(text, " {} |", server.name());
    }
    text.push_str("\n|---|");
    text.push_str(&"---:|".repeat(results.servers.len()));
    text.push('\n');
    for (row, cells) in plan.rows.iter().zip(&results.cells) {
        if wanted(row) {
            let told: Vec<_> = (0..cells.len())
                .map(|index| cell(row, cells, index))
                .collect();
            let _ = writeln!(text, "| {} | {} |", row.title, told.join(" | "));
        }
    }
    text
}

fn cost_cell(row: &Row, cell: &Cell, reference: Option<&Cell>) -> String {
    let unit = if row.load == Load::Idle { "KiB" } else { "µs" };
    match (cost(cell), reference.map(cost)) {
        (Ok(value), Some(Ok(nginx))) if nginx > 0.0 => {
            format!("{value:.1} {unit} ({:.2})", value / nginx)
        }
        (Ok(value), _) => format!("{value:.1} {unit}"),
        (Err(why), _) => why.to_owned(),
    }
}

/// Microseconds per request or KiB per connection, or what stands in the cell instead.
fn cost(cell: &Cell) -> std::result::Result<f64, &'static str> {
    median(cell, |sample| match sample {
        Sample::Load { cpu, .. } => cpu.as_secs_f64() * 1e6,
        Sample::Idle { kib } => *kib,
    })
}

fn speed_cell(cell: &Cell) -> String {
    let rate = median(cell, |sample| match sample {
        Sample::Load {
            requests_per_second,
            ..
        } => *requests_per_second,
        Sample::Idle { .. } => 0.0,
    });
    let p99 = median(cell, |sample| match sample {
        Sample::Load { p99, .. } => p99.as_secs_f64() * 1e3,
        Sample::Idle { .. } => 0.0,
    });
    match (rate, p99) {
        (Ok(rate), Ok(p99)) => format!("{rate:.0}/s, {p99:.1} ms"),
        (Err(why), _) | (_, Err(why)) => why.to_owned(),
    }
}

fn median(cell: &Cell, value: impl Fn(&Sample) -> f64) -> std::result::Result<f64, &'static str> {
    let samples = match cell {
        Cell::Measured(samples) => samples,
        Cell::NotServed => return Err("–"),
        Cell::Failed => return Err("**failed**"),
    };
    let mut values: Vec<_> = samples.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (None, _) => Err("–"),
        (Some(upper), 0) => Ok(f64::midpoint(values[middle - 1], *upper)),
        (Some(value), _) => Ok(*value),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn measured(micros: &[u64]) -> Cell {
        let sample = |micros: &u64| Sample::Load {
            cpu: Duration::from_micros(*micros),
            requests_per_second: 1e6 / *micros as f64,
            p99: Duration::from_millis(3),
        };
        Cell::Measured(micros.iter().map(sample).collect())
    }

    #[test]
    fn cells_hold_medians_relative_to_nginx() {
        let row = Row::named("h1").unwrap();
        let (cell, nginx) = (measured(&[90, 10, 30]), measured(&[20, 10]));
        assert_eq!(cost_cell(&row, &cell, Some(&nginx)), "30.0 µs (2.00)");
        assert_eq!(cost_cell(&row, &cell, Some(&Cell::Failed)), "30.0 µs");
        assert_eq!(cost_cell(&row, &Cell::Failed, Some(&nginx)), "**failed**");
        assert_eq!(cost_cell(&row, &Cell::NotServed, None), "–");
        assert_eq!(speed_cell(&measured(&[100])), "10000/s, 3.0 ms");
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let document = format!("a\n{START}\nold\n{END}\nz\n");
        let once = between_markers(&document, "new").unwrap();
        assert_eq!(once, format!("a\n{START}\n\nnew\n{END}\nz\n"));
        assert_eq!(between_markers(&once, "new"), Some(once));
        assert_eq!(between_markers("nothing", "new"), None);
        assert_eq!(between_markers(&format!("{END}{START}"), "new"), None);
    }
}
