//! Protobuf of Prometheus' remote write (versions 1 and 2) and remote read: what of it is needed, by hand.
//!
//! Reading borrows from the message. Nothing is allocated by a count that the message names: each label and sample costs
//! bytes of the message, and their number has a limit. Unknown fields are skipped, groups are refused.

/// Labels and samples of one message; more is an error.
const ITEMS_MAX: usize = 5_000_000;

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

type Result<T> = std::result::Result<T, Malformed>;

/// A time and a value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sample {
    pub(super) value: f64,
    pub(super) time_ms: i64,
}

/// One series of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TimeSeries<'a> {
    pub(super) labels: Vec<(&'a str, &'a str)>,
    pub(super) samples: Vec<Sample>,
    /// Native histograms, which have no place here.
    pub(super) histograms: usize,
}

/// A condition on a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Matcher<'a> {
    pub(super) kind: Kind,
    pub(super) name: &'a str,
    pub(super) value: &'a str,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

/// One question of remote read; both times are part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query<'a> {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) matchers: Vec<Matcher<'a>>,
}

/// One field of a message.
enum Value<'a> {
    Number(u64),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
    Four,
}

impl<'a> Value<'a> {
    fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed("a field has another type")),
        }
    }

    fn text(self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    fn number(self) -> Result<u64> {
        match self {
            Value::Number(number) => Ok(number),
            _ => Err(Malformed("a field has another type")),
        }
    }

    fn double(self) -> Result<f64> {
        match self {
            Value::Eight(bytes) => Ok(f64::from_le_bytes(bytes)),
            _ => Err(Malformed("a field has another type")),
        }
    }
}

/// The fields of a message, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Eight(self.take(8)?.try_into().map_err(|_| Malformed("cut short"))?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed("cut short"))?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Value::Four
            }
            _ => return Err(Malformed("an unknown type of field")),
        };
        Ok(Some((key >> 3, value)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed("cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed("a number is too long"))
    }
}

/// Counts what was read of a message.
struct Budget(usize);

impl Budget {
    fn one(&mut self) -> Result<()> {
        self.0 = self.0.checked_sub(1).ok_or(Malformed("too many labels and samples"))?;
        Ok(())
    }
}

/// Gives each series of a `prometheus.WriteRequest` to `take`.
pub(super) fn write_request<'a>(message: &'a [u8], mut take: impl FnMut(TimeSeries<'a>)) -> Result<()> {
    let (mut fields, mut budget) = (Fields(message), Budget(ITEMS_MAX));
    while let Some((number, value)) = fields.next()? {
        if number != 1 {
            continue;
        }
        let (mut series, mut inner) = (TimeSeries::default(), Fields(value.bytes()?));
        while let Some((number, value)) = inner.next()? {
            match number {
                1 => {
                    budget.one()?;
                    series.labels.push(label(value.bytes()?)?);
                }
                2 => {
                    budget.one()?;
                    series.samples.push(sample(value.bytes()?)?);
                }
                4 => series.histograms += 1,
                _ => {}
            }
        }
        take(series);
    }
    Ok(())
}

/// Gives each series of an `io.prometheus.write.v2.Request` to `take`.
pub(super) fn write_request_2<'a>(message: &'a [u8], mut take: impl FnMut(TimeSeries<'a>)) -> Result<()> {
    // Symbols may follow the series that use them.
    let (mut symbols, mut budget) = (Vec::new(), Budget(ITEMS_MAX));
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next()? {
        if number == 4 {
            budget.one()?;
            symbols.push(value.text()?);
        }
    }
    let symbol = |at: u64| {
        let found = usize::try_from(at).ok().and_then(|at| symbols.get(at));
        found.copied().ok_or(Malformed("a symbol that is not there"))
    };
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next()? {
        if number != 5 {
            continue;
        }
        let (mut series, mut inner, mut refs) = (TimeSeries::default(), Fields(value.bytes()?), Vec::new());
        while let Some((number, value)) = inner.next()? {
            match (number, value) {
                (1, Value::Bytes(packed)) => {
                    let mut packed = Fields(packed);
                    while !packed.0.is_empty() {
                        budget.one()?;
                        refs.push(packed.varint()?);
                    }
                }
                (1, value) => {
                    budget.one()?;
                    refs.push(value.number()?);
                }
                (2, value) => {
                    budget.one()?;
                    series.samples.push(sample(value.bytes()?)?);
                }
                (3, _) => series.histograms += 1,
                _ => {}
            }
        }
        if refs.len() % 2 != 0 {
            return Err(Malformed("a label without a value"));
        }
        for pair in refs.chunks_exact(2) {
            series.labels.push((symbol(pair[0])?, symbol(pair[1])?));
        }
        take(series);
    }
    Ok(())
}

fn label(message: &[u8]) -> Result<(&str, &str)> {
    let (mut name, mut text, mut fields) = ("", "", Fields(message));
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = value.text()?,
            2 => text = value.text()?,
            _ => {}
        }
    }
    Ok((name, text))
}

