use crate::{FieldId, FieldType};

/// What is kept of the points of one window of a coarser level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Aggregate {
    /// How many values there are. NaN is none, here and below.
    Count = 0,
    /// Their sum, in the order of time; integers wrap around.
    Sum = 1,
    /// The least.
    Min = 2,
    /// The greatest.
    Max = 3,
    /// The first in time.
    First = 4,
    /// The last in time.
    Last = 5,
    /// The first of those farthest from zero.
    AbsMax = 6,
    /// The first of those nearest to zero.
    AbsMin = 7,
    /// The middle one, or the mean of the two in the middle.
    Median = 8,
    /// How many values lie in which buckets ([`Counts`](crate::sketch::Counts) as text): quantiles may be made of the sum of
    /// several.
    Sketch = 9,
}

impl Aggregate {
    /// All, by their codes.
    pub const ALL: [Aggregate; 10] = [
        Aggregate::Count,
        Aggregate::Sum,
        Aggregate::Min,
        Aggregate::Max,
        Aggregate::First,
        Aggregate::Last,
        Aggregate::AbsMax,
        Aggregate::AbsMin,
        Aggregate::Median,
        Aggregate::Sketch,
    ];
    /// Fields of a table that have aggregates: those with smaller numbers. Of others coarser levels keep nothing.
    pub const FIELDS_MAX: u16 = 1 << 12;

    /// The number under which the aggregate of a field is stored; `None` from [`Aggregate::FIELDS_MAX`] on.
    pub fn of(self, field: FieldId) -> Option<FieldId> {
        (field.0 < Self::FIELDS_MAX).then_some(FieldId(field.0 << 4 | self as u16))
    }

    /// What is stored under a number: the field, and which of its aggregates.
    pub fn split(stored: FieldId) -> (FieldId, Option<Self>) {
        (FieldId(stored.0 >> 4), Self::ALL.get(usize::from(stored.0 & 15)).copied())
    }

    /// `count sum min max first last absmax absmin median sketch`.
    pub fn name(self) -> &'static str {
        ["count", "sum", "min", "max", "first", "last", "absmax", "absmin", "median", "sketch"][self as usize]
    }

    /// The type it has of values of a type; `None` where there is no such thing.
    pub fn field_type(self, of: FieldType) -> Option<FieldType> {
        let is_text = of == FieldType::String;
        match self {
            Aggregate::Count => Some(FieldType::Integer),
            Aggregate::First | Aggregate::Last => Some(of),
            Aggregate::Min | Aggregate::Max => (!is_text).then_some(of),
            Aggregate::Sum => (!is_text && of != FieldType::Boolean).then_some(of),
            Aggregate::Sketch => {
                matches!(of, FieldType::Float | FieldType::Integer | FieldType::Unsigned).then_some(FieldType::String)
            }
            Aggregate::AbsMax | Aggregate::AbsMin | Aggregate::Median => (of == FieldType::Float).then_some(of),
        }
    }
}

/// Some aggregates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Aggregates(u16);

impl Aggregates {
    /// What every coarser level keeps.
    pub const USUAL: Self = Self::NONE
        .with(Aggregate::Count)
        .with(Aggregate::Sum)
        .with(Aggregate::Min)
        .with(Aggregate::Max)
        .with(Aggregate::Last);
    /// None of them.
    pub const NONE: Self = Self(0);

    /// These and another.
    #[must_use]
    pub const fn with(self, aggregate: Aggregate) -> Self {
        Self(self.0 | 1 << aggregate as u16)
    }

    /// Whether it is among them.
    pub fn has(self, aggregate: Aggregate) -> bool {
        self.0 >> aggregate as u16 & 1 == 1
    }

    /// Whether all of `others` are among them.
    pub fn has_all(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// Those of both.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// One by one, by their codes.
    pub fn iter(self) -> impl Iterator<Item = Aggregate> {
        Aggregate::ALL.into_iter().filter(move |a| self.has(*a))
    }

    /// As a number for the catalogue: bit `n` is the aggregate with code `n`.
    pub fn bits(self) -> u16 {
        self.0
    }

    /// The inverse of [`Aggregates::bits`]; unknown bits are dropped.
    pub fn from_bits(bits: u16) -> Self {
        Self(bits & ((1 << Aggregate::ALL.len()) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_and_its_aggregate_are_one_number() {
        for field in [0, 1, 77, Aggregate::FIELDS_MAX - 1] {
            for aggregate in Aggregate::ALL {
                let stored = aggregate.of(FieldId(field)).unwrap();
                assert_eq!(Aggregate::split(stored), (FieldId(field), Some(aggregate)));
            }
        }
        assert_eq!(Aggregate::Sum.of(FieldId(Aggregate::FIELDS_MAX)), None);
        assert_eq!(Aggregate::split(FieldId(31)), (FieldId(1), None));
        assert_eq!(
            Aggregates::USUAL.iter().map(Aggregate::name).collect::<Vec<_>>(),
            ["count", "sum", "min", "max", "last"]
        );
        assert_eq!(Aggregates::from_bits(u16::MAX).iter().count(), 10);
    }
}
