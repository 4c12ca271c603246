//! What people read of an evaluation.

use super::{calibrate, identification};
use crate::cli::tables::{body, rendered, table};
use crate::eval::{Interval, quality, verification};

fn percent(value: f64) -> String {
    format!("{:.2} %", value * 100.0)
}

/// A rate, where there was anything to measure it by.
fn rate(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), percent)
}

fn interval([low, high]: Interval) -> String {
    format!("{:.2} to {:.2} %", low * 100.0, high * 100.0)
}

pub(super) fn verification(report: &verification::Report) -> String {
    let mut rows = table(&["", "", ""], &[1]);
    let mut row = |label: &str, value: String, note: String| {
        rows.add_row(vec![label.to_owned(), value, note]);
    };
    row(
        "pairs",
        report.pairs.to_string(),
        format!("{} of one person, {} of two", report.same, report.different),
    );
    row(
        "  without a face",
        report.undetected.to_string(),
        "counted as errors".to_owned(),
    );
    let folds = format!(
        "{} folds, +-{:.2} standard error",
        report.folds,
        report.accuracy_standard_error * 100.0
    );
    row(
        "accuracy",
        percent(report.accuracy),
        format!("{}; {folds}", interval(report.accuracy_interval)),
    );
    row("area under ROC", percent(report.auc), interval(report.auc_interval));
    row("equal error rate", percent(report.eer), interval(report.eer_interval));
    for point in &report.operating_points {
        let from = point
            .threshold
            .map_or("nowhere".to_owned(), |threshold| format!("{threshold:.3}"));
        let note = format!("from {from} on, {} false accepts", point.false_accepts);
        let short = if point.resolved {
            ""
        } else {
            "; too few pairs for this rate: at least"
        };
        row(
            &format!("TAR at FAR {}", point.far),
            percent(point.tar),
            format!("{}; {note}{short}", interval(point.interval)),
        );
    }
    if let Some(ms) = report.photo_ms {
        row("a photo, one core", format!("{ms:.1} ms"), "median".to_owned());
    }
    let mut text = body(&rows);
    for path in &report.undetected_photos {
        text.push_str(&format!("no face found: {}\n", path.display()));
    }
    text + &format!(
        "engine {}; intervals are 95 %, by bootstrap over pairs\n",
        report.engine
    )
}

pub(super) fn identification(report: &identification::Report) -> String {
    let header = [
        "through",
        "gallery",
        "people",
        "searches",
        "strangers",
        "rank 1",
        "rank 5",
        "rank 10",
        "FNIR@0.1",
        "FNIR@0.01",
        "FNIR@0.001",
        "ms",
    ];
    let mut rows = table(&header, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    for run in &report.runs {
        let fnir = |rate: &str| {
            run.fnir_at_fpir
                .get(rate)
                .map_or(String::new(), |value| percent(*value))
        };
        rows.add_row(vec![
            run.through.clone(),
            run.gallery.to_string(),
            run.people.to_string(),
            run.mated.to_string(),
            run.strangers.to_string(),
            rate(run.rank1),
            rate(run.rank5),
            rate(run.rank10),
            fnir("0.1"),
            fnir("0.01"),
            fnir("0.001"),
            format!("{:.1}", run.search_ms),
        ]);
    }
    let mut text = rendered(&rows);
    for run in &report.runs {
        let Some(calibrated) = &run.calibrated else { continue };
        text.push_str(&format!(
            "{}, {} faces: the table's threshold for FPIR {} is {:.3}{}; it gives FPIR {}, FNIR {}\n",
            run.through,
            run.gallery,
            percent(calibrated.max_fpir),
            calibrated.threshold,
            if calibrated.in_table { "" } else { " (extrapolated)" },
            rate(calibrated.fpir),
            rate(calibrated.fnir),
        ));
    }
    let [gallery, probes] = report.undetected;
    text + &format!(
        "no face found in {gallery} enrolled photos and {probes} searched with; engine {}\n",
        report.engine
    )
}

pub(super) fn calibration(answer: &calibrate::Answer) -> String {
    let report = &answer.report;
    let mut rows = table(&["FMR", "similarity", "95 % interval", ""], &[0, 1]);
    for point in &report.table {
        let [low, high] = point.interval.unwrap_or([point.similarity; 2]);
        rows.add_row(vec![
            format!("{:.0e}", point.fmr),
            format!("{:.4}", point.similarity),
            format!("{low:.4} to {high:.4}"),
            if point.extrapolated {
                "drawn out from the tail"
            } else {
                ""
            }
            .to_owned(),
        ]);
    }
    let mut text = format!(
        "{} comparisons of different people: {} photos of {} people\n{}",
        report.comparisons,
        report.photos,
        report.people,
        rendered(&rows)
    );
    if !report.check.is_empty() {
        let mut rows = table(
            &["faces", "FPIR asked for", "threshold", "FPIR", "searches", ""],
            &[0, 1, 2, 3, 4],
        );
        for check in &report.check {
            rows.add_row(vec![
                check.gallery.to_string(),
                percent(check.max_fpir),
                format!("{:.3}", check.threshold),
                percent(check.fpir),
                check.searches.to_string(),
                if check.calibrated { "" } else { "beyond the table" }.to_owned(),
            ]);
        }
        text.push_str(&format!(
            "strangers searched for: {} people held out\n{}",
            report.held_out,
            rendered(&rows)
        ));
    }
    let written = match &answer.catalog {
        Some(path) => format!("written to {}", path.display()),
        None => "not written".to_owned(),
    };
    text + &format!("engine {}; {written}\n", report.engine)
}

pub(super) fn quality(report: &quality::Report) -> String {
    let shares: Vec<String> = report
        .discards
        .iter()
        .map(|share| format!("{:.0} %", share * 100.0))
        .collect();
    let header: Vec<&str> = std::iter::once("left out")
        .chain(shares.iter().map(String::as_str))
        .collect();
    let numbers: Vec<usize> = (1..header.len()).collect();
    let mut rows = table(&header, &numbers);
    for (name, errors) in &report.measures {
        let cells = errors.iter().map(|error| percent(*error));
        rows.add_row(std::iter::once(name.clone()).chain(cells).collect::<Vec<_>>());
    }
    format!(
        "{} pairs of one person, {} of them below {:.3}; errors left when the worst by each measure are left out:\n{}engine {}\n",
        report.pairs,
        percent(report.fnmr),
        report.threshold,
        rendered(&rows),
        report.engine
    )
}
