//! `GET`, `POST /api/v3/query_influxql`: InfluxQL with the answers of InfluxDB 3, rows in five formats.
//!
//! Rows of all series are one table: `iox::measurement`, `time`, the tags grouped by, the columns. It is collected before
//! it is written, for its columns and their types are known at the end only; `/query` streams.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatch, StringBuilder, TimestampNanosecondBuilder,
    UInt64Builder,
};
use arrow::datatypes::{Field, Schema};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hashbrown::HashMap;
use rhythmite_influx::answer::Cell;
use rhythmite_influx::influxql;
use rhythmite_model::Error;

use super::InfluxApi;
use super::carry_out::{Series, carry_out};
use super::query::blocking;
use super::reply::Refused;
use crate::api::sql::{Asked, Encoder, Format, Unread};
use crate::auth::Caller;
use crate::query::sql::{Encode, Param};

const MEASUREMENT: &str = "iox::measurement";
const TIME: &str = "time";

pub(super) async fn query(State(api): State<Arc<InfluxApi>>, caller: Caller, request: Request) -> Response {
    run(&api, &caller, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn run(api: &Arc<InfluxApi>, caller: &Caller, request: Request) -> Result<Response, Refused> {
    let asked = Asked::read_influxql(&api.bodies, request).await.map_err(|e| match e {
        Unread::Body(e) => Refused::from(e),
        Unread::Asked(e) => Refused::from(e),
    })?;
    let params =
        serde_json::Value::Object(asked.params.iter().map(|(name, value)| (name.clone(), json(value))).collect());
    let params = influxql::Params::from_json(&params.to_string())
        .map_err(|error| Refused::bad(format!("error parsing query parameters: {error}")))?;
    let series = carry_out(api, caller, &asked.database, &asked.sql, &params).await?;
    table(series, asked.format).await
}

/// The rows as one answer.
pub(super) async fn table(series: Vec<Series>, format: Format) -> Result<Response, Refused> {
    let written = blocking(move || {
        let batch = batch(&series).map_err(Refused::from)?;
        let mut encoder = Encoder::new(format, &batch.schema())?;
        let mut out = Vec::new();
        for piece in [encoder.batch(batch)?, encoder.finish()?].into_iter().flatten() {
            out.extend_from_slice(&piece);
        }
        Ok(out)
    });
    Ok(([(header::CONTENT_TYPE, format.content_type())], written.await?).into_response())
}

fn json(param: &Param) -> serde_json::Value {
    match param {
        Param::Null => serde_json::Value::Null,
        Param::Boolean(value) => (*value).into(),
        Param::Integer(value) => (*value).into(),
        Param::Unsigned(value) => (*value).into(),
        Param::Float(value) => (*value).into(),
        Param::Text(value) => value.clone().into(),
    }
}

/// What all values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    None,
    Bool,
    Int,
    UInt,
    Float,
    Text,
    Time,
}

impl Kind {
    fn of(cell: &Cell<'_>) -> Self {
        match cell {
            Cell::Null => Self::None,
            Cell::Bool(_) => Self::Bool,
            Cell::Int(_) => Self::Int,
            Cell::UInt(_) => Self::UInt,
            Cell::Float(_) => Self::Float,
            Cell::String(_) => Self::Text,
            Cell::Time(_) => Self::Time,
        }
    }

    /// The kind that holds both: numbers of two kinds are floats, else what differs is text.
    fn with(self, other: Self) -> Self {
        use Kind::{Float, Int, None, UInt};
        match (self, other) {
            (a, b) if a == b => a,
            (None, kind) | (kind, None) => kind,
            (Int | UInt | Float, Int | UInt | Float) => Float,
            _ => Kind::Text,
        }
    }
}

/// One table of all series.
fn batch(series: &[Series]) -> Result<RecordBatch, Error> {
    let mut names = vec![MEASUREMENT.to_owned()];
    let mut places: HashMap<String, usize> = HashMap::from_iter([(MEASUREMENT.to_owned(), 0)]);
    let mut place = |name: &str, names: &mut Vec<String>| {
        *places.entry_ref(name).or_insert_with(|| {
            names.push(name.to_owned());
            names.len() - 1
        })
    };
    if series.iter().any(|one| one.columns.iter().any(|column| column == TIME)) {
        place(TIME, &mut names);
    }
    for (key, _) in series.iter().flat_map(|one| &one.tags) {
        place(key, &mut names);
    }
    // Where each series' columns are; a name that is there twice is one column, and the last of its values holds.
    let mut layout: Vec<Vec<usize>> = Vec::with_capacity(series.len());
    for one in series {
        layout.push(one.columns.iter().map(|column| place(column, &mut names)).collect());
    }
    let mut kinds = vec![Kind::None; names.len()];
    for (one, layout) in series.iter().zip(&layout) {
        for row in &one.rows {
            for (cell, at) in row.iter().zip(layout) {
                kinds[*at] = kinds[*at].with(Kind::of(cell));
            }
        }
        one.tags.iter().for_each(|(key, _)| kinds[place(key, &mut names)] = Kind::Text);
    }
    kinds[0] = Kind::Text;
    let rows = series.iter().map(|one| one.rows.len()).sum();
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (at, (name, kind)) in names.iter().zip(&kinds).enumerate() {
        let mut column = Column::new(*kind, rows);
        for (one, layout) in series.iter().zip(&layout) {
            let fixed = match at {
                0 => Some(one.name.as_str()),
                _ => one.tags.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()),
            };
            let within = layout.iter().rposition(|place| *place == at);
            for row in &one.rows {
                match (fixed, within) {
                    (Some(text), _) => column.push(&Cell::from(text)),
                    (None, Some(within)) => column.push(row.get(within).unwrap_or(&Cell::Null)),
                    (None, None) => column.push(&Cell::Null),
                }
            }
        }
        let array = column.finish();
        fields.push(Field::new(name, array.data_type().clone(), true));
        columns.push(array);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|e| Error::internal(format!("rows of InfluxQL as a table: {e}")))
}

