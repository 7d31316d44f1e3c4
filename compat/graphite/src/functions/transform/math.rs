//! Value by value.

use crate::eval::{Stop, Value};
use crate::functions::Param as P;
use crate::functions::ParamType as T;
use crate::functions::special::generate;
use crate::functions::support::power;
use crate::functions::{Default, Function, Group, Invocation};
use crate::python;
use crate::series::{AggFunc, TagValue};
use rhythmite_model::{Error, Result};

pub(crate) const ALL: &[Function] = &[
    plain(&["absolute"], "The absolute value.", |c| each(c, "absolute", 1, f64::abs)),
    plain(&["exp"], "e to the power of the value; unknown where that is too large.", |c| {
        each(c, "exp", "e", |v| finite(v.exp()))
    }),
    plain(&["invert"], "One divided by the value; unknown for zero.", |c| each(c, "invert", 1, |v| power(v, -1.0))),
    plain(&["logit"], "log(v / (1 - v)); unknown outside 0 to 1.", |c| {
        each(c, "logit", "logit", |v| finite((v / (1.0 - v)).ln()))
    }),
    plain(&["sigmoid"], "1 / (1 + exp(-v)).", |c| each(c, "sigmoid", "sigmoid", |v| 1.0 / (1.0 + (-v).exp()))),
    plain(&["squareRoot"], "The square root; unknown for negative values.", |c| {
        each(c, "squareRoot", 1, |v| power(v, 0.5))
    }),
    ADD,
    IS_NON_NULL,
    LOG,
    MIN_MAX,
    OFFSET,
    OFFSET_TO_ZERO,
    POW,
    ROUND,
    SCALE,
    SCALE_TO_SECONDS,
    SIN_FUNCTION,
    TIME_FUNCTION,
];

const fn plain(
    names: &'static [&'static str],
    about: &'static str,
    run: fn(&mut Invocation<'_, '_, '_>) -> Result<Value, Stop>,
) -> Function {
    const PARAMS: &[P] = &[P::SERIES];
    Function { names, group: Group::Transform, about, params: PARAMS, aggregator: false, run }
}

const ADD: Function = Function {
    names: &["add"],
    group: Group::Transform,
    about: "Adds a constant; the name shows its whole part.",
    params: &[P::SERIES, P::required("constant", T::Float)],
    aggregator: false,
    run: |c| with_number(c, "add", "constant", python::whole, |v, constant| v + constant),
};

const IS_NON_NULL: Function = Function {
    names: &["isNonNull"],
    group: Group::Transform,
    about: "1 where there is a value, else 0.",
    params: &[P::SERIES],
    aggregator: false,
    run: |c| {
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            s.tags.set("isNonNull", 1);
            s.rename(format!("isNonNull({})", s.name));
            s.values_mut().iter_mut().for_each(|v| *v = f64::from(u8::from(!v.is_nan())));
        }
        Ok(series.into())
    },
};

const LOG: Function = Function {
    names: &["log"],
    group: Group::Transform,
    about: "The logarithm; unknown for zero and negative values.",
    params: &[P::SERIES, P::optional("base", T::Integer).or(Default::Int(10))],
    aggregator: false,
    run: |c| {
        let base = c.float("base")?;
        if base <= 0.0 || base == 1.0 {
            return Err(Error::invalid("argument base must be positive and not 1").into());
        }
        let text = c.given("base").map_or("10".to_owned(), Value::text);
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            s.tags.set("log", &text);
            let name = format!("log({}, {text})", s.name);
            let values = s.values.iter().map(|v| if *v > 0.0 { v.ln() / base.ln() } else { f64::NAN }).collect();
            *s = s.derived(name, values);
        }
        Ok(series.into())
    },
};

const MIN_MAX: Function = Function {
    names: &["minMax"],
    group: Group::Transform,
    about: "(v - min) / (max - min); 0 where all values are equal.",
    params: &[P::SERIES],
    aggregator: false,
    run: |c| {
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            s.rename(format!("minMax({})", s.name));
            let (min, max) = (AggFunc::Min.apply(&s.values), AggFunc::Max.apply(&s.values));
            s.map_known(|v| if max == min { 0.0 } else { (v - min) / (max - min) });
        }
        Ok(series.into())
    },
};

const OFFSET: Function = Function {
    names: &["offset"],
    group: Group::Transform,
    about: "Adds a constant.",
    params: &[P::SERIES, P::required("factor", T::Float)],
    aggregator: false,
    run: |c| with_number(c, "offset", "factor", python::general, |v, factor| v + factor),
};

