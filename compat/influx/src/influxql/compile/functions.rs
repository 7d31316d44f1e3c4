//! The arguments of each function.

use super::super::duration::DurationLiteral;
use super::super::expr::{Call, Expr, Literal};
use super::{CompileError, Compiler, Result, not_combined};

/// Functions of numbers, which need no window and may stand in a condition; and their arguments.
const MATH: [(&str, usize); 18] = [
    ("abs", 1),
    ("sin", 1),
    ("cos", 1),
    ("tan", 1),
    ("asin", 1),
    ("acos", 1),
    ("atan", 1),
    ("atan2", 2),
    ("exp", 1),
    ("log", 2),
    ("ln", 1),
    ("log2", 1),
    ("log10", 1),
    ("sqrt", 1),
    ("pow", 2),
    ("floor", 1),
    ("ceil", 1),
    ("round", 1),
];

/// Arguments of a mathematical function, `None` for other functions.
fn math_args(name: &str) -> Option<usize> {
    MATH.iter().find(|(known, _)| *known == name).map(|(_, args)| *args)
}

/// Checks the calls in what is left of a condition: only mathematical functions may be there.
pub(super) fn check_condition(condition: &Expr) -> Result<()> {
    match condition {
        Expr::Binary(binary) => {
            check_condition(&binary.lhs)?;
            check_condition(&binary.rhs)
        }
        Expr::Paren(inner) => check_condition(inner),
        Expr::Call(call) => {
            let Some(expected) = math_args(&call.name) else {
                return refuse(format!("invalid function call in condition: {call}"));
            };
            exactly(call, expected)?;
            call.args.iter().try_for_each(check_condition)
        }
        _ => Ok(()),
    }
}

fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(CompileError::new(message))
}

fn exactly(call: &Call, expected: usize) -> Result<()> {
    match (&call.name, call.args.len()) {
        (_, got) if got == expected => Ok(()),
        (name, got) => refuse(format!("invalid number of arguments for {name}, expected {expected}, got {got}")),
    }
}

fn between(call: &Call, least: usize, most: usize) -> Result<()> {
    match (&call.name, call.args.len()) {
        (_, got) if (least..=most).contains(&got) => Ok(()),
        (name, got) => refuse(format!(
            "invalid number of arguments for {name}, expected at least {least} but no more than {most}, got {got}"
        )),
    }
}

/// The argument at `at` as a whole number, if it is there and is one.
fn integer(call: &Call, at: usize) -> Option<i64> {
    match call.args.get(at) {
        Some(Expr::Literal(Literal::Integer(value))) => Some(*value),
        _ => None,
    }
}

/// The second argument, if it is there, must be a positive duration.
fn positive_duration(call: &Call, otherwise: impl FnOnce(&Expr) -> String) -> Result<()> {
    match call.args.get(1) {
        Some(Expr::Literal(Literal::Duration(ns))) if *ns <= 0 => {
            refuse(format!("duration argument must be positive, got {}", DurationLiteral(*ns)))
        }
        Some(Expr::Literal(Literal::Duration(_))) | None => Ok(()),
        Some(other) => refuse(otherwise(other)),
    }
}

