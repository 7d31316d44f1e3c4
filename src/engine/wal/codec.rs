//! One batch as bytes, and back.
//!
//! Row-shaped: series and times once a row, then the values field after field. `docs/formats/wal.md` has the layout.
//! Decoding trusts nothing: any bytes give a batch or an error, and no allocation is larger than a small multiple of
//! the bytes there are.

use rhythmite_model::{
    Batch, Column, Definition, Error, FieldId, FieldType, KeyKind, PolicyId, Result, RollupRule, Rows, SeriesId,
    SeriesSet, TableId, Tier, Tombstone,
};

use super::decimal;
use super::varint::{self, Input, Malformed};

const TABLE: u8 = 1;
const FIELD: u8 = 2;
const SERIES: u8 = 3;
const SERIES_WITH_ROLLUP: u8 = 4;
const ROLLUP: u8 = 5;
const DROP_TABLE: u8 = 6;
const DROP_SERIES: u8 = 7;
const TOMBSTONE: u8 = 8;

/// Units that times are counted in, in nanoseconds; the code is the index.
const UNITS_NS: [i64; 4] = [1, 1_000, 1_000_000, 1_000_000_000];

/// Memory that the batch holds, in bytes, roughly.
pub fn heap_bytes(batch: &Batch) -> usize {
    let definitions = batch.definitions.iter().map(|d| {
        size_of::<Definition>()
            + match d {
                Definition::Table { name, .. } | Definition::Field { name, .. } => name.len(),
                Definition::Series { key, .. } => key.len(),
                Definition::Rollup { .. } | Definition::DropTable { .. } | Definition::DropSeries { .. } => 0,
            }
    });
    let tombstones = batch
        .tombstones
        .iter()
        .map(|t| size_of::<Tombstone>() + 16 * t.series.runs().len() + 2 * t.fields.as_ref().map_or(0, Vec::len));
    let rows = batch.rows.iter().map(|r| {
        size_of::<Rows>() + 16 * r.len() + r.fields.iter().map(|(_, column)| 32 + column.heap_bytes()).sum::<usize>()
    });
    definitions.sum::<usize>() + tombstones.sum::<usize>() + rows.sum::<usize>()
}

/// Appends the batch to `out`.
///
/// # Errors
/// `Internal` if some rows' columns are not all equally long; `out` is then of no use.
pub fn encode(batch: &Batch, out: &mut Vec<u8>) -> Result<()> {
    varint::put_len(out, batch.definitions.len() + batch.tombstones.len());
    for definition in &batch.definitions {
        put_definition(out, definition);
    }
    for tombstone in &batch.tombstones {
        out.push(TOMBSTONE);
        put_tombstone(out, tombstone);
    }
    varint::put_len(out, batch.rows.len());
    for rows in &batch.rows {
        put_rows(out, rows)?;
    }
    Ok(())
}

/// Reads a batch from the head of `bytes`; also returns how many bytes it took.
///
/// # Errors
/// `Corrupt` if the bytes are not what [`encode`] writes.
pub fn decode(bytes: &[u8]) -> Result<(Batch, usize)> {
    let mut input = Input::new(bytes);
    let batch = read_batch(&mut input).map_err(|Malformed(what)| {
        Error::corrupt(what).at(format!("byte {} of a batch", bytes.len() - input.left()))
    })?;
    Ok((batch, bytes.len() - input.left()))
}

