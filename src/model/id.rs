/// A measurement of one database. 24 bits are used: it is the head of every [`SeriesId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(pub u32);

impl TableId {
    /// The largest id that fits the head of a [`SeriesId`].
    pub const MAX: TableId = TableId((1 << 24) - 1);
}

/// A field (column) of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldId(pub u16);

/// A retention policy: one list of (step, retention).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyId(pub u32);

/// A series for as long as any file or the log names it: table (24 bits), allocator (8), sequence (32).
///
/// The order of ids keeps a table together in every file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeriesId(pub u64);

impl SeriesId {
    /// Composes an id.
    pub fn new(table: TableId, allocator: u8, sequence: u32) -> Self {
        Self(u64::from(table.0) << 40 | u64::from(allocator) << 32 | u64::from(sequence))
    }

    /// The table the series belongs to.
    pub fn table(self) -> TableId {
        TableId((self.0 >> 40) as u32)
    }
}