enum Column {
    Bool(BooleanBuilder),
    Int(Int64Builder),
    UInt(UInt64Builder),
    Float(Float64Builder),
    Text(StringBuilder),
    Time(TimestampNanosecondBuilder),
}

impl Column {
    fn new(kind: Kind, rows: usize) -> Self {
        match kind {
            Kind::Bool => Self::Bool(BooleanBuilder::with_capacity(rows)),
            Kind::Int => Self::Int(Int64Builder::with_capacity(rows)),
            Kind::UInt => Self::UInt(UInt64Builder::with_capacity(rows)),
            // Of a column without values nothing is known; most are numbers.
            Kind::Float | Kind::None => Self::Float(Float64Builder::with_capacity(rows)),
            Kind::Text => Self::Text(StringBuilder::new()),
            Kind::Time => Self::Time(TimestampNanosecondBuilder::with_capacity(rows)),
        }
    }

    fn push(&mut self, cell: &Cell<'_>) {
        match (self, cell) {
            (Self::Bool(to), Cell::Bool(v)) => to.append_value(*v),
            (Self::Bool(to), _) => to.append_null(),
            (Self::Int(to), Cell::Int(v)) => to.append_value(*v),
            (Self::Int(to), _) => to.append_null(),
            (Self::UInt(to), Cell::UInt(v)) => to.append_value(*v),
            (Self::UInt(to), _) => to.append_null(),
            (Self::Float(to), Cell::Float(v)) if v.is_finite() => to.append_value(*v),
            (Self::Float(to), Cell::Int(v)) => to.append_value(*v as f64),
            (Self::Float(to), Cell::UInt(v)) => to.append_value(*v as f64),
            (Self::Float(to), _) => to.append_null(),
            (Self::Time(to), Cell::Time(v)) => to.append_value(*v),
            (Self::Time(to), _) => to.append_null(),
            (Self::Text(to), Cell::Null) => to.append_null(),
            (Self::Text(to), Cell::String(v)) => to.append_value(v),
            (Self::Text(to), Cell::Bool(v)) => to.append_value(v.to_string()),
            (Self::Text(to), Cell::Int(v) | Cell::Time(v)) => to.append_value(v.to_string()),
            (Self::Text(to), Cell::UInt(v)) => to.append_value(v.to_string()),
            (Self::Text(to), Cell::Float(v)) => to.append_value(v.to_string()),
        }
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Bool(mut column) => Arc::new(column.finish()),
            Self::Int(mut column) => Arc::new(column.finish()),
            Self::UInt(mut column) => Arc::new(column.finish()),
            Self::Float(mut column) => Arc::new(column.finish()),
            Self::Text(mut column) => Arc::new(column.finish()),
            Self::Time(mut column) => Arc::new(column.finish()),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, TimeUnit};

    use super::*;

    #[test]
    fn series_of_all_kinds_are_one_table() {
        let series = |name: &str, tags: &[(&str, &str)], columns: &[&str], rows: Vec<Vec<Cell<'static>>>| Series {
            name: name.to_owned(),
            tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            columns: columns.iter().map(|c| (*c).to_owned()).collect(),
            rows,
        };
        let batch = batch(&[
            series(
                "cpu",
                &[("host", "a")],
                &["time", "v", "s"],
                vec![
                    vec![Cell::Time(1), Cell::Int(1), Cell::Null],
                    vec![Cell::Time(2), Cell::Float(2.5), Cell::from("x")],
                ],
            ),
            series("mem", &[], &["time", "ok", "s"], vec![vec![Cell::Time(3), Cell::Bool(true), Cell::Int(7)]]),
            series("none", &[], &["time", "v"], vec![]),
        ])
        .unwrap();
        let schema = batch.schema();
        let shown: Vec<_> = schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type())).collect();
        let time = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let expected = [
            "iox::measurement Utf8".to_owned(),
            format!("time {time}"),
            "host Utf8".to_owned(),
            "v Float64".to_owned(),
            "s Utf8".to_owned(),
            "ok Boolean".to_owned(),
        ];
        assert_eq!(shown, expected);
        let mut encoder = Encoder::new(Format::Csv, &schema).unwrap();
        let text = encoder.batch(batch).unwrap().unwrap();
        assert_eq!(
            String::from_utf8(text.to_vec()).unwrap(),
            "iox::measurement,time,host,v,s,ok\ncpu,1970-01-01T00:00:00.000000001,a,1.0,,\n\
             cpu,1970-01-01T00:00:00.000000002,a,2.5,x,\nmem,1970-01-01T00:00:00.000000003,,,7,true\n"
        );
    }
}
