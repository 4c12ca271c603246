//! Line plots, as SVG or as an image, by the file's name.

use std::path::Path;

use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::coord::combinators::IntoLogRange;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::{DrawingArea, DrawingAreaErrorKind, DrawingBackend, IntoDrawingArea, SVGBackend};
use plotters::series::LineSeries;
use plotters::style::{RGBColor, ShapeStyle};

use super::EvalError;
use crate::canvas::Canvas;

const SIZE: (u32, u32) = (900, 600);
/// Colours that people with any kind of colour vision tell apart.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// A curve of at most so many points shows them: each is a measurement.
const DOTTED: usize = 16;

/// Curves that share two axes.
#[derive(Debug, Clone)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// A name and points each.
    pub curves: Vec<(String, Vec<(f64, f64)>)>,
}

/// An axis.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What it measures, with the unit.
    pub name: String,
    /// The least and the greatest value that is shown.
    pub range: [f64; 2],
    /// By the logarithm; the range is then positive.
    pub logarithmic: bool,
}

/// Refuses a name that tells no format, before anything is measured.
pub fn check(path: &Path) -> Result<(), EvalError> {
    if is_svg(path) {
        return Ok(());
    }
    image::ImageFormat::from_path(path)
        .map(drop)
        .map_err(|error| failed(path, error))
}

/// Draws and saves a plot.
pub fn save(path: &Path, plot: &Plot) -> Result<(), EvalError> {
    if is_svg(path) {
        let mut text = String::new();
        draw(&SVGBackend::with_string(&mut text, SIZE).into_drawing_area(), plot)
            .map_err(|error| failed(path, error))?;
        return std::fs::write(path, text).map_err(super::io_error(path));
    }
    let mut canvas = Canvas::new(SIZE.0, SIZE.1);
    draw(&(&mut canvas).into_drawing_area(), plot).map_err(|error| failed(path, error))?;
    canvas.0.save(path).map_err(|error| failed(path, error))
}

fn is_svg(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("svg"))
}

fn failed(path: &Path, error: impl std::fmt::Display) -> EvalError {
    EvalError::Draw {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

type Drawn<DB> = Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

fn draw<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, plot: &Plot) -> Drawn<DB> {
    let range = |axis: &Axis| axis.range[0]..axis.range[1];
    let (x, y) = (range(&plot.x), range(&plot.y));
    match (plot.x.logarithmic, plot.y.logarithmic) {
        (false, false) => on(area, plot, x, y),
        (true, false) => on(area, plot, x.log_scale(), y),
        (false, true) => on(area, plot, x, y.log_scale()),
        (true, true) => on(area, plot, x.log_scale(), y.log_scale()),
    }?;
    area.present()
}

fn on<DB, X, Y>(area: &DrawingArea<DB, Shift>, plot: &Plot, x: X, y: Y) -> Drawn<DB>
where
    DB: DrawingBackend,
    X: AsRangedCoord<Value = f64>,
    Y: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    area.fill(&RGBColor(250, 250, 248))?;
    let mut chart = ChartBuilder::on(area)
        .caption(&plot.title, ("sans-serif", 18))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc(&plot.x.name)
        .y_desc(&plot.y.name)
        .x_label_formatter(&|value| number(*value, plot.x.logarithmic))
        .y_label_formatter(&|value| number(*value, plot.y.logarithmic))
        .label_style(("sans-serif", 14))
        .draw()?;
    curves(&mut chart, plot)?;
    legend(area, plot)
}

fn curves<DB, X, Y>(chart: &mut ChartContext<'_, DB, Cartesian2d<X, Y>>, plot: &Plot) -> Drawn<DB>
where
    DB: DrawingBackend,
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    let within = |value: f64, axis: &Axis| value.clamp(axis.range[0], axis.range[1]);
    for (at, (_, points)) in plot.curves.iter().enumerate() {
        let dots = if points.len() <= DOTTED { 4 } else { 0 };
        let points = points.iter().map(|(x, y)| (within(*x, &plot.x), within(*y, &plot.y)));
        let style = ShapeStyle::from(COLOURS[at % COLOURS.len()]).stroke_width(2).filled();
        chart.draw_series(LineSeries::new(points, style).point_size(dots))?;
    }
    Ok(())
}

/// The names of the curves in their colours, below the title.
fn legend<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, plot: &Plot) -> Drawn<DB> {
    use plotters::element::{PathElement, Text};
    for (at, (name, _)) in plot.curves.iter().enumerate() {
        let top = 56 + 20 * at as i32;
        let style = ShapeStyle::from(COLOURS[at % COLOURS.len()]).stroke_width(3);
        area.draw(&PathElement::new(vec![(110, top), (140, top)], style))?;
        area.draw(&Text::new(name.clone(), (148, top - 8), ("sans-serif", 14)))?;
    }
    Ok(())
}

fn number(value: f64, logarithmic: bool) -> String {
    if logarithmic && value < 0.01 {
        format!("{value:.0e}")
    } else {
        // Enough digits for any axis, without the zeros at the end.
        let text = format!("{value:.3}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_is_drawn_as_svg_and_as_an_image() {
        let folder = tempfile::tempdir().unwrap();
        let axis = |name: &str, logarithmic| Axis {
            name: name.to_owned(),
            range: [1e-3, 1.0],
            logarithmic,
        };
        let plot = Plot {
            title: "title".to_owned(),
            x: axis("across", true),
            y: axis("upward", false),
            curves: vec![("a curve".to_owned(), vec![(1e-3, 0.2), (0.5, 0.9), (2.0, 0.95)])],
        };
        let (svg, png) = (folder.path().join("p.svg"), folder.path().join("p.PNG"));
        save(&svg, &plot).unwrap();
        save(&png, &plot).unwrap();
        let text = std::fs::read_to_string(svg).unwrap();
        assert!(
            ["title", "across", "upward", "a curve", "polyline"]
                .iter()
                .all(|part| text.contains(part))
        );
        let pixels = image::open(png).unwrap().to_rgb8();
        let blue = pixels.pixels().filter(|pixel| pixel.0 == [0, 114, 178]).count();
        assert!(blue > 500, "{blue} pixels of the curve");
        assert!(check(Path::new("p.txt")).is_err() && check(Path::new("p")).is_err());
    }
}
