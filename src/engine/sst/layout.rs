//! The points file's columns, encodings and time unit: what every reader and writer of it must agree on.

use std::sync::Arc;

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnPath, TypePtr};
use rhythmite_model::{Error, Result};

/// Version of the points file and of the index beside it, written into both.
pub const FORMAT_VERSION: u32 = 1;

/// Positions of the columns in the points file.
pub mod column {
    #![allow(missing_docs, reason = "the names are the documentation")]
    pub const SERIES: usize = 0;
    pub const FIELD: usize = 1;
    pub const TIME: usize = 2;
    pub const M: usize = 3;
    pub const E: usize = 4;
    pub const F: usize = 5;
    pub const I: usize = 6;
    pub const U: usize = 7;
    pub const S: usize = 8;
    pub const B: usize = 9;
    /// Names, by position.
    pub const NAMES: [&str; 10] = ["series", "field", "time", "m", "e", "f", "i", "u", "s", "b"];
}

/// The unit in which a file counts time: the coarsest that every time of it is a multiple of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum TimeUnit {
    /// 10^-9 s.
    Nanosecond = 0,
    /// 10^-6 s.
    Microsecond = 1,
    /// 10^-3 s.
    Millisecond = 2,
}

impl TimeUnit {
    /// The unit with this code (as written to disk).
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Nanosecond, Self::Microsecond, Self::Millisecond].get(usize::from(code)).copied()
    }

    /// The coarsest unit that all times are multiples of.
    pub fn of(times_ns: &[i64]) -> Self {
        let units = [Self::Millisecond, Self::Microsecond];
        units.into_iter().find(|unit| unit.divides(times_ns)).unwrap_or(Self::Nanosecond)
    }

    /// Whether every time is a multiple of this unit.
    pub fn divides(self, times_ns: &[i64]) -> bool {
        // The divisor is a constant in each arm: a multiplication instead of a division a row.
        match self {
            Self::Nanosecond => true,
            Self::Microsecond => times_ns.iter().all(|t| t % 1_000 == 0),
            Self::Millisecond => times_ns.iter().all(|t| t % 1_000_000 == 0),
        }
    }

    /// Appends the times, counted in this unit.
    pub fn count(self, times_ns: &[i64], out: &mut Vec<i64>) {
        match self {
            Self::Nanosecond => out.extend_from_slice(times_ns),
            Self::Microsecond => out.extend(times_ns.iter().map(|t| t / 1_000)),
            Self::Millisecond => out.extend(times_ns.iter().map(|t| t / 1_000_000)),
        }
    }

    /// Its length in nanoseconds.
    pub fn ns(self) -> i64 {
        [1, 1_000, 1_000_000][self as usize]
    }

    fn parquet_name(self) -> &'static str {
        ["NANOS", "MICROS", "MILLIS"][self as usize]
    }
}

/// How pages are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageCompression {
    /// Fast: for files that compaction rewrites soon.
    Snappy,
    /// Small: for files that stay.
    #[default]
    Zstd1,
}

/// The schema of a points file.
pub fn schema(unit: TimeUnit) -> Result<TypePtr> {
    let text = format!(
        "message points {{
            required int64 series (INTEGER(64,false));
            required int32 field (INTEGER(16,false));
            required int64 time (TIMESTAMP({},true));
            optional int64 m;
            optional int32 e (INTEGER(8,true));
            optional double f;
            optional int64 i;
            optional int64 u (INTEGER(64,false));
            optional binary s (STRING);
            optional boolean b;
        }}",
        unit.parquet_name()
    );
    parse_message_type(&text).map(Arc::new).map_err(|e| Error::internal(format!("points schema: {e}")))
}

/// Level of [`PageCompression::Zstd1`].
pub const ZSTD_LEVEL: i32 = 1;

/// What Parquet calls a compression.
pub fn codec(compression: PageCompression) -> Result<Compression, ParquetError> {
    match compression {
        PageCompression::Snappy => Ok(Compression::SNAPPY),
        PageCompression::Zstd1 => ZstdLevel::try_new(ZSTD_LEVEL).map(Compression::ZSTD),
    }
}

/// How the columns that the Parquet crate writes are encoded: floats, texts, booleans. Integers, and columns without a
/// value, are [`super::chunk`]'s. A page holds exactly `page_rows` rows (fewer where a group ends, or texts are long).
pub fn properties(compression: PageCompression, page_rows: usize) -> Result<WriterPropertiesPtr> {
    let codec = codec(compression).map_err(|e| Error::internal(format!("a compression is refused: {e}")))?;
    let path = |c: usize| ColumnPath::from(column::NAMES[c]);
    let properties = WriterProperties::builder()
        .set_created_by(concat!("rhythmite ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(codec)
        .set_max_row_group_row_count(None)
        .set_data_page_row_count_limit(page_rows)
        .set_write_batch_size(page_rows)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_enabled(false)
        .set_column_dictionary_enabled(path(column::S), true)
        .set_column_encoding(path(column::F), Encoding::BYTE_STREAM_SPLIT)
        .set_column_encoding(path(column::S), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    Ok(Arc::new(properties.build()))
}
