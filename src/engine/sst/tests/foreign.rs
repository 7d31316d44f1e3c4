//! The files as other Parquet readers see them.

use std::fs::File;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{
    DataType, Float64Type, Int8Type, Int64Type, TimeUnit as ArrowUnit, TimestampMillisecondType, UInt16Type, UInt64Type,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

fn read(path: &Path) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = builder.schema().clone();
    let batches = builder.build().unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    concat_batches(&schema, &batches).unwrap()
}

#[test]
fn a_plain_reader_recomputes_every_value() {
    let values = (0..200)
        .map(|i| match i {
            50 => f64::NAN,
            150 => -0.0,
            _ => f64::from(i * 7 % 1000) / 100.0,
        })
        .collect::<Vec<_>>();
    let streams = [
        floats(1, 0, &values),
        stream(1, 1, Column::Integer(vec![-5, 5])),
        stream(2, 2, Column::Unsigned(vec![u64::MAX])),
        stream(2, 3, Column::Boolean(vec![true])),
        stream(2, 4, texts(&["up"])),
    ];
    let dir = tempfile::tempdir().unwrap();
    let options = WriteOptions { time_unit: Some(TimeUnit::Millisecond), ..small() };
    write(dir.path(), "f", options, &streams, 1000).unwrap();
    let batch = read(&SstPaths::new(dir.path(), "f").unwrap().points);

    let names = batch.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    assert_eq!(names, ["series", "field", "time", "m", "e", "f", "i", "u", "s", "b"]);
    assert_eq!(batch.schema().field(2).data_type(), &DataType::Timestamp(ArrowUnit::Millisecond, Some("UTC".into())));
    let column = |name: &str| batch.column_by_name(name).unwrap();
    let (m, e, f) = (
        column("m").as_primitive::<Int64Type>(),
        column("e").as_primitive::<Int8Type>(),
        column("f").as_primitive::<Float64Type>(),
    );
    // coalesce(f, m / pow(10, e))
    for (row, value) in values.iter().enumerate() {
        let found = if f.is_valid(row) { f.value(row) } else { m.value(row) as f64 / 10f64.powf(e.value(row).into()) };
        assert_eq!(found.to_bits(), value.to_bits(), "row {row}");
        assert_eq!(m.is_valid(row), e.is_valid(row));
        assert_ne!(m.is_valid(row), f.is_valid(row));
        assert_eq!(
            column("time").as_primitive::<TimestampMillisecondType>().value(row),
            1_700_000_000_000 + row as i64 * 10_000
        );
    }
    // Runs of eight: only the two with odd values are in f.
    assert_eq!(f.len() - f.null_count(), 16);
    let text = |name: &str, row: usize| arrow::util::display::array_value_to_string(column(name), row).unwrap();
    let rows = (200..205).map(|r| ["field", "i", "u", "s", "b"].map(|c| text(c, r)).join("|")).collect::<Vec<_>>();
    assert_eq!(rows, ["1|-5|||", "1|5|||", "2||18446744073709551615||", "3||||true", "4|||up|"]);
    assert_eq!(column("series").as_primitive::<UInt64Type>().value(204), series(2).0);
}

#[test]
fn the_footer_says_what_the_file_is() {
    let dir = tempfile::tempdir().unwrap();
    let s = [Stream { times_ns: vec![-5, 7], ..floats(1, 0, &[1.0, 2.0]) }];
    write(dir.path(), "k", small(), &s, 1000).unwrap();
    let file = File::open(SstPaths::new(dir.path(), "k").unwrap().points).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let pairs = builder.metadata().file_metadata().key_value_metadata().unwrap();
    let pairs = pairs.iter().map(|kv| format!("{}={}", kv.key, kv.value.as_deref().unwrap())).collect::<Vec<_>>();
    let expected = ["version=1", "level=1", "seq=42", "min_time_ns=-5", "max_time_ns=7"];
    assert_eq!(pairs, expected.map(|kv| format!("rhythmite.{kv}")));
}

#[test]
fn names_join_to_points() {
    let dir = tempfile::tempdir().unwrap();
    let s = [floats(1, 3, &[1.0]), floats(2, 3, &[2.0])];
    let mut writer = SstWriter::create(&Env::real(), dir.path(), "j", small()).unwrap();
    let tags: [&[(&str, &str)]; 2] = [&[("dc", "x"), ("host", "a")], &[]];
    for ((s, path), tags) in s.iter().zip(["cpu,dc=x,host=a", "cpu"]).zip(tags) {
        let row = SeriesRow { series: s.series, database: "db", policy: "p", table: "cpu", path };
        writer.name(&row, tags.iter().map(|(k, v)| ((*k).into(), (*v).into()))).unwrap();
        writer.push(s.series, s.field, &s.times_ns, &s.values).unwrap();
    }
    let field = |table, name| FieldRow {
        table: TableId(table),
        table_name: "cpu",
        id: FieldId(3),
        name,
        field_type: FieldType::Float,
    };
    writer.finish([field(7, "usage"), field(8, "absent")]).unwrap();
    let paths = SstPaths::new(dir.path(), "j").unwrap();
    let table = |path| {
        let batch = read(path);
        let text = |r: usize, c: usize| arrow::util::display::array_value_to_string(batch.column(c), r).unwrap();
        (0..batch.num_rows())
            .map(|r| (0..batch.num_columns()).map(|c| text(r, c)).collect::<Vec<_>>().join("|"))
            .collect::<Vec<_>>()
    };
    let (one, two) = (series(1).0, series(2).0);
    assert_eq!(
        table(&paths.series),
        [format!("{one}|db|p|cpu|cpu,dc=x,host=a|{{dc: x, host: a}}"), format!("{two}|db|p|cpu|cpu|{{}}")]
    );
    assert_eq!(table(&paths.fields), ["7|cpu|3|usage|float"]);
    assert_eq!(read(&paths.fields).column(2).as_primitive::<UInt16Type>().value(0), 3);
}
