use super::{Default, Function, Param};
use crate::eval::{Evaluator, Scope, Stop, Value};
use crate::series::{AggFunc, Series};
use crate::target::Expr;
use crate::time;
use rhythmite_model::{Error, Result};

/// One call with its arguments bound to the parameters, and the way back into evaluation.
pub(crate) struct Invocation<'c, 'e, 'w> {
    pub(super) function: &'static Function,
    params: &'static [Param],
    bound: Vec<Option<Value>>,
    rest: Vec<Value>,
    /// The first argument as written: what shifted ranges are evaluated from.
    first: Option<&'c Expr>,
    pub(crate) eval: &'c mut Evaluator<'e, 'w>,
    pub(crate) scope: &'c mut Scope,
}

/// A dotted node by its position, counted from the end if negative, or a tag by its name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    At(i64),
    Tag(String),
}

impl<'c, 'e, 'w> Invocation<'c, 'e, 'w> {
    pub(crate) fn new(
        function: &'static Function,
        args: Vec<Value>,
        kwargs: Vec<(&str, Value)>,
        first: Option<&'c Expr>,
        eval: &'c mut Evaluator<'e, 'w>,
        scope: &'c mut Scope,
    ) -> Result<Self> {
        let params = function.params;
        let single = params.iter().filter(|p| !p.multiple).count();
        let mut bound: Vec<Option<Value>> = params.iter().map(|_| None).collect();
        let mut rest = Vec::new();
        for (i, value) in args.into_iter().enumerate() {
            if i < single {
                bound[i] = Some(value);
            } else if single < params.len() {
                rest.push(value);
            } else {
                return Err(Error::invalid(format!("too many arguments, at most {single} are taken")));
            }
        }
        for (name, value) in kwargs {
            match params.iter().position(|p| p.name == name && !p.multiple) {
                Some(i) if bound[i].is_none() => bound[i] = Some(value),
                Some(_) => return Err(Error::invalid(format!("argument {name} is given twice"))),
                None => return Err(Error::invalid(format!("unexpected argument {name}"))),
            }
        }
        Ok(Self { function, params, bound, rest, first, eval, scope })
    }

    /// Calls another function with values in the place of expressions.
    pub(crate) fn call(&mut self, function: &'static Function, args: Vec<Value>) -> Result<Value, Stop> {
        self.eval.work.call()?;
        let mut inner = Invocation::new(function, args, Vec::new(), self.first, self.eval, self.scope)?;
        (function.run)(&mut inner)
    }

    /// Evaluates the first argument again in another range. What `setXFilesFactor()` sets there
    /// stays there.
    pub(crate) fn first_in_range(&mut self, from_s: i64, until_s: i64) -> Result<Vec<Series>, Stop> {
        debug_assert!(self.function.looks_elsewhere(), "{:?} is not among those that do", self.function);
        let Some(first) = self.first else {
            return Err(Error::invalid("the first argument must not be a named one").into());
        };
        if from_s >= until_s {
            return Ok(Vec::new());
        }
        let mut scope = self.scope.in_range(from_s, until_s);
        self.eval.again(first, &mut scope)
    }

    /// So many points more are about to be worked on than the call is given and makes.
    ///
    /// # Errors
    /// `Invalid` when the request has done too much; `Unavailable` when nobody waits any more.
    pub(crate) fn charge(&mut self, points: usize) -> Result<()> {
        self.eval.work.charge(points)
    }

    fn position(&self, name: &str) -> usize {
        self.params.iter().position(|p| p.name == name).expect("functions ask for parameters they declare")
    }

    /// The argument, unless it is left out or none.
    fn optional(&self, name: &str) -> Option<&Value> {
        self.bound[self.position(name)].as_ref().filter(|v| !matches!(v, Value::None))
    }

    /// Has the function a parameter of that name?
    pub(crate) fn declares(&self, name: &str) -> bool {
        self.params.iter().any(|p| p.name == name)
    }

    /// The argument, if it was given at all.
    pub(crate) fn given(&self, name: &str) -> Option<&Value> {
        self.bound[self.position(name)].as_ref()
    }

    fn default(&self, name: &str) -> Default {
        self.params[self.position(name)].default
    }

    fn missing(name: &str) -> Error {
        Error::invalid(format!("missing argument {name}"))
    }

    fn wrong(name: &str, kind: &str, value: &Value) -> Error {
        Error::invalid(format!("argument {name} must be {kind}, not {}", value.describe()))
    }

    /// Takes a list of series out.
    pub(crate) fn series(&mut self, name: &str) -> Result<Vec<Series>> {
        self.opt_series(name)?.ok_or_else(|| Self::missing(name))
    }

