//! How many names are taken.

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
