//! Mathematical functions over columns.

use rhythmite_influx::influxql::Mistakes;
use rhythmite_model::{Column, FieldType};

use super::eval::Operand;

/// A function of one or two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Abs,
    /// Of floats; whole numbers stay what they are.
    AbsOfFloats,
    Rounding(Rounding),
    One(One),
    Two(Two),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    Floor,
    Ceil,
    Round,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum One {
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Exp,
    Ln,
    Log2,
    Log10,
    Sqrt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Two {
    Atan2,
    Pow,
    Log,
}

impl Function {
    pub(super) fn named(name: &str, mistakes: Mistakes) -> Option<Self> {
        Some(match name {
            "abs" if mistakes == Mistakes::Kept => Function::AbsOfFloats,
            "abs" => Function::Abs,
            "floor" => Function::Rounding(Rounding::Floor),
            "ceil" => Function::Rounding(Rounding::Ceil),
            "round" => Function::Rounding(Rounding::Round),
            "sin" => Function::One(One::Sin),
            "cos" => Function::One(One::Cos),
            "tan" => Function::One(One::Tan),
            "asin" => Function::One(One::Asin),
            "acos" => Function::One(One::Acos),
            "atan" => Function::One(One::Atan),
            "exp" => Function::One(One::Exp),
            "ln" => Function::One(One::Ln),
            "log2" => Function::One(One::Log2),
            "log10" => Function::One(One::Log10),
            "sqrt" => Function::One(One::Sqrt),
            "atan2" => Function::Two(Two::Atan2),
            "pow" => Function::Two(Two::Pow),
            "log" => Function::Two(Two::Log),
            _ => return None,
        })
    }

    /// Of what is no number the result is null.
    pub(super) fn call(self, args: &[Operand<'_>], rows: usize) -> Operand<'static> {
        self.values(args, rows).map_or_else(Operand::null, |values| {
            let args: Vec<_> = args.iter().collect();
            Operand::rows(values, Operand::valid(&args, rows))
        })
    }

    fn values(self, args: &[Operand<'_>], rows: usize) -> Option<Column> {
        let first = args.first()?;
        // Whole numbers are round already.
        let whole = match first.field_type()? {
            FieldType::Integer => true,
            FieldType::Unsigned => {
                if matches!(self, Function::Abs | Function::AbsOfFloats | Function::Rounding(_)) {
                    return Some(Column::Unsigned(first.integers()?.map(rows, |v| v as u64)));
                }
                false
            }
            _ => false,
        };
        Some(match self {
            Function::Abs if whole => Column::Integer(first.integers()?.map(rows, i64::wrapping_abs)),
            Function::Rounding(_) | Function::AbsOfFloats if whole => {
                Column::Integer(first.integers()?.map(rows, |v| v))
            }
            Function::Abs | Function::AbsOfFloats => Column::Float(first.floats()?.map(rows, f64::abs)),
            Function::Rounding(how) => {
                let f = match how {
                    Rounding::Floor => f64::floor,
                    Rounding::Ceil => f64::ceil,
                    // Halves away from zero.
                    Rounding::Round => f64::round,
                };
                Column::Float(first.floats()?.map(rows, f))
            }
            Function::One(one) => {
                let f = match one {
                    One::Sin => f64::sin,
                    One::Cos => f64::cos,
                    One::Tan => f64::tan,
                    One::Asin => f64::asin,
                    One::Acos => f64::acos,
                    One::Atan => f64::atan,
                    One::Exp => f64::exp,
                    One::Ln => f64::ln,
                    One::Log2 => f64::log2,
                    One::Log10 => f64::log10,
                    One::Sqrt => f64::sqrt,
                };
                Column::Float(first.floats()?.map(rows, f))
            }
            Function::Two(two) => {
                let f = match two {
                    Two::Atan2 => f64::atan2,
                    Two::Pow => f64::powf,
                    Two::Log => |value: f64, base: f64| value.ln() / base.ln(),
                };
                Column::Float(first.floats()?.zip(&args.get(1)?.floats()?, rows, f))
            }
        })
    }
}