    /// Takes a list of series out, if there is one.
    pub(crate) fn opt_series(&mut self, name: &str) -> Result<Option<Vec<Series>>> {
        let at = self.position(name);
        match self.bound[at].take() {
            None | Some(Value::None) => Ok(None),
            Some(Value::Series(series)) => Ok(Some(series)),
            Some(Value::Lists(lists)) if lists.is_empty() => Ok(Some(Vec::new())),
            Some(other) => Err(Self::wrong(name, "a list of series", &other)),
        }
    }

    /// Takes groups of series out.
    pub(crate) fn lists(&mut self, name: &str) -> Result<Vec<Vec<Series>>> {
        let at = self.position(name);
        match self.bound[at].take() {
            None | Some(Value::None) => Err(Self::missing(name)),
            Some(Value::Lists(lists)) => Ok(lists),
            Some(Value::Series(series)) if series.is_empty() => Ok(Vec::new()),
            Some(other) => Err(Self::wrong(name, "groups of series, as mapSeries() makes them,", &other)),
        }
    }

    /// All series of the parameter that takes many lists, in order; groups are taken apart.
    pub(crate) fn all_series(&mut self) -> Result<Vec<Series>> {
        let mut all = Vec::new();
        for value in self.rest.drain(..) {
            match value {
                Value::Series(series) if all.is_empty() => all = series,
                Value::Series(series) => all.extend(series),
                Value::Lists(lists) if lists.is_empty() => {}
                other => return Err(Self::wrong("seriesLists", "a list of series", &other)),
            }
        }
        Ok(all)
    }

    /// How many arguments the last parameter took.
    pub(crate) fn rest_len(&self) -> usize {
        self.rest.len()
    }

    /// Left out, not none: a default is for the former only.
    fn left_out(&self, name: &str) -> Result<()> {
        if matches!(self.given(name), Some(Value::None)) {
            Err(Self::wrong(name, "a number", &Value::None))
        } else {
            Ok(())
        }
    }

    /// A number that is not infinite.
    pub(crate) fn finite(&self, name: &str) -> Result<f64> {
        let x = self.float(name)?;
        if x.is_finite() { Ok(x) } else { Err(Self::wrong(name, "a finite number", &Value::Float(x))) }
    }

    /// The whole part of a number.
    pub(crate) fn whole(&self, name: &str) -> Result<i64> {
        match self.optional(name) {
            Some(Value::Float(x)) if x.is_finite() => Ok(*x as i64),
            _ => self.int(name),
        }
    }

    pub(crate) fn float(&self, name: &str) -> Result<f64> {
        match (self.opt_float(name)?, self.default(name)) {
            (Some(x), _) => Ok(x),
            (None, Default::Float(x)) => self.left_out(name).map(|()| x),
            (None, Default::Int(i)) => self.left_out(name).map(|()| i as f64),
            _ => Err(Self::missing(name)),
        }
    }

    pub(crate) fn opt_float(&self, name: &str) -> Result<Option<f64>> {
        let Some(value) = self.optional(name) else { return Ok(None) };
        let number = match value {
            Value::Int(i) => Some(*i as f64),
            Value::Float(x) => Some(*x),
            Value::Bool(b) => Some(f64::from(u8::from(*b))),
            Value::Str(s) => s.trim().parse().ok(),
            _ => None,
        };
        number.filter(|x: &f64| !x.is_nan()).map(Some).ok_or_else(|| Self::wrong(name, "a number", value))
    }

    pub(crate) fn int(&self, name: &str) -> Result<i64> {
        match (self.opt_int(name)?, self.default(name)) {
            (Some(i), _) => Ok(i),
            (None, Default::Int(i)) => self.left_out(name).map(|()| i),
            _ => Err(Self::missing(name)),
        }
    }

    pub(crate) fn opt_int(&self, name: &str) -> Result<Option<i64>> {
        self.optional(name).map(|value| Self::to_int(name, value)).transpose()
    }

    fn to_int(name: &str, value: &Value) -> Result<i64> {
        let number = match value {
            Value::Int(i) => Some(*i),
            Value::Bool(b) => Some(i64::from(*b)),
            Value::Str(s) => s.trim().parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| Self::wrong(name, "a whole number", value))
    }