fn sample(message: &[u8]) -> Result<Sample> {
    let (mut sample, mut fields) = (Sample::default(), Fields(message));
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => sample.value = value.double()?,
            2 => sample.time_ms = value.number()? as i64,
            _ => {}
        }
    }
    Ok(sample)
}

/// The questions of a `prometheus.ReadRequest`.
pub(super) fn read_request(message: &[u8]) -> Result<Vec<Query<'_>>> {
    let (mut queries, mut fields, mut budget) = (Vec::new(), Fields(message), Budget(10_000));
    while let Some((number, value)) = fields.next()? {
        if number != 1 {
            continue;
        }
        budget.one()?;
        let (mut query, mut inner) = (Query::default(), Fields(value.bytes()?));
        while let Some((number, value)) = inner.next()? {
            match number {
                1 => query.start_ms = value.number()? as i64,
                2 => query.end_ms = value.number()? as i64,
                3 => {
                    budget.one()?;
                    query.matchers.push(matcher(value.bytes()?)?);
                }
                _ => {}
            }
        }
        queries.push(query);
    }
    Ok(queries)
}

fn matcher(message: &[u8]) -> Result<Matcher<'_>> {
    let (mut found, mut fields) = (Matcher { kind: Kind::Equal, name: "", value: "" }, Fields(message));
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => {
                found.kind = match value.number()? {
                    0 => Kind::Equal,
                    1 => Kind::NotEqual,
                    2 => Kind::Regex,
                    3 => Kind::NotRegex,
                    _ => return Err(Malformed("an unknown kind of matcher")),
                };
            }
            2 => found.name = value.text()?,
            3 => found.value = value.text()?,
            _ => {}
        }
    }
    Ok(found)
}

/// Writes messages.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(super) fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// `Label { name, value }` as a field.
    pub(super) fn label(&mut self, field: u64, name: &str, value: &str) {
        let mut label = Writer::default();
        label.bytes(1, name.as_bytes());
        label.bytes(2, value.as_bytes());
        self.bytes(field, &label.0);
    }

    /// `Sample { value, timestamp }` as a field.
    pub(super) fn sample(&mut self, field: u64, sample: Sample) {
        let mut inner = Writer::default();
        inner.varint(1 << 3 | 1);
        inner.0.extend_from_slice(&sample.value.to_le_bytes());
        inner.varint(2 << 3);
        inner.varint(sample.time_ms as u64);
        self.bytes(field, &inner.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series_message() -> Vec<u8> {
        let mut series = Writer::default();
        series.label(1, "__name__", "up");
        series.label(1, "job", "ä");
        series.sample(2, Sample { value: 1.5, time_ms: -3 });
        series.bytes(4, b"histogram");
        series.0
    }

    #[test]
    fn both_versions_read_the_same() {
        let mut one = Writer::default();
        one.bytes(1, &series_message());
        one.bytes(3, b"metadata");
        let mut found = Vec::new();
        write_request(&one.0, |series| found.push(series)).unwrap();
        let mut series = Writer::default();
        series.bytes(1, &[1, 2, 3, 4]);
        series.sample(2, Sample { value: 1.5, time_ms: -3 });
        series.bytes(3, b"histogram");
        let mut two = Writer::default();
        two.bytes(5, &series.0);
        for symbol in ["", "__name__", "up", "job", "ä"] {
            two.bytes(4, symbol.as_bytes());
        }
        let mut found_2 = Vec::new();
        write_request_2(&two.0, |series| found_2.push(series)).unwrap();
        assert_eq!(found, found_2);
        assert_eq!(found[0].labels, [("__name__", "up"), ("job", "ä")]);
        assert_eq!((found[0].samples[0], found[0].histograms), (Sample { value: 1.5, time_ms: -3 }, 1));
    }

    #[test]
    fn what_is_malformed_is_an_error() {
        let mut good = Writer::default();
        good.bytes(1, &series_message());
        // Cut anywhere, it is an error or a message with less in it; never a panic.
        for end in 0..good.0.len() {
            let _ = write_request(&good.0[..end], |_| ());
            let _ = write_request_2(&good.0[..end], |_| ());
            let _ = read_request(&good.0[..end]);
        }
        for (message, reason) in [
            (&[0x0a, 0x05][..], "cut short"),
            (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "a number is too long"),
            (&[0x0b], "an unknown type of field"),
            (&[0x08, 0x01], "a field has another type"),
            (&[0x0a, 0x04, 0x0a, 0x02, 0x0a, 0x00, 0xff], "cut short"),
        ] {
            assert_eq!(write_request(message, |_| ()), Err(Malformed(reason)), "{message:?}");
        }
        let mut series = Writer::default();
        series.bytes(1, &[9, 9]);
        let mut two = Writer::default();
        two.bytes(5, &series.0);
        assert_eq!(write_request_2(&two.0, |_| ()), Err(Malformed("a symbol that is not there")));
    }
}