impl Compiler {
    pub(super) fn call(&mut self, call: &Call) -> Result<()> {
        if let Some(expected) = math_args(&call.name) {
            exactly(call, expected)?;
            return call.args.iter().filter(|arg| !arg.is_literal()).try_for_each(|arg| self.expr(arg));
        }
        self.out.calls.push(call.clone());
        match call.name.as_str() {
            "min" | "max" | "first" | "last" => {
                exactly(call, 1)?;
                self.symbol(call)
            }
            "count" | "sum" | "mean" | "median" | "mode" | "stddev" | "spread" => {
                self.out.only_selectors = false;
                exactly(call, 1)?;
                match distinct(&call.args[0]) {
                    Some(inner) if call.name == "count" => self.distinct(&inner, true),
                    _ => self.symbol(call),
                }
            }
            "percentile" => {
                exactly(call, 2)?;
                match call.args[1] {
                    Expr::Literal(Literal::Integer(_) | Literal::Number(_)) => self.symbol(call),
                    _ => refuse("expected float argument in percentile()"),
                }
            }
            "sample" => {
                exactly(call, 2)?;
                match integer(call, 1) {
                    Some(size) if size <= 0 => refuse(format!("sample window must be greater than 1, got {size}")),
                    Some(_) => self.symbol(call),
                    None => refuse("expected integer argument in sample()"),
                }
            }
            "distinct" => self.distinct(call, false),
            "top" | "bottom" => self.top_bottom(call),
            "derivative" | "non_negative_derivative" | "elapsed" => {
                between(call, 1, 2)?;
                positive_duration(call, |other| {
                    format!("second argument to {} must be a duration, got {}", call.name, other.kind_name())
                })?;
                self.transformation(call, 1)
            }
            "difference" | "non_negative_difference" | "cumulative_sum" => {
                exactly(call, 1)?;
                self.transformation(call, 1)
            }
            "moving_average" => {
                exactly(call, 2)?;
                match integer(call, 1) {
                    Some(points) if points <= 1 => {
                        refuse(format!("moving_average window must be greater than 1, got {points}"))
                    }
                    Some(points) => self.transformation(call, points.unsigned_abs()),
                    None => refuse(format!(
                        "second argument for moving_average must be an integer, got {}",
                        call.args[1].kind_name()
                    )),
                }
            }
            "exponential_moving_average"
            | "double_exponential_moving_average"
            | "triple_exponential_moving_average"
            | "relative_strength_index"
            | "triple_exponential_derivative" => self.technical(call, 4, &["exponential", "simple"]),
            "kaufmans_efficiency_ratio" | "kaufmans_adaptive_moving_average" => self.technical(call, 3, &[]),
            "chande_momentum_oscillator" => self.technical(call, 4, &["none", "exponential", "simple"]),
            "integral" => {
                between(call, 1, 2)?;
                positive_duration(call, |_| "second argument must be a duration".to_owned())?;
                self.out.only_selectors = false;
                self.symbol(call)
            }
            "holt_winters" | "holt_winters_with_fit" => self.holt_winters(call),
            name => refuse(format!("undefined function {name}()")),
        }
    }

    /// The first argument must be a field, or what stands for fields.
    fn symbol(&mut self, call: &Call) -> Result<()> {
        let name = &call.name;
        match call.args.first() {
            Some(Expr::VarRef(_)) => return Ok(()),
            Some(Expr::Wildcard(_)) => {
                self.allow_wildcard(&format!("unsupported expression with wildcard: {name}()"))?;
            }
            Some(Expr::Literal(Literal::Regex(_))) => {
                self.allow_wildcard(&format!("unsupported expression with regex field: {name}()"))?;
            }
            _ => return refuse(format!("expected field argument in {name}()")),
        }
        self.out.only_selectors = false;
        Ok(())
    }

    fn distinct(&mut self, call: &Call, nested: bool) -> Result<()> {
        match call.args.as_slice() {
            [] => return refuse("distinct function requires at least one argument"),
            [Expr::VarRef(_)] => {}
            [_] => return refuse("expected field argument in distinct()"),
            _ => return refuse("distinct function can only have one argument"),
        }
        self.has_distinct |= !nested;
        self.out.only_selectors = false;
        Ok(())
    }

    fn top_bottom(&mut self, call: &Call) -> Result<()> {
        let name = &call.name;
        if let Some(other) = &self.top_bottom {
            return Err(not_combined(other));
        }
        let [field, tags @ .., last] = call.args.as_slice() else {
            let got = call.args.len();
            return refuse(format!("invalid number of arguments for {name}, expected at least 2, got {got}"));
        };
        let Expr::Literal(Literal::Integer(count)) = last else {
            return refuse(format!("expected integer as last argument in {name}(), found {last}"));
        };
        if *count <= 0 {
            return refuse(format!("limit ({count}) in {name} function must be at least 1"));
        }
        let limit = self.out.statement.limit;
        if limit > 0 && count.unsigned_abs() > limit {
            return refuse(format!(
                "limit ({count}) in {name} function can not be larger than the LIMIT ({limit}) in the select statement"
            ));
        }
        if !matches!(field, Expr::VarRef(_)) {
            return refuse(format!("expected first argument to be a field in {name}(), found {field}"));
        }
        for tag in tags {
            if !matches!(tag, Expr::VarRef(_)) {
                return refuse(format!("only fields or tags are allowed in {name}(), found {tag}"));
            }
            // Each tag is a column of the answer; what is written to a target has tags of its own.
            if self.out.statement.target.is_none() {
                self.selected += 1;
                self.out.has_bare_fields = true;
            }
        }
        self.top_bottom = Some(name.clone());
        Ok(())
    }

