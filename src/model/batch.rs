use crate::{Column, FieldId, PolicyId, SeriesId, TableId, Tombstone};

/// Which resolution level of a policy rows belong to: 0 is raw (the finest), `n` the policy's n-th coarser tier.
///
/// What is stored at a coarser level as it came (imported, or too late for a finer one) and what was rolled up from raw
/// points are kept apart: [`Tier::rolled`] is the second of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tier(pub u8);

impl Tier {
    /// Points as they were sent.
    pub const RAW: Tier = Tier(0);
    const ROLLED: u8 = 0x80;

    /// The roll-ups of this level: fields are [`Aggregate`](crate::Aggregate)s.
    #[must_use]
    pub fn rolled(self) -> Tier {
        Tier(self.0 | Self::ROLLED)
    }

    /// Whether these are roll-ups.
    pub fn is_rolled(self) -> bool {
        self.0 & Self::ROLLED != 0
    }

    /// Number among the levels of the policy.
    pub fn level(self) -> usize {
        usize::from(self.0 & !Self::ROLLED)
    }
}

/// Rows of one table and tier that all have the same fields.
///
/// `series`, `times_ns` and every column are equally long; field ids ascend. Rows are in arrival order: of two
/// rows with the same series and time the later one wins, field by field.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// The table that every series belongs to.
    pub table: TableId,
    /// The level.
    pub tier: Tier,
    /// One series a row.
    pub series: Vec<SeriesId>,
    /// Nanoseconds since the epoch, one a row.
    pub times_ns: Vec<i64>,
    /// The fields' values.
    pub fields: Vec<(FieldId, Column)>,
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.times_ns.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.times_ns.is_empty()
    }

    /// Number of values: rows times fields.
    pub fn values(&self) -> usize {
        self.len() * self.fields.len()
    }
}

/// How a table's series are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum KeyKind {
    /// `measurement,tag=value,...`: tags sorted by key, blanks, commas and equal signs escaped by a backslash.
    Tagged = 0,
    /// A Graphite path `a.b.c`, or `name;a=1;b=2` with tags sorted by key.
    Path = 1,
}

/// How the values of a coarser step come from a finer one (Graphite series only).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RollupRule {
    /// Code of the method; its meaning is the Graphite layer's (average 1, sum 2, last 3, max 4, min 5, avg_zero 6,
    /// absmax 7, absmin 8: the numbers of whisper's file header; median 9).
    pub method: u8,
    /// Share of known points below which a window is empty, 0..=1.
    pub x_files_factor: f32,
    /// Windows that end at or before this second were imported: their tiers are stored, not computed. 0: nothing
    /// was imported.
    pub imported_until_s: i64,
}

/// Something that later records refer to by number. It is logged before (or with) the first row that uses it.
#[derive(Clone, Debug, PartialEq)]
pub enum Definition {
    /// A table of a policy.
    Table {
        /// Its number.
        id: TableId,
        /// The policy that its rows are kept by.
        policy: PolicyId,
        /// Measurement.
        name: String,
        /// How its series are named.
        kind: KeyKind,
    },
    /// A field of a table.
    Field {
        /// The table.
        table: TableId,
        /// Its number within the table.
        id: FieldId,
        /// Name as sent.
        name: String,
        /// Its type, for ever.
        field_type: crate::FieldType,
    },
    /// A series of a table.
    Series {
        /// Its number; the table is the head of it.
        id: SeriesId,
        /// Canonical key, see [`KeyKind`].
        key: String,
        /// For Graphite series.
        rollup: Option<RollupRule>,
    },
    /// A series' rule has changed.
    Rollup {
        /// The series.
        id: SeriesId,
        /// The new rule.
        rollup: RollupRule,
    },
    /// The table, its fields and series are gone; ids are never used again.
    DropTable {
        /// The table.
        id: TableId,
    },
    /// The series is gone; a series of the same key that comes back gets a new id.
    DropSeries {
        /// The series.
        id: SeriesId,
    },
}

/// What one write carries: definitions first, then deletions, then rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Numbers that the rows (and later batches) use for the first time.
    pub definitions: Vec<Definition>,
    /// Deletions of points that earlier batches wrote.
    pub tombstones: Vec<Tombstone>,
    /// The points.
    pub rows: Vec<Rows>,
}

impl Batch {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.iter().map(Rows::len).sum()
    }

    /// Whether there is neither a row, a deletion nor a definition.
    pub fn is_empty(&self) -> bool {
        self.definitions.is_empty() && self.tombstones.is_empty() && self.rows.iter().all(Rows::is_empty)
    }

    /// Number of field values.
    pub fn values(&self) -> usize {
        self.rows.iter().map(Rows::values).sum()
    }
}
