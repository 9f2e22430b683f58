//! Plots, as SVG: how many of the frames arrived within which time.

use std::path::Path;

use plotters::prelude::*;

use super::Result;

const SIZE: (u32, u32) = (760, 360);

/// What of the plot's text and lines is not data; legible on white and on black.
const INK: RGBColor = RGBColor(120, 120, 120);

/// Told apart by those who do not see all colours, too (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// One line of the plot: how many frames were sent, and the latencies in ms of those that arrived.
pub struct Line {
    pub name: String,
    pub sent: usize,
    pub latencies: Vec<f64>,
}

impl Line {
    /// Points of the distribution: ms, and the share of frames sent that took at most this, in %.
    fn points(&self) -> Vec<(f64, f64)> {
        let mut sorted = self.latencies.clone();
        sorted.sort_by(f64::total_cmp);
        let of = self.sent.max(sorted.len()).max(1) as f64;
        // More points than the plot has pixels say nothing more.
        let step = (sorted.len() / SIZE.0 as usize).max(1);
        let last = sorted.len().saturating_sub(1);
        let ranked = sorted.iter().enumerate();
        ranked
            .filter(|(index, _)| index % step == 0 || *index == last)
            .map(|(index, ms)| (*ms, 100.0 * (index + 1) as f64 / of))
            .collect()
    }
}

/// Writes the distributions of some latencies over a logarithmic axis.
pub fn distributions(file: &Path, lines: &[Line]) -> Result<()> {
    distributions_of(file, lines, "ms from moqsink's pad to moqsrc's, at most")
}

/// The same of latencies between other places.
pub fn distributions_of(file: &Path, lines: &[Line], between: &str) -> Result<()> {
    let all = lines.iter().flat_map(|line| line.latencies.iter().copied());
    let (least, most) = all.fold((f64::INFINITY, 1.0_f64), |(least, most), ms| {
        (least.min(ms), most.max(ms))
    });
    let from = if least.is_finite() {
        least.max(0.1)
    } else {
        0.1
    };
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(52)
        .build_cartesian_2d((from * 0.8..most * 1.2).log_scale(), 0.0..100.0)?;
    let text = ("sans-serif", 13).into_font().color(&INK);
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.35))
        .light_line_style(INK.mix(0.12))
        .label_style(text.clone())
        .x_desc(between)
        .y_desc("% of frames sent")
        .x_label_formatter(&|ms| {
            format!("{ms:.3}")
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned()
        })
        .y_label_formatter(&|share| format!("{share:.0}"))
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(line.points(), colour.stroke_width(2)))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .label_font(text)
        .border_style(INK.mix(0.35))
        .draw()?;
    area.present()?;
    Ok(())
}

/// One line over linear axes.
pub struct Curve {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// What the axes of [`curves`] show.
pub struct Axes {
    pub x: &'static str,
    pub y: &'static str,
}

/// Writes curves that begin at nothing.
pub fn curves(file: &Path, axes: &Axes, curves: &[Curve]) -> Result<()> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let far = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let high = points().map(|(_, y)| *y).fold(0.01, f64::max);
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..far * 1.05, 0.0..high * 1.1)?;
    let text = ("sans-serif", 13).into_font().color(&INK);
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.35))
        .light_line_style(INK.mix(0.12))
        .label_style(text.clone())
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(
                curve.points.iter().copied(),
                colour.stroke_width(2),
            ))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(
            curve
                .points
                .iter()
                .map(|point| Circle::new(*point, 3, colour.filled())),
        )?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .label_font(text)
        .border_style(INK.mix(0.35))
        .draw()?;
    area.present()?;
    Ok(())
}
