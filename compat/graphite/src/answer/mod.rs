//! From series, nodes and functions to the bytes of an HTTP answer.
//!
//! [`RenderOptions`] reads the parameters of `/render`; [`render`] writes series in the format
//! asked for. [`find`] does both for `/metrics/find` and its relatives, [`functions`] lists the
//! render functions. The server adds status, cache headers and images. Series, which may be long, are written in
//! [pieces](render::Pieces).

mod encode;
pub mod events;
pub mod find;
pub mod functions;
mod json;
mod options;
mod pickle;
pub mod render;
#[cfg(test)]
mod tests;

pub use json::wrap;
pub use options::{Format, GraphType, Params, PieMode, RenderOptions};

/// The body of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Without parameters.
    pub content_type: &'static str,
    /// The bytes.
    pub body: Vec<u8>,
}