    /// A whole number of points; without limit if it is left out or infinite.
    pub(crate) fn int_or_inf(&self, name: &str) -> Result<usize> {
        match self.optional(name) {
            None => self.left_out(name).map(|()| usize::MAX),
            Some(Value::Float(x)) if *x == f64::INFINITY => Ok(usize::MAX),
            Some(Value::Float(x)) if x.is_finite() => Ok(*x as usize),
            Some(value) => Ok(usize::try_from(Self::to_int(name, value)?).unwrap_or(0)),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Result<String> {
        match (self.opt_text(name)?, self.default(name)) {
            (Some(s), _) => Ok(s),
            (None, Default::Text(s)) => Ok(s.to_owned()),
            _ => Err(Self::missing(name)),
        }
    }

    pub(crate) fn opt_text(&self, name: &str) -> Result<Option<String>> {
        match self.optional(name) {
            None => Ok(None),
            Some(Value::Str(s)) => Ok(Some(s.clone())),
            Some(other) => Err(Self::wrong(name, "a quoted text", other)),
        }
    }

    /// `"true"` and `"false"` count as booleans, other texts and numbers unless empty or zero.
    pub(crate) fn flag(&self, name: &str) -> Result<bool> {
        Ok(match self.optional(name) {
            None => self.given(name).is_none() && self.default(name) == Default::Flag(true),
            Some(Value::Bool(b)) => *b,
            Some(Value::Int(i)) => *i != 0,
            Some(Value::Float(x)) => *x != 0.0,
            Some(Value::Str(s)) => !s.is_empty() && !s.eq_ignore_ascii_case("false"),
            Some(other) => return Err(Self::wrong(name, "true or false", other)),
        })
    }

    /// An aggregation function and the name it was given.
    pub(crate) fn agg_func(&self, name: &str) -> Result<(AggFunc, String)> {
        let text = self.text(name)?;
        Ok((AggFunc::parse(&text)?, text))
    }

    /// An interval in seconds, with its sign, and its text.
    pub(crate) fn interval(&self, name: &str) -> Result<(i64, String)> {
        let text = self.text(name)?;
        Ok((time::parse_interval(&text)?, text))
    }

    /// An interval that is longer than nothing.
    pub(crate) fn positive_interval(&self, name: &str) -> Result<(i64, String)> {
        let (seconds, text) = self.interval(name)?;
        if seconds > 0 {
            Ok((seconds, text))
        } else {
            Err(Error::invalid(format!("argument {name} must be longer than nothing, not {text:?}")))
        }
    }

    /// A time in the request's zone.
    pub(crate) fn opt_time(&self, name: &str) -> Result<Option<i64>> {
        let text = match (self.optional(name), self.default(name)) {
            (None, Default::Text(default)) => default.to_owned(),
            (None, _) => return Ok(None),
            (Some(Value::Int(i)), _) => i.to_string(),
            (Some(_), _) => self.text(name)?,
        };
        time::parse_time(&text, &self.eval.request.zone, self.eval.request.now_s).map(Some)
    }

    pub(crate) fn node(&self, name: &str) -> Result<Node> {
        to_node(name, self.optional(name).ok_or_else(|| Self::missing(name))?)
    }

    /// The nodes of the parameter that takes many.
    pub(crate) fn nodes(&self) -> Result<Vec<Node>> {
        self.rest.iter().map(|value| to_node("nodes", value)).collect()
    }

    /// The whole numbers of the parameter that takes many.
    pub(crate) fn ints(&self) -> Result<Vec<i64>> {
        self.rest.iter().map(|value| Self::to_int("position", value)).collect()
    }

    /// The whole numbers of the parameter that takes many; what is none is no position, and no error.
    pub(crate) fn positions(&self) -> Vec<i64> {
        let position = |value: &Value| match value {
            Value::Int(i) => Some(*i),
            Value::Bool(b) => Some(i64::from(*b)),
            Value::Float(x) if x.fract() == 0.0 => Some(*x as i64),
            _ => None,
        };
        self.rest.iter().filter_map(position).collect()
    }

    /// The texts of the parameter that takes many.
    pub(crate) fn texts(&self) -> Result<Vec<String>> {
        let text = |value: &Value| match value {
            Value::Str(s) => Ok(s.clone()),
            other => Err(Self::wrong("texts", "a quoted text", other)),
        };
        self.rest.iter().map(text).collect()
    }
}

fn to_node(name: &str, value: &Value) -> Result<Node> {
    match value {
        Value::Int(i) => Ok(Node::At(*i)),
        Value::Bool(b) => Ok(Node::At(i64::from(*b))),
        Value::Str(s) => Ok(Node::Tag(s.clone())),
        Value::Float(_) | Value::None | Value::Series(_) | Value::Lists(_) => {
            Err(Error::invalid(format!("argument {name} must be a node or a tag, not {}", value.describe())))
        }
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At(i) => write!(f, "{i}"),
            Self::Tag(tag) => f.write_str(tag),
        }
    }
}
