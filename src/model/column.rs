use crate::{FieldType, FieldValue};

// PERF: what is done for each value is inlined into other packages, which are not optimised together with this one.
// Proof: `cargo bench --bench influxql_select -- condition`.

/// Values of one field, one per row, all of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// See [`FieldType::Float`].
    Float(Vec<f64>),
    /// See [`FieldType::Integer`].
    Integer(Vec<i64>),
    /// See [`FieldType::Unsigned`].
    Unsigned(Vec<u64>),
    /// See [`FieldType::Boolean`].
    Boolean(Vec<bool>),
    /// See [`FieldType::String`].
    String(Strings),
}

/// Many texts in one arena.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    /// End of text `i` in `bytes`; it starts where the one before ends.
    ends: Vec<u32>,
    bytes: String,
}

impl Strings {
    /// None, with room for so many of so many bytes together.
    pub fn with_capacity(texts: usize, bytes: usize) -> Self {
        Self { ends: Vec::with_capacity(texts), bytes: String::with_capacity(bytes) }
    }

    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether `more` bytes of text still fit (an arena holds at most 4 GiB).
    pub fn has_room(&self, more: usize) -> bool {
        self.bytes.len().checked_add(more).is_some_and(|n| u32::try_from(n).is_ok())
    }

    /// Appends one text. Check [`Strings::has_room`] first.
    #[inline]
    pub fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(u32::try_from(self.bytes.len()).expect("callers keep an arena below 4 GiB"));
    }

    /// Text `i`.
    #[inline]
    pub fn get(&self, i: usize) -> &str {
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.bytes[start..self.ends[i] as usize]
    }

    /// All texts in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|i| self.get(i))
    }

    /// Length of all texts together, in bytes.
    pub fn text_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Runs `$body` with `$v` bound to the vector (or [`Strings`]) inside `$column`, whatever its type.
macro_rules! each {
    ($column:expr, $v:ident => $body:expr) => {
        match $column {
            Column::Float($v) => $body,
            Column::Integer($v) => $body,
            Column::Unsigned($v) => $body,
            Column::Boolean($v) => $body,
            Column::String($v) => $body,
        }
    };
}

impl Column {
    /// An empty column of `field_type`.
    pub fn new(field_type: FieldType) -> Self {
        Self::with_capacity(field_type, 0)
    }

    /// An empty column with room for `rows` values.
    pub fn with_capacity(field_type: FieldType, rows: usize) -> Self {
        match field_type {
            FieldType::Float => Column::Float(Vec::with_capacity(rows)),
            FieldType::Integer => Column::Integer(Vec::with_capacity(rows)),
            FieldType::Unsigned => Column::Unsigned(Vec::with_capacity(rows)),
            FieldType::Boolean => Column::Boolean(Vec::with_capacity(rows)),
            FieldType::String => Column::String(Strings { ends: Vec::with_capacity(rows), bytes: String::new() }),
        }
    }

    /// The type of every value.
    #[inline]
    pub fn field_type(&self) -> FieldType {
        match self {
            Column::Float(_) => FieldType::Float,
            Column::Integer(_) => FieldType::Integer,
            Column::Unsigned(_) => FieldType::Unsigned,
            Column::Boolean(_) => FieldType::Boolean,
            Column::String(_) => FieldType::String,
        }
    }

    /// Number of values.
    #[inline]
    pub fn len(&self) -> usize {
        each!(self, v => v.len())
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Value `i`. Panics when out of range.
    #[inline]
    pub fn get(&self, i: usize) -> FieldValue<'_> {
        match self {
            Column::Float(v) => FieldValue::Float(v[i]),
            Column::Integer(v) => FieldValue::Integer(v[i]),
            Column::Unsigned(v) => FieldValue::Unsigned(v[i]),
            Column::Boolean(v) => FieldValue::Boolean(v[i]),
            Column::String(v) => FieldValue::String(v.get(i)),
        }
    }