    /// A function of consecutive points, or of an aggregate's windows.
    fn transformation(&mut self, call: &Call, extra_windows: u64) -> Result<()> {
        self.out.only_selectors = false;
        self.out.extra_windows = self.out.extra_windows.max(extra_windows);
        let name = &call.name;
        match &call.args[0] {
            Expr::Call(_) if !self.has_interval() => refuse(format!("{name} aggregate requires a GROUP BY interval")),
            Expr::Call(inner) => self.nested(inner),
            _ if self.has_interval() && !self.out.window_inherited => {
                refuse(format!("aggregate function required inside the call to {name}"))
            }
            _ => self.symbol(call),
        }
    }

    /// Whether `GROUP BY time` names a length: a negative one makes no windows, and is one all the same.
    fn has_interval(&self) -> bool {
        let times = self.out.statement.dimensions.iter().filter_map(|dimension| match dimension {
            Expr::Call(call) => call.args.first(),
            _ => None,
        });
        let mut lengths = times.filter(|length| matches!(length, Expr::Literal(Literal::Duration(ns)) if *ns != 0));
        self.out.window.is_some() || lengths.next().is_some()
    }

    /// A call inside a transformation, where `distinct` is an aggregate like others.
    fn nested(&mut self, inner: &Call) -> Result<()> {
        if inner.name == "distinct" { self.distinct(inner, true) } else { self.call(inner) }
    }

    /// `f(field, period[, hold[, warmup]])`
    fn technical(&mut self, call: &Call, most: usize, warmups: &[&str]) -> Result<()> {
        let name = &call.name;
        between(call, 2, most)?;
        let period = match integer(call, 1) {
            None => return refuse(format!("{name} period must be an integer")),
            Some(period) if period < 1 => {
                return refuse(format!("{name} period must be greater than or equal to 1"));
            }
            Some(period) => period.unsigned_abs(),
        };
        if call.args.len() >= 3 {
            let least = i64::from(name == "triple_exponential_derivative");
            match integer(call, 2) {
                None => return refuse(format!("{name} hold period must be an integer")),
                Some(hold) if hold < least && hold != -1 => {
                    return refuse(format!("{name} hold period must be greater than or equal to {least}"));
                }
                Some(_) => {}
            }
        }
        match call.args.get(3) {
            None => {}
            Some(Expr::Literal(Literal::String(warmup))) if warmups.contains(&warmup.as_str()) => {}
            Some(Expr::Literal(Literal::String(_))) => {
                let allowed: Vec<_> = warmups.iter().map(|warmup| format!("'{warmup}'")).collect();
                return refuse(format!("{name} warmup type must be one of: {}", allowed.join(" ")));
            }
            Some(_) => return refuse(format!("{name} warmup type must be a string")),
        }
        self.transformation(call, period)
    }

    fn holt_winters(&mut self, call: &Call) -> Result<()> {
        let name = &call.name;
        exactly(call, 3)?;
        match integer(call, 1) {
            None => return refuse(format!("expected integer argument as second arg in {name}")),
            Some(count) if count <= 0 => {
                return refuse(format!("second arg to {name} must be greater than 0, got {count}"));
            }
            Some(_) => {}
        }
        match integer(call, 2) {
            None => return refuse(format!("expected integer argument as third arg in {name}")),
            Some(season) if season < 0 => {
                return refuse(format!("third arg to {name} cannot be negative, got {season}"));
            }
            Some(_) => {}
        }
        self.out.only_selectors = false;
        match &call.args[0] {
            Expr::Call(_) if !self.has_interval() => refuse(format!("{name} aggregate requires a GROUP BY interval")),
            Expr::Call(inner) => self.nested(inner),
            _ => refuse(format!("must use aggregate function with {name}")),
        }
    }
}

/// `distinct(x)` or `DISTINCT x` as a call.
fn distinct(expr: &Expr) -> Option<Call> {
    match expr {
        Expr::Call(call) if call.name == "distinct" => Some(call.clone()),
        other => other.distinct_call(),
    }
}
