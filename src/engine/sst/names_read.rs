//! Names files read back: to compare them with the registry. Only `check` does that; the server itself never reads them.

use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{UInt16Type, UInt32Type, UInt64Type};
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use rhythmite_env::{Env, File};
use rhythmite_model::{Error, FieldId, Result, SeriesId, TableId};

use super::read_error;

/// Gives number, table and path of each row of a series file, in order.
///
/// # Errors
/// Those of `each`; `Corrupt` for a file that is no such table, `Unavailable` for the disk.
pub(crate) fn read_series(
    env: &Env,
    path: &Path,
    mut each: impl FnMut(SeriesId, &str, &str) -> Result<()>,
) -> Result<()> {
    batches(env, path, &["series", "table", "path"], |batch| {
        let id = column(batch, "series", |c| c.as_primitive_opt::<UInt64Type>())?;
        let table = column(batch, "table", |c| c.as_string_opt::<i32>())?;
        let key = column(batch, "path", |c| c.as_string_opt::<i32>())?;
        (0..batch.num_rows()).try_for_each(|row| each(SeriesId(id.value(row)), table.value(row), key.value(row)))
    })
}

/// Gives table, number, name and name of the type of each row of a fields file, in order.
///
/// # Errors
/// As [`read_series`].
pub(crate) fn read_fields(
    env: &Env,
    path: &Path,
    mut each: impl FnMut(TableId, FieldId, &str, &str) -> Result<()>,
) -> Result<()> {
    batches(env, path, &["table", "id", "name", "type"], |batch| {
        let table = column(batch, "table", |c| c.as_primitive_opt::<UInt32Type>())?;
        let id = column(batch, "id", |c| c.as_primitive_opt::<UInt16Type>())?;
        let name = column(batch, "name", |c| c.as_string_opt::<i32>())?;
        let kind = column(batch, "type", |c| c.as_string_opt::<i32>())?;
        (0..batch.num_rows()).try_for_each(|row| {
            each(TableId(table.value(row)), FieldId(id.value(row)), name.value(row), kind.value(row))
        })
    })
}

fn batches(env: &Env, path: &Path, columns: &[&str], mut each: impl FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(Whole::open(env, path)?).map_err(read_error)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    for batch in builder.with_projection(mask).build().map_err(read_error)? {
        each(&batch.map_err(|e| Error::corrupt(e.to_string()))?)?;
    }
    Ok(())
}

/// A column without nulls.
fn column<'a, T: Array + ?Sized + 'a>(
    batch: &'a RecordBatch,
    name: &str,
    cast: impl FnOnce(&'a dyn Array) -> Option<&'a T>,
) -> Result<&'a T> {
    let found = batch.column_by_name(name).and_then(|column| cast(column.as_ref()));
    let found = found.filter(|column| column.null_count() == 0);
    found.ok_or_else(|| Error::corrupt(format!("column {name} is missing or of another type")))
}

/// A whole Parquet file that nothing vouches for.
pub(super) struct Whole {
    pub(super) file: Arc<dyn File>,
    pub(super) len: u64,
}

impl Whole {
    pub(super) fn open(env: &Env, path: &Path) -> Result<Self> {
        let file = env.fs.open(path)?;
        let len = file.len()?;
        Ok(Self { file, len })
    }
}

impl Length for Whole {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Whole {
    type T = BufReader<ReadAt>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::new(ReadAt { file: self.file.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.len) {
            return Err(ParquetError::EOF(format!("{length} bytes at offset {start} reach behind the file")));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// Reads on from a place in a file.
pub(super) struct ReadAt {
    file: Arc<dyn File>,
    at: u64,
}

impl io::Read for ReadAt {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buf, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