    /// Appends a value; returns false and changes nothing when its type is another.
    #[must_use]
    #[inline]
    pub fn push(&mut self, value: FieldValue<'_>) -> bool {
        match (self, value) {
            (Column::Float(v), FieldValue::Float(x)) => v.push(x),
            (Column::Integer(v), FieldValue::Integer(x)) => v.push(x),
            (Column::Unsigned(v), FieldValue::Unsigned(x)) => v.push(x),
            (Column::Boolean(v), FieldValue::Boolean(x)) => v.push(x),
            (Column::String(v), FieldValue::String(x)) => v.push(x),
            _ => return false,
        }
        true
    }

    /// Appends `other[rows]`. Panics when the types differ.
    pub fn extend_from(&mut self, other: &Column, rows: std::ops::Range<usize>) {
        match (self, other) {
            (Column::Float(a), Column::Float(b)) => a.extend_from_slice(&b[rows]),
            (Column::Integer(a), Column::Integer(b)) => a.extend_from_slice(&b[rows]),
            (Column::Unsigned(a), Column::Unsigned(b)) => a.extend_from_slice(&b[rows]),
            (Column::Boolean(a), Column::Boolean(b)) => a.extend_from_slice(&b[rows]),
            (Column::String(a), Column::String(b)) => rows.for_each(|i| a.push(b.get(i))),
            (a, b) => unreachable!("a {} column is never extended by a {} one", a.field_type(), b.field_type()),
        }
    }

    /// A column of the values at `rows`, in that order.
    #[must_use]
    pub fn gather(&self, rows: &[u32]) -> Column {
        fn pick<T: Copy>(v: &[T], rows: &[u32]) -> Vec<T> {
            rows.iter().map(|&i| v[i as usize]).collect()
        }
        match self {
            Column::Float(v) => Column::Float(pick(v, rows)),
            Column::Integer(v) => Column::Integer(pick(v, rows)),
            Column::Unsigned(v) => Column::Unsigned(pick(v, rows)),
            Column::Boolean(v) => Column::Boolean(pick(v, rows)),
            Column::String(v) => {
                let mut out = Strings::default();
                rows.iter().for_each(|&i| out.push(v.get(i as usize)));
                Column::String(out)
            }
        }
    }

    /// Appends the values that `picks` name: the number of a column of `others` and a row of it. Panics when the types
    /// differ.
    pub fn extend_picked(&mut self, others: &[&Column], picks: &[(u32, u32)]) {
        fn pick<T: Copy>(to: &mut Vec<T>, others: &[&[T]], picks: &[(u32, u32)]) {
            to.extend(picks.iter().map(|&(number, row)| others[number as usize][row as usize]));
        }
        macro_rules! of {
            ($kind:ident) => {
                others.iter().map(|&column| match column {
                    Column::$kind(values) => values,
                    other => unreachable!("a column is never extended by a {} one", other.field_type()),
                })
            };
        }
        match self {
            Column::Float(to) => pick(to, &of!(Float).map(Vec::as_slice).collect::<Vec<_>>(), picks),
            Column::Integer(to) => pick(to, &of!(Integer).map(Vec::as_slice).collect::<Vec<_>>(), picks),
            Column::Unsigned(to) => pick(to, &of!(Unsigned).map(Vec::as_slice).collect::<Vec<_>>(), picks),
            Column::Boolean(to) => pick(to, &of!(Boolean).map(Vec::as_slice).collect::<Vec<_>>(), picks),
            Column::String(to) => {
                let others: Vec<_> = of!(String).collect();
                picks.iter().for_each(|&(number, row)| to.push(others[number as usize].get(row as usize)));
            }
        }
    }

    /// Gives memory back that no value needs.
    pub fn shrink_to_fit(&mut self) {
        match self {
            Column::Float(v) => v.shrink_to_fit(),
            Column::Integer(v) => v.shrink_to_fit(),
            Column::Unsigned(v) => v.shrink_to_fit(),
            Column::Boolean(v) => v.shrink_to_fit(),
            Column::String(v) => {
                v.ends.shrink_to_fit();
                v.bytes.shrink_to_fit();
            }
        }
    }

    /// Memory held by the values, in bytes.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Column::Float(v) => v.capacity() * 8,
            Column::Integer(v) => v.capacity() * 8,
            Column::Unsigned(v) => v.capacity() * 8,
            Column::Boolean(v) => v.capacity(),
            Column::String(v) => v.ends.capacity() * 4 + v.bytes.capacity(),
        }
    }
}