fn read_batch(input: &mut Input<'_>) -> Result<Batch, Malformed> {
    let mut batch = Batch::default();
    for _ in 0..input.count(2)? {
        match input.byte()? {
            TOMBSTONE => batch.tombstones.push(tombstone(input)?),
            kind => batch.definitions.push(definition(input, kind)?),
        }
    }
    for _ in 0..input.count(5)? {
        batch.rows.push(rows(input)?);
    }
    Ok(batch)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    varint::put_len(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_rollup(out: &mut Vec<u8>, rule: &RollupRule) {
    out.push(rule.method);
    out.extend_from_slice(&rule.x_files_factor.to_bits().to_le_bytes());
    varint::put(out, varint::zigzag(rule.imported_until_s));
}

fn rollup(input: &mut Input<'_>) -> Result<RollupRule, Malformed> {
    Ok(RollupRule {
        method: input.byte()?,
        x_files_factor: f32::from_bits(u32::from_le_bytes(input.array()?)),
        imported_until_s: input.signed()?,
    })
}

fn put_definition(out: &mut Vec<u8>, definition: &Definition) {
    match definition {
        Definition::Table { id, policy, name, kind } => {
            out.push(TABLE);
            varint::put(out, u64::from(id.0));
            varint::put(out, u64::from(policy.0));
            out.push(*kind as u8);
            put_text(out, name);
        }
        Definition::Field { table, id, name, field_type } => {
            out.push(FIELD);
            varint::put(out, u64::from(table.0));
            varint::put(out, u64::from(id.0));
            out.push(*field_type as u8);
            put_text(out, name);
        }
        Definition::Series { id, key, rollup } => {
            out.push(if rollup.is_some() { SERIES_WITH_ROLLUP } else { SERIES });
            varint::put(out, id.0);
            if let Some(rule) = rollup {
                put_rollup(out, rule);
            }
            put_text(out, key);
        }
        Definition::Rollup { id, rollup } => {
            out.push(ROLLUP);
            varint::put(out, id.0);
            put_rollup(out, rollup);
        }
        Definition::DropTable { id } => {
            out.push(DROP_TABLE);
            varint::put(out, u64::from(id.0));
        }
        Definition::DropSeries { id } => {
            out.push(DROP_SERIES);
            varint::put(out, id.0);
        }
    }
}

fn definition(input: &mut Input<'_>, kind: u8) -> Result<Definition, Malformed> {
    Ok(match kind {
        TABLE => Definition::Table {
            id: TableId(input.small()?),
            policy: PolicyId(input.small()?),
            kind: match input.byte()? {
                0 => KeyKind::Tagged,
                1 => KeyKind::Path,
                _ => return Err(Malformed("unknown kind of key")),
            },
            name: input.text()?.into(),
        },
        FIELD => Definition::Field {
            table: TableId(input.small()?),
            id: FieldId(input.small()?),
            field_type: field_type(input)?,
            name: input.text()?.into(),
        },
        SERIES => Definition::Series { id: SeriesId(input.varint()?), rollup: None, key: input.text()?.into() },
        SERIES_WITH_ROLLUP => Definition::Series {
            id: SeriesId(input.varint()?),
            rollup: Some(rollup(input)?),
            key: input.text()?.into(),
        },
        ROLLUP => Definition::Rollup { id: SeriesId(input.varint()?), rollup: rollup(input)? },
        DROP_TABLE => Definition::DropTable { id: TableId(input.small()?) },
        DROP_SERIES => Definition::DropSeries { id: SeriesId(input.varint()?) },
        _ => return Err(Malformed("unknown kind of definition")),
    })
}

fn put_tombstone(out: &mut Vec<u8>, tombstone: &Tombstone) {
    varint::put(out, u64::from(tombstone.table.0));
    varint::put(out, varint::zigzag(*tombstone.times_ns.start()));
    varint::put(out, varint::zigzag(*tombstone.times_ns.end()));
    // A field more than there are: 0 stands for all of them.
    varint::put(out, tombstone.fields.as_ref().map_or(0, |fields| fields.len() as u64 + 1));
    tombstone.fields.iter().flatten().for_each(|field| varint::put(out, u64::from(field.0)));
    put_series(out, tombstone.table, &tombstone.series);
}

fn tombstone(input: &mut Input<'_>) -> Result<Tombstone, Malformed> {
    let table = TableId(input.small()?);
    let times_ns = input.signed()?..=input.signed()?;
    let fields = match input.count(1)? {
        0 => None,
        n => Some((1..n).map(|_| input.small().map(FieldId)).collect::<Result<Vec<_>, _>>()?),
    };
    if fields.as_ref().is_some_and(|fields| !fields.is_sorted()) {
        return Err(Malformed("fields out of order"));
    }
    Ok(Tombstone { table, series: series(input, table)?, fields, times_ns })
}

/// Runs, each as its distance from the end of the one before (the first: from the table's first id) and its length
/// less one.
fn put_series(out: &mut Vec<u8>, table: TableId, set: &SeriesSet) {
    varint::put_len(out, set.runs().len());
    let mut before = SeriesId::new(table, 0, 0).0;
    for &(first, last) in set.runs() {
        varint::put(out, first.wrapping_sub(before));
        varint::put(out, last - first);
        before = last;
    }
}

fn series(input: &mut Input<'_>, table: TableId) -> Result<SeriesSet, Malformed> {
    let outside = Malformed("series of another table");
    let mut before = SeriesId::new(table, 0, 0).0;
    let mut runs = Vec::with_capacity(input.count(2)?);
    for _ in 0..runs.capacity() {
        let first = before.checked_add(input.varint()?).ok_or(outside)?;
        let last = first.checked_add(input.varint()?).ok_or(outside)?;
        if SeriesId(last).table() != table {
            return Err(outside);
        }
        runs.push((first, last));
        before = last;
    }
    SeriesSet::from_runs(runs).ok_or(Malformed("series out of order"))
}

/// The series of a tombstone as the log has them: what the catalogue keeps, too.
pub fn encode_series(table: TableId, set: &SeriesSet) -> Vec<u8> {
    let mut out = Vec::new();
    put_series(&mut out, table, set);
    out
}

/// The inverse of [`encode_series`].
///
/// # Errors
/// `Corrupt` if the bytes are anything else.
pub fn decode_series(table: TableId, bytes: &[u8]) -> Result<SeriesSet> {
    let mut input = Input::new(bytes);
    match series(&mut input, table) {
        Ok(set) if input.left() == 0 => Ok(set),
        Ok(_) => Err(Error::corrupt("bytes behind a set of series")),
        Err(Malformed(what)) => Err(Error::corrupt(what)),
    }
}

fn field_type(input: &mut Input<'_>) -> Result<FieldType, Malformed> {
    FieldType::from_code(input.byte()?).ok_or(Malformed("unknown field type"))
}

/// What the first series of a table is told apart from.
fn first_series(table: TableId) -> i64 {
    SeriesId::new(table, 0, 0).0 as i64
}

fn put_rows(out: &mut Vec<u8>, rows: &Rows) -> Result<()> {
    let n = rows.len();
    if rows.series.len() != n || rows.fields.iter().any(|(_, column)| column.len() != n) {
        return Err(Error::internal(format!("rows of table {} with columns of unequal length", rows.table.0)));
    }
    varint::put(out, u64::from(rows.table.0));
    out.push(rows.tier.0);
    varint::put_len(out, n);
    varint::put_len(out, rows.fields.len());
    varint::put_deltas(out, first_series(rows.table), rows.series.iter().map(|id| id.0 as i64));
    put_times(out, &rows.times_ns);
    for (id, column) in &rows.fields {
        varint::put(out, u64::from(id.0));
        out.push(column.field_type() as u8);
        put_column(out, column);
    }
    Ok(())
}

fn rows(input: &mut Input<'_>) -> Result<Rows, Malformed> {
    let table = TableId(input.small()?);
    let tier = Tier(input.byte()?);
    // A row takes a byte of series and one of time at least, a field two of head.
    let n = input.count(2)?;
    let fields = input.count(2)?;
    let series = input.deltas(first_series(table), n, |id| SeriesId(id as u64))?;
    let unit_ns = *UNITS_NS.get(usize::from(input.byte()?)).ok_or(Malformed("unknown unit of time"))?;
    let times_ns = input.deltas(0, n, |t| t.wrapping_mul(unit_ns))?;
    let mut rows = Rows { table, tier, series, times_ns, fields: Vec::new() };
    for _ in 0..fields {
        let id = FieldId(input.small()?);
        let field_type = field_type(input)?;
        rows.fields.push((id, column(input, field_type, n)?));
    }
    Ok(rows)
}

fn put_times(out: &mut Vec<u8>, times_ns: &[i64]) {
    let (mut unit, mut before) = (UNITS_NS.len() - 1, 0);
    for &t in times_ns {
        if t != before {
            before = t;
            while t % UNITS_NS[unit] != 0 {
                unit -= 1;
            }
        }
    }
    out.push(unit as u8);
    // The divisor is a constant in each arm: a division by a variable costs as much as the rest of the row.
    let times = times_ns.iter();
    match unit {
        0 => varint::put_deltas(out, 0, times.copied()),
        1 => varint::put_deltas(out, 0, times.map(|t| t / UNITS_NS[1])),
        2 => varint::put_deltas(out, 0, times.map(|t| t / UNITS_NS[2])),
        _ => varint::put_deltas(out, 0, times.map(|t| t / UNITS_NS[3])),
    }
}

fn put_column(out: &mut Vec<u8>, column: &Column) {
    match column {
        Column::Float(v) => decimal::put_floats(out, v),
        Column::Integer(v) => varint::put_deltas(out, 0, v.iter().copied()),
        Column::Unsigned(v) => varint::put_deltas(out, 0, v.iter().map(|x| *x as i64)),
        Column::Boolean(v) => {
            out.extend(v.chunks(8).map(|bits| bits.iter().rev().fold(0u8, |byte, bit| byte << 1 | u8::from(*bit))))
        }
        Column::String(v) => v.iter().for_each(|text| put_text(out, text)),
    }
}

fn column(input: &mut Input<'_>, field_type: FieldType, n: usize) -> Result<Column, Malformed> {
    Ok(match field_type {
        FieldType::Float => Column::Float(decimal::floats(input, n)?),
        FieldType::Integer => Column::Integer(input.deltas(0, n, |x| x)?),
        FieldType::Unsigned => Column::Unsigned(input.deltas(0, n, |x| x as u64)?),
        FieldType::Boolean => {
            let bytes = input.take(n.div_ceil(8))?;
            Column::Boolean((0..n).map(|i| bytes[i / 8] >> (i % 8) & 1 == 1).collect())
        }
        FieldType::String => {
            if n > input.left() {
                return Err(Malformed("count beyond the bytes there are"));
            }
            let mut column = Column::with_capacity(FieldType::String, n);
            if let Column::String(strings) = &mut column {
                for _ in 0..n {
                    let text = input.text()?;
                    if !strings.has_room(text.len()) {
                        return Err(Malformed("more text than a column holds"));
                    }
                    strings.push(text);
                }
            }
            column
        }
    })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use rhythmite_model::FieldValue;

    use super::*;

    /// The batch as text in which floats are their bits, so that NaN equals itself.
    pub(in crate::wal) fn bits(batch: &Batch) -> String {
        let mut text = format!("{:?} {:?}\n", batch.definitions, batch.tombstones);
        for rows in &batch.rows {
            text += &format!("{:?} {:?} {:?} {:?}\n", rows.table, rows.tier, rows.series, rows.times_ns);
            for (id, column) in &rows.fields {
                match column {
                    Column::Float(v) => {
                        text += &format!("{id:?} {:?}\n", v.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
                    }
                    other => text += &format!("{id:?} {other:?}\n"),
                }
            }
        }
        text
    }

    fn check(batch: &Batch) {
        let mut bytes = Vec::new();
        encode(batch, &mut bytes).unwrap();
        let (back, used) = decode(&bytes).unwrap();
        assert_eq!(used, bytes.len());
        assert_eq!(bits(&back), bits(batch));
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "a cut at {cut} of {} goes unnoticed", bytes.len());
        }
    }

    pub(in crate::wal) fn any_batch() -> impl Strategy<Value = Batch> {
        let tombstones = prop::collection::vec(any_tombstone(), 0..3);
        (prop::collection::vec(any_definition(), 0..4), tombstones, prop::collection::vec(any_rows(), 0..3))
            .prop_map(|(definitions, tombstones, rows)| Batch { definitions, tombstones, rows })
    }

    fn any_tombstone() -> impl Strategy<Value = Tombstone> {
        let table = 0..=TableId::MAX.0;
        let ids = prop::collection::btree_set(any::<u32>(), 0..20);
        let fields = prop::option::of(prop::collection::btree_set(any::<u16>(), 0..4));
        (table, ids, fields, any::<i64>(), any::<i64>()).prop_map(|(table, ids, fields, from, to)| {
            let table = TableId(table);
            let series = SeriesSet::list(ids.into_iter().map(|id| SeriesId::new(table, 0, id)));
            let fields = fields.map(|fields| fields.into_iter().map(FieldId).collect());
            Tombstone { table, series, fields, times_ns: from..=to }
        })
    }

    #[test]
    fn sets_of_series_come_back() {
        let table = TableId(7);
        for set in [SeriesSet::default(), SeriesSet::table(table), SeriesSet::list([SeriesId::new(table, 0, 3)])] {
            assert_eq!(decode_series(table, &encode_series(table, &set)), Ok(set.clone()));
        }
        let beyond = encode_series(TableId(0), &SeriesSet::list([SeriesId::new(table, 0, 3)]));
        assert_eq!(decode_series(table, &beyond).unwrap_err().message(), "series of another table");
        let trailing = [encode_series(table, &SeriesSet::default()), vec![0]].concat();
        assert_eq!(decode_series(table, &trailing).unwrap_err().message(), "bytes behind a set of series");
    }

    fn any_rollup() -> impl Strategy<Value = RollupRule> {
        // A NaN does not equal itself in the text of a definition.
        (any::<u8>(), 0f32..=1.0, any::<i64>()).prop_map(|(method, x_files_factor, imported_until_s)| RollupRule {
            method,
            x_files_factor,
            imported_until_s,
        })
    }

    fn any_text() -> impl Strategy<Value = String> {
        prop::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter)
    }

    fn any_definition() -> impl Strategy<Value = Definition> {
        prop_oneof![
            (any::<u32>(), any::<u32>(), any_text(), any::<bool>()).prop_map(|(id, policy, name, path)| {
                let kind = if path { KeyKind::Path } else { KeyKind::Tagged };
                Definition::Table { id: TableId(id), policy: PolicyId(policy), name, kind }
            }),
            (any::<u32>(), any::<u16>(), any_text(), 0u8..5).prop_map(|(table, id, name, code)| Definition::Field {
                table: TableId(table),
                id: FieldId(id),
                name,
                field_type: FieldType::from_code(code).unwrap(),
            }),
            (any::<u64>(), any_text(), prop::option::of(any_rollup()))
                .prop_map(|(id, key, rollup)| Definition::Series { id: SeriesId(id), key, rollup }),
            (any::<u64>(), any_rollup()).prop_map(|(id, rollup)| Definition::Rollup { id: SeriesId(id), rollup }),
            any::<u32>().prop_map(|id| Definition::DropTable { id: TableId(id) }),
            any::<u64>().prop_map(|id| Definition::DropSeries { id: SeriesId(id) }),
        ]
    }

    fn any_rows() -> impl Strategy<Value = Rows> {
        let row = (any::<u64>(), any::<i64>(), prop::sample::select(UNITS_NS.to_vec()), any::<u64>(), any_text());
        let columns = prop::collection::vec((any::<u16>(), 0u8..5), 0..6);
        (any::<u32>(), any::<u8>(), prop::collection::vec(row, 0..40), columns, any::<u64>()).prop_map(
            |(table, tier, cells, columns, salt)| {
                let mut rows =
                    Rows { table: TableId(table), tier: Tier(tier), series: vec![], times_ns: vec![], fields: vec![] };
                for (series, t, unit_ns, _, _) in &cells {
                    rows.series.push(SeriesId(*series));
                    rows.times_ns.push(if salt % 2 == 0 { *t } else { t / unit_ns * unit_ns });
                }
                for (i, (id, code)) in columns.into_iter().enumerate() {
                    let mut column = Column::new(FieldType::from_code(code).unwrap());
                    for (_, _, _, x, text) in &cells {
                        let x = x.rotate_left(i as u32 * 7) ^ salt;
                        assert!(column.push(match column.field_type() {
                            FieldType::Float => FieldValue::Float(f64::from_bits(x)),
                            FieldType::Integer => FieldValue::Integer(x as i64),
                            FieldType::Unsigned => FieldValue::Unsigned(x),
                            FieldType::Boolean => FieldValue::Boolean(x & 1 == 1),
                            FieldType::String => FieldValue::String(text),
                        }));
                    }
                    rows.fields.push((FieldId(id), column));
                }
                rows
            },
        )
    }

    #[test]
    fn times_take_the_coarsest_unit_that_is_exact() {
        for (times, bytes) in [
            (vec![1_700_000_000_000_000_000; 100], 1 + 5 + 99),
            (vec![1_700_000_000_000_000_000, 1_700_000_010_000_000_000], 1 + 5 + 1),
            (vec![-5_000_000_000, -4_999_000_000], 1 + 2 + 1),
            (vec![i64::MIN, i64::MAX], 1 + 10 + 1),
            (vec![], 1),
        ] {
            let mut out = Vec::new();
            put_times(&mut out, &times);
            assert_eq!(out.len(), bytes, "{times:?}");
        }
    }

    #[test]
    fn columns_of_unequal_length_are_refused() {
        let rows = Rows {
            table: TableId(1),
            tier: Tier::RAW,
            series: vec![SeriesId(1)],
            times_ns: vec![1],
            fields: vec![(FieldId(0), Column::Integer(vec![1, 2]))],
        };
        let error = encode(&Batch { rows: vec![rows], ..Batch::default() }, &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), rhythmite_model::ErrorKind::Internal);
    }

    proptest! {
        #[test]
        fn any_batch_comes_back(batch in any_batch()) {
            check(&batch);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn damaged_batches_never_panic_nor_grow(batch in any_batch(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = Vec::new();
            encode(&batch, &mut bytes).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok((batch, _)) = decode(&bytes) {
                prop_assert!(heap_bytes(&batch) <= 200 * bytes.len() + 1_000);
            }
        }
    }
}
