use std::fmt;

use rhythmite_model::FieldValue;

use super::key::{SeriesKey, escape_into};
use super::unescape::NAME_SPECIALS;

/// Why a point has no form in line protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unwritable {
    /// A measurement, tag key, tag value or field name is empty.
    EmptyName,
    /// A name ends in a backslash, which would hide the separator behind it, or holds a newline.
    Name,
    /// A measurement starts with `#`, a tab or a byte order mark, which would be skipped.
    MeasurementStart,
    /// A point needs a field.
    NoFields,
    /// A float is NaN or infinite.
    NotFinite,
}

impl fmt::Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyName => "a name is empty",
            Self::Name => "a name ends in a backslash or holds a newline",
            Self::MeasurementStart => "a measurement starts with a character that is skipped",
            Self::NoFields => "no fields",
            Self::NotFinite => "a float is not finite",
        })
    }
}

impl std::error::Error for Unwritable {}

/// Appends one line, newline included, that reads back as the same point. Tags are written in the
/// order given; integers get `i`, unsigned ones `u`.
///
/// # Errors
/// [`Unwritable`]; then `out` is as it was.
pub fn write_line<'f>(
    out: &mut String,
    key: &SeriesKey<'_>,
    fields: impl IntoIterator<Item = (&'f str, FieldValue<'f>)>,
    timestamp_ns: Option<i64>,
) -> Result<(), Unwritable> {
    let start = out.len();
    let written = write_point(out, key, fields, timestamp_ns);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn write_point<'f>(
    out: &mut String,
    key: &SeriesKey<'_>,
    fields: impl IntoIterator<Item = (&'f str, FieldValue<'f>)>,
    timestamp_ns: Option<i64>,
) -> Result<(), Unwritable> {
    if key.measurement.starts_with(['#', '\t', '\r', '\u{feff}']) {
        return Err(Unwritable::MeasurementStart);
    }
    check_name(&key.measurement)?;
    for (tag, value) in &key.tags {
        check_name(tag)?;
        check_name(value)?;
    }
    key.write_canonical(out);
    write_rest(out, fields, timestamp_ns)
}

/// As [`write_line`], for a key that is written already: [`SeriesKey::canonical`] of one that this protocol can carry.
///
/// # Errors
/// [`Unwritable`]; then `out` is as it was.
pub fn write_keyed_line<'f>(
    out: &mut String,
    canonical: &str,
    fields: impl IntoIterator<Item = (&'f str, FieldValue<'f>)>,
    timestamp_ns: i64,
) -> Result<(), Unwritable> {
    let start = out.len();
    out.push_str(canonical);
    let written = write_rest(out, fields, Some(timestamp_ns));
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Fields and time.
fn write_rest<'f>(
    out: &mut String,
    fields: impl IntoIterator<Item = (&'f str, FieldValue<'f>)>,
    timestamp_ns: Option<i64>,
) -> Result<(), Unwritable> {
    let mut separator = ' ';
    for (name, value) in fields {
        check_name(name)?;
        out.push(separator);
        escape_into(name, NAME_SPECIALS, out);
        out.push('=');
        write_value(out, value)?;
        separator = ',';
    }
    if separator == ' ' {
        return Err(Unwritable::NoFields);
    }
    if let Some(time) = timestamp_ns {
        out.push(' ');
        out.push_str(itoa::Buffer::new().format(time));
    }
    out.push('\n');
    Ok(())
}

fn check_name(name: &str) -> Result<(), Unwritable> {
    match name.as_bytes() {
        [] => Err(Unwritable::EmptyName),
        [.., b'\\'] => Err(Unwritable::Name),
        bytes if memchr::memchr(b'\n', bytes).is_some() => Err(Unwritable::Name),
        _ => Ok(()),
    }
}

fn write_value(out: &mut String, value: FieldValue<'_>) -> Result<(), Unwritable> {
    match value {
        FieldValue::Float(value) if !value.is_finite() => return Err(Unwritable::NotFinite),
        FieldValue::Float(value) => out.push_str(zmij::Buffer::new().format_finite(value)),
        FieldValue::Integer(value) => {
            out.push_str(itoa::Buffer::new().format(value));
            out.push('i');
        }
        FieldValue::Unsigned(value) => {
            out.push_str(itoa::Buffer::new().format(value));
            out.push('u');
        }
        FieldValue::Boolean(value) => out.push_str(if value { "true" } else { "false" }),
        FieldValue::String(text) => {
            out.push('"');
            escape_into(text, b"\"\\", out);
            out.push('"');
        }
    }
    Ok(())
}