const OFFSET_TO_ZERO: Function = Function {
    names: &["offsetToZero"],
    group: Group::Transform,
    about: "Subtracts the smallest value.",
    params: &[P::SERIES],
    aggregator: false,
    run: |c| {
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            let min = AggFunc::Min.apply(&s.values);
            s.tags.set("offsetToZero", crate::functions::support::text_or_none(min));
            s.rename(format!("offsetToZero({})", s.name));
            s.map_known(|v| v - min);
        }
        Ok(series.into())
    },
};

const POW: Function = Function {
    names: &["pow"],
    group: Group::Transform,
    about: "The value to the power of `factor`.",
    params: &[P::SERIES, P::required("factor", T::Float)],
    aggregator: false,
    run: |c| with_number(c, "pow", "factor", python::general, power),
};

const ROUND: Function = Function {
    names: &["round"],
    group: Group::Transform,
    about: "Rounds to `precision` decimals, halves to even.",
    params: &[P::SERIES, P::optional("precision", T::Integer).or(Default::Int(0))],
    aggregator: false,
    run: |c| {
        let precision = c.opt_int("precision")?;
        let digits = precision.unwrap_or(0);
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            s.tags.set("round", digits);
            s.rename(match precision {
                None => format!("round({})", s.name),
                Some(p) => format!("round({},{})", s.name, python::general(p as f64)),
            });
            s.map_known(|v| python::round(v, digits));
        }
        Ok(series.into())
    },
};

const SCALE: Function = Function {
    names: &["scale"],
    group: Group::Transform,
    about: "Multiplies by `factor`.",
    params: &[P::SERIES, P::required("factor", T::Float)],
    aggregator: false,
    run: |c| with_number(c, "scale", "factor", python::general, |v, factor| v * factor),
};

const SCALE_TO_SECONDS: Function = Function {
    names: &["scaleToSeconds"],
    group: Group::Transform,
    about: "Values per step become values per `seconds`, rounded to six decimals.",
    params: &[P::SERIES, P::required("seconds", T::Float)],
    aggregator: false,
    run: |c| {
        let seconds = c.finite("seconds")?;
        let mut series = c.series("seriesList")?;
        for s in &mut series {
            s.tags.set("scaleToSeconds", seconds);
            s.rename(format!("scaleToSeconds({},{})", s.name, python::whole(seconds)));
            let factor = seconds / s.step_s as f64;
            s.map_known(|v| python::round(v * factor, 6));
        }
        Ok(series.into())
    },
};

const SIN_FUNCTION: Function = Function {
    names: &["sinFunction", "sin"],
    group: Group::Transform,
    about: "A made-up series: the sine of the time in seconds.",
    params: &[
        P::required("name", T::String),
        P::optional("amplitude", T::Integer).or(Default::Int(1)),
        P::optional("step", T::Integer).or(Default::Int(60)),
    ],
    aggregator: false,
    run: |c| {
        let (amplitude, step_s) = (c.float("amplitude")?, c.int("step")?);
        let name = c.text("name")?;
        Ok(vec![generate(c, name, step_s, |ts| (ts as f64).sin() * amplitude)?].into())
    },
};

const TIME_FUNCTION: Function = Function {
    names: &["timeFunction", "time"],
    group: Group::Transform,
    about: "A made-up series: the time itself, in seconds.",
    params: &[P::required("name", T::String), P::optional("step", T::Integer).or(Default::Int(60))],
    aggregator: false,
    run: |c| {
        let (name, step_s) = (c.text("name")?, c.int("step")?);
        Ok(vec![generate(c, name, step_s, |ts| ts as f64)?].into())
    },
};

fn finite(v: f64) -> f64 {
    if v.is_finite() { v } else { f64::NAN }
}

/// Changes every known value and marks the series with a tag.
fn each(
    c: &mut Invocation<'_, '_, '_>,
    function: &str,
    tag: impl TagValue + Copy,
    f: fn(f64) -> f64,
) -> Result<Value, Stop> {
    let mut series = c.series("seriesList")?;
    for s in &mut series {
        s.tags.set(function, tag);
        s.rename(format!("{function}({})", s.name));
        s.map_known(f);
    }
    Ok(series.into())
}

/// The same with a number that name and tag show.
fn with_number(
    c: &mut Invocation<'_, '_, '_>,
    function: &str,
    param: &str,
    shown: fn(f64) -> String,
    f: fn(f64, f64) -> f64,
) -> Result<Value, Stop> {
    let number = c.float(param)?;
    let mut series = c.series("seriesList")?;
    for s in &mut series {
        s.tags.set(function, number);
        s.rename(format!("{function}({},{})", s.name, shown(number)));
        s.map_known(|v| f(v, number));
    }
    Ok(series.into())
}
