//! Protocol buffers' wire format, as far as carbonapi's messages need it: varints, fixed numbers and bytes. Groups,
//! which nobody has used for ages, are refused.

use rhythmite_model::{Error, Result};

/// A field as it came: its number and its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    Varint(u32, u64),
    Bytes(u32, &'a [u8]),
    /// Four or eight bytes; none of the messages read here has them.
    Fixed(u32),
}

/// The fields of one message, in order. Nothing is copied and nothing nests here.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The next field; `None` at the end.
    ///
    /// # Errors
    /// `Invalid` when the message ends within a field or has one of no known kind.
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| bad("a field's number is too large"))?;
        Ok(Some(match key & 7 {
            0 => Field::Varint(number, self.varint()?),
            1 => self.fixed(number, 8)?,
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| bad("a field is too long"))?;
                Field::Bytes(number, self.take(len)?)
            }
            5 => self.fixed(number, 4)?,
            kind => return Err(bad(&format!("fields of kind {kind} are not known"))),
        }))
    }

    fn fixed(&mut self, number: u32, len: usize) -> Result<Field<'a>> {
        self.take(len)?;
        Ok(Field::Fixed(number))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(|| bad("the message ends within a field"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(bad("a number has more than ten bytes"))
    }
}

pub(super) fn bad(what: &str) -> Error {
    Error::invalid(format!("malformed protocol buffer: {what}"))
}

/// A text; bytes that are no UTF-8 are refused.
pub(super) fn text(bytes: &[u8]) -> Result<String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| bad("a text is not UTF-8"))
}

/// A message under way. Values that equal their default are left out, as proto3 does.
#[derive(Default)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    fn key(&mut self, number: u32, kind: u32) {
        self.varint(u64::from(number << 3 | kind));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Negative numbers take ten bytes.
    pub(super) fn int(&mut self, number: u32, value: i64) {
        if value != 0 {
            self.key(number, 0);
            self.varint(value as u64);
        }
    }

    pub(super) fn flag(&mut self, number: u32, value: bool) {
        self.int(number, i64::from(value));
    }

    pub(super) fn float(&mut self, number: u32, value: f32) {
        if value != 0.0 {
            self.key(number, 5);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    pub(super) fn text(&mut self, number: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(number, text.as_bytes());
        }
    }

    /// An inner message, even an empty one.
    pub(super) fn message(&mut self, number: u32, inner: &Self) {
        self.bytes(number, &inner.0);
    }

    fn bytes(&mut self, number: u32, bytes: &[u8]) {
        self.key(number, 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A packed list of doubles.
    pub(super) fn doubles(&mut self, number: u32, values: &[f64]) {
        if values.is_empty() {
            return;
        }
        self.key(number, 2);
        self.varint(values.len() as u64 * 8);
        self.0.reserve(values.len() * 8);
        values.iter().for_each(|v| self.0.extend_from_slice(&v.to_le_bytes()));
    }
}
