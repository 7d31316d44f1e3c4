//! Functions that say how a series is drawn.

use super::Param as P;
use super::ParamType as T;
use super::special::constant_line;
use super::{Default, Function, Group, Invocation};
use crate::eval::{Stop, Value};
use crate::series::{Series, UNNAMED};
use rhythmite_model::{Error, Result};

pub(super) const ALL: &[Function] = &[
    ALPHA,
    AREA_BETWEEN,
    COLOR,
    DASHED,
    DRAW_AS_INFINITE,
    LINE_WIDTH,
    SECOND_Y_AXIS,
    STACKED,
    THRESHOLD,
    VERTICAL_LINE,
];

const ALPHA: Function = Function {
    names: &["alpha"],
    group: Group::Graph,
    about: "Draws with the given opacity, 0 to 1.",
    params: &[P::SERIES, P::required("alpha", T::Float)],
    aggregator: false,
    run: |c| {
        let alpha = c.float("alpha")?;
        each(c, |s| s.look.alpha = Some(alpha))
    },
};

const AREA_BETWEEN: Function = Function {
    names: &["areaBetween"],
    group: Group::Graph,
    about: "Fills the area between exactly two series.",
    params: &[P::SERIES],
    aggregator: false,
    run: |c| {
        let series = c.series("seriesList")?;
        Ok(area_between(series, "areaBetween")?.into())
    },
};

const COLOR: Function = Function {
    names: &["color"],
    group: Group::Graph,
    about: "Draws in the given colour.",
    params: &[P::SERIES, P::required("theColor", T::String)],
    aggregator: false,
    run: |c| {
        let color = c.text("theColor")?;
        each(c, |s| s.look.color = Some(color.clone()))
    },
};

const DASHED: Function = Function {
    names: &["dashed"],
    group: Group::Graph,
    about: "Draws a dashed line.",
    params: &[P::SERIES, P::optional("dashLength", T::Integer).or(Default::Int(5))],
    aggregator: false,
    run: |c| {
        let (length, text) = (c.float("dashLength")?, c.given("dashLength").map_or("5".to_owned(), Value::text));
        each(c, |s| {
            s.tags.set("dashed", &text);
            s.name = format!("dashed({}, {})", s.name, crate::python::general(length));
            s.look.dashed = Some(length);
        })
    },
};

const DRAW_AS_INFINITE: Function = Function {
    names: &["drawAsInfinite"],
    group: Group::Graph,
    about: "Draws a vertical line for every value that is not zero.",
    params: &[P::SERIES],
    aggregator: false,
    run: |c| {
        each(c, |s| {
            s.look.draw_as_infinite = true;
            s.tags.set("drawAsInfinite", 1);
            s.name = format!("drawAsInfinite({})", s.name);
        })
    },
};

const LINE_WIDTH: Function = Function {
    names: &["lineWidth"],
    group: Group::Graph,
    about: "Draws with a line of the given width.",
    params: &[P::SERIES, P::required("width", T::Float)],
    aggregator: false,
    run: |c| {
        let width = c.float("width")?;
        each(c, |s| s.look.line_width = Some(width))
    },
};

const SECOND_Y_AXIS: Function = Function {
    names: &["secondYAxis"],
    group: Group::Graph,
    about: "Draws on the right axis.",
    params: &[P::SERIES],
    aggregator: false,
    run: |c| {
        each(c, |s| {
            s.look.second_y_axis = true;
            s.tags.set("secondYAxis", 1);
            s.name = format!("secondYAxis({})", s.name);
        })
    },
};

const DEFAULT_STACK: &str = "__DEFAULT__";

const STACKED: Function = Function {
    names: &["stacked"],
    group: Group::Graph,
    about: "Adds the series up, each on top of those before it on the same stack, in this call or an earlier one.",
    params: &[P::SERIES, P::optional("stack", T::String)],
    aggregator: false,
    run: |c| {
        let stack = match c.given("stack") {
            None => DEFAULT_STACK.to_owned(),
            // None is a name like any other.
            Some(given) => given.text(),
        };
        let series = c.series("seriesList")?;
        let is_default = stack == DEFAULT_STACK;
        let totals = c.eval.stacks.entry(stack).or_default();
        let results = series.into_iter().map(|mut s| {
            totals.resize(totals.len().max(s.values.len()), 0.0);
            let add = |(v, total): (&f64, &mut f64)| {
                if v.is_nan() {
                    return f64::NAN;
                }
                *total += v;
                *total
            };
            let values = s.values.iter().zip(totals.iter_mut()).map(add).collect();
            let name = if is_default { format!("stacked({})", s.name) } else { s.name.clone() };
            if is_default {
                s.tags.set("stacked", DEFAULT_STACK);
            }
            let mut result = s.derived(name, values);
            result.look.stacked = true;
            result
        });
        Ok(results.collect::<Vec<_>>().into())
    },
};

const THRESHOLD: Function = Function {
    names: &["threshold"],
    group: Group::Graph,
    about: "A horizontal line with a label and a colour.",
    params: &[P::required("value", T::Float), P::optional("label", T::String), P::optional("color", T::String)],
    aggregator: false,
    run: |c| {
        let value = c.float("value")?;
        let mut line = constant_line(c.scope, value, &crate::python::repr(value));
        if let Some(label) = c.opt_text("label")?.filter(|l| !l.is_empty()) {
            line.name = label;
        }
        line.look.color = c.opt_text("color")?.filter(|l| !l.is_empty());
        Ok(vec![line].into())
    },
};

const VERTICAL_LINE: Function = Function {
    names: &["verticalLine"],
    group: Group::Graph,
    about: "A vertical line at an instant within the range, with a label and a colour.",
    params: &[P::required("ts", T::Date), P::optional("label", T::String), P::optional("color", T::String)],
    aggregator: false,
    run: |c| {
        let at_s = c.opt_time("ts")?.ok_or_else(|| Error::invalid("missing argument ts"))?;
        if at_s < c.scope.from_s {
            return Err(Error::invalid(format!("verticalLine(): timestamp {at_s} exists before start of range")).into());
        }
        if at_s > c.scope.until_s {
            return Err(Error::invalid(format!("verticalLine(): timestamp {at_s} exists after end of range")).into());
        }
        let label = c.opt_text("label")?;
        let unnamed = label.is_none();
        let mut line = Series::new(label.unwrap_or_else(|| UNNAMED.to_owned()), at_s, at_s, 1, vec![1.0, 1.0]);
        line.look.unnamed = unnamed;
        line.x_files_factor = c.scope.x_files_factor;
        line.look.draw_as_infinite = true;
        line.look.color = c.opt_text("color")?.filter(|l| !l.is_empty());
        Ok(vec![line].into())
    },
};

fn each(c: &mut Invocation<'_, '_, '_>, change: impl Fn(&mut Series)) -> Result<Value, Stop> {
    let mut series = c.series("seriesList")?;
    series.iter_mut().for_each(change);
    Ok(series.into())
}

/// Two series as the edges of an area; both get the same name and the upper one's tags.
pub(super) fn area_between(mut series: Vec<Series>, function: &str) -> Result<Vec<Series>> {
    let [lower, upper] = series.as_mut_slice() else {
        return Err(Error::invalid("areaBetween series argument must reference *exactly* 2 series"));
    };
    lower.look.stacked = true;
    lower.look.invisible = true;
    upper.look.stacked = true;
    upper.tags.set(function, 1);
    lower.tags = upper.tags.clone();
    upper.name = format!("{function}({})", upper.path_expression);
    lower.name.clone_from(&upper.name);
    Ok(series)
}
