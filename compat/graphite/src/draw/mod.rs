//! Pictures: from series to PNG, SVG and PDF.
//!
//! The order of events: [`options`] reads the parameters, with colours from a [`template`]; [`line_graph`] or [`pie_graph`]
//! lays the picture out, with [`layout`], [`legend`], [`axis`], [`time_axis`] and the widths of [`font`]; what comes out is
//! a [`display_list`], which one of three painters turns into bytes: [`png`], [`svg`], [`pdf`]. Only lay-out knows what a
//! graph is, only painters know formats.
//!
//! Limits: the sides and pixels of a picture ([`options`]), its points and translucent areas ([`line_graph`]), its grid
//! lines ([`axis`], [`time_axis`]), the part that a legend takes ([`legend`]), the letters of a text ([`display_list`]).
//! Work is proportional to points and pixels; `go_on` is asked between series and ends it.
//!
//! Nothing here reads a clock or a file: the fonts are part of the binary, the same request gives the same bytes.

pub mod axis;
pub mod color;
pub mod display_list;
pub mod font;
pub mod layout;
pub mod legend;
pub mod line_graph;
pub mod options;
pub mod pdf;
pub mod pie_graph;
pub mod png;
pub mod svg;
pub mod template;
#[cfg(test)]
mod tests;
pub mod time_axis;
pub mod unit;

pub use color::Color;
pub use display_list::DisplayList;
pub use options::DrawOptions;

use crate::answer::{Answer, Format, GraphType, wrap};
use crate::series::Series;
use rhythmite_model::{Error, Result};

/// Lays a picture of the series out. `go_on` is asked again and again; its error ends the work.
///
/// # Errors
/// `Invalid` for a bad colour or consolidation that a function has set, and for more than the limits allow; those of
/// `go_on`.
pub fn lay_out(series: Vec<Series>, options: &DrawOptions, go_on: &dyn Fn() -> Result<()>) -> Result<DisplayList> {
    match options.graph_type {
        GraphType::Line => line_graph::line_graph(series, options, go_on),
        GraphType::Pie => pie_graph::pie_graph(&series, options),
    }
}

/// The picture of the series in the format asked for; `jsonp` wraps an SVG as a JSON string.
///
/// # Errors
/// Those of [`lay_out`]; `Internal` when `format` is not a picture's.
pub fn draw(
    series: Vec<Series>,
    options: &DrawOptions,
    format: Format,
    jsonp: Option<&str>,
    go_on: &dyn Fn() -> Result<()>,
) -> Result<Answer> {
    let list = lay_out(series, options, go_on)?;
    let (content_type, body) = match format {
        Format::Png => ("image/png", png::write(&list, go_on)?),
        Format::Pdf => ("application/x-pdf", pdf::write(&list)),
        Format::Svg => {
            let text = svg::write(&list);
            if jsonp.is_some() {
                let text = serde_json::to_vec(&text).map_err(|e| Error::internal(e.to_string()))?;
                return wrap(text, jsonp);
            }
            ("image/svg+xml", text.into_bytes())
        }
        _ => return Err(Error::internal("this format is no picture")),
    };
    Ok(Answer { content_type, body })
}
