//! How many names are taken.

use rhythmite_model::{Error, Result};

use super::directory::Census;

/// Limits on what is made; replay and load are not subject to them. Each hit is an error that names the limit, and is
/// counted in [`Refused`](super::Refused).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Series of one policy, or of all Graphite paths together.
    pub series_per_scope: u64,
    /// The same, new within one hour of the clock.
    pub new_series_per_hour: u64,
    /// Tables (measurements) of one policy.
    pub tables_per_policy: usize,
    /// Fields of one table; at most 65,535.
    pub fields_per_table: usize,
    /// Tag keys of one table.
    pub tag_keys_per_table: usize,
    /// Bytes of a series key, table name or field name; at most 65,535.
    pub key_len: usize,
}

impl Limits {
    /// How many more series a scope has room for in this hour of the clock.
    pub(super) fn room(&self, census: Census, hour: i64) -> u64 {
        let new = if census.hour == hour { census.new_this_hour } else { 0 };
        self.series_per_scope.saturating_sub(census.series).min(self.new_series_per_hour.saturating_sub(new))
    }

    /// Whether a scope has room for one more series in this hour of the clock; `key` is for the message.
    ///
    /// # Errors
    /// `Invalid` at the limit on series, `Overloaded` at that of the hour.
    pub(super) fn check_series(&self, census: Census, hour: i64, key: &str) -> Result<()> {
        if census.series >= self.series_per_scope {
            let limit = self.series_per_scope;
            return Err(Error::invalid(format!("series {key:?} is not made: there are {limit}, which is the limit")));
        }
        if census.hour == hour && census.new_this_hour >= self.new_series_per_hour {
            let limit = self.new_series_per_hour;
            return Err(Error::overloaded(format!(
                "series {key:?} is not made: {limit} new ones this hour, which is the limit"
            )));
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            series_per_scope: 100_000_000,
            new_series_per_hour: 20_000_000,
            tables_per_policy: 1_000_000,
            fields_per_table: 10_000,
            tag_keys_per_table: 10_000,
            key_len: 65_535,
        }
    }
}
