//! The rules a SELECT must keep before it runs, and what it means by them.
//!
//! In order: the condition is split into bounds of time and the rest, the dimensions give the
//! window, each field is checked from the outside in, then the fields against each other, then
//! the subqueries, which inherit bounds, window and order. The first rule broken is the error.
//!
//! Nothing is known of the data here: whether a name is a field, and of which type, is checked
//! when the statement runs.

mod functions;

use super::condition::{TIME_MAX_NS, TIME_MIN_NS, TimeRange, time_range};
use super::expr::{Call, Expr, Literal};
use super::reduce::{Known, reduce};
use super::select::{Field, Fill, SelectStatement, Source};
use super::time::{is_time_literal, parse_time};
use std::fmt;

/// A rule that a statement breaks, in 1.x's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError(String);

impl CompileError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CompileError {}

type Result<T> = std::result::Result<T, CompileError>;

/// What InfluxDB 1.x answers by mistake, and has corrected later or never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mistakes {
    /// Made as InfluxDB 1.6 makes them.
    #[default]
    Kept,
    /// Not made.
    Corrected,
}

/// A SELECT that keeps the rules, with what follows from them.
#[derive(Clone, Debug, PartialEq)]
pub struct Compiled {
    /// The statement, rewritten: constants folded, `time` removed from fields and condition,
    /// `DISTINCT x` as `distinct(x)`. Wildcards are still there.
    pub statement: SelectStatement,
    /// The earliest time of a point that counts, in nanoseconds since the epoch.
    pub min_ns: i64,
    /// The latest. With a window and no upper bound this is now.
    pub max_ns: i64,
    /// The bounds that the statement itself has, not those of statements around it.
    pub own_range: TimeRange,
    /// `GROUP BY time(...)`, the parent's for a subquery without one of its own.
    pub window: Option<Window>,
    /// The window is the parent's.
    pub window_inherited: bool,
    /// Oldest first.
    pub ascending: bool,
    /// What is put into windows without points.
    pub fill: Fill,
    /// The name of the time column.
    pub time_column: String,
    /// The calls of aggregates, selectors and transformations; those inside others come after them.
    /// `distinct` inside another call is not listed.
    pub calls: Vec<Call>,
    /// All calls are selectors, which choose points and keep their times.
    pub only_selectors: bool,
    /// Fields or tags are selected beside the calls, or without any.
    pub has_bare_fields: bool,
    /// Windows to read before the first one (after the last one if newest first), so that
    /// transformations have something to start from.
    pub extra_windows: u64,
    /// The subqueries among the sources, in their order.
    pub subqueries: Vec<Compiled>,
    /// Whether 1.x is followed where it is wrong.
    pub mistakes: Mistakes,
}

/// Windows of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Length; positive.
    pub every_ns: i64,
    /// Start of the windows relative to the epoch, with the sign it was written with.
    pub offset_ns: i64,
}

/// Checks a statement and resolves it.
///
/// `now_ns` is the value of `now()`.
///
/// # Errors
/// The first rule that is broken.
pub fn compile(statement: &SelectStatement, now_ns: i64, mistakes: Mistakes) -> Result<Compiled> {
    let mut compiler = Compiler::begin(statement, now_ns, mistakes)?;
    compiler.compile(now_ns)?;
    Ok(compiler.out)
}

/// Checks a statement.
///
/// # Errors
/// The first rule that is broken.
pub fn check(statement: &SelectStatement) -> Result<()> {
    compile(statement, 0, Mistakes::Kept).map(drop)
}

struct Compiler {
    out: Compiled,
    /// `distinct` outside of other calls was seen.
    has_distinct: bool,
    /// `top` or `bottom` was seen.
    top_bottom: Option<String>,
    /// How often something is selected; `top` and `bottom` select their tags too.
    selected: usize,
    /// The field being compiled may have a wildcard.
    wildcard_allowed: bool,
}

impl Compiler {
    /// Reads what holds for the whole statement: bounds of time, window, order.
    fn begin(statement: &SelectStatement, now_ns: i64, mistakes: Mistakes) -> Result<Self> {
        let mut statement = statement.clone();
        let known = Known { now_ns: Some(now_ns), zone: statement.zone.as_ref(), math: false };
        let (condition, range) = time_range(statement.condition.as_ref(), &known)?;
        if let Some(condition) = &condition {
            functions::check_condition(condition)?;
        }
        statement.condition = condition;
        let window = window(&mut statement, now_ns)?;
        let TimeRange { min_ns, max_ns } = range;
        let latest_ns = if window.is_some() { now_ns } else { TIME_MAX_NS };
        let out = Compiled {
            min_ns: min_ns.unwrap_or(TIME_MIN_NS),
            max_ns: max_ns.unwrap_or(latest_ns),
            own_range: range,
            window,
            window_inherited: false,
            ascending: statement.ascending(),
            fill: statement.fill,
            time_column: "time".to_owned(),
            calls: Vec::new(),
            only_selectors: true,
            has_bare_fields: false,
            extra_windows: 0,
            subqueries: Vec::new(),
            mistakes,
            statement,
        };
        Ok(Self { out, has_distinct: false, top_bottom: None, selected: 0, wildcard_allowed: true })
    }

    fn compile(&mut self, now_ns: i64) -> Result<()> {
        self.fields()?;
        self.check_fields()?;
        let sources = std::mem::take(&mut self.out.statement.sources);
        for source in &sources {
            if let Source::Subquery(statement) = source {
                let subquery = self.subquery(statement, now_ns)?;
                self.out.subqueries.push(subquery);
            }
        }
        self.out.statement.sources = sources;
        Ok(())
    }

    fn fields(&mut self) -> Result<()> {
        for mut field in std::mem::take(&mut self.out.statement.fields) {
            // The time is always selected; naming it can only rename its column.
            if matches!(&field.expr, Expr::VarRef(var) if var.name == "time") {
                if let Some(alias) = field.alias {
                    self.out.time_column = alias;
                }
                continue;
            }
            field.expr = reduce(field.expr, &Known { math: true, ..Known::default() });
            self.selected += 1;
            self.wildcard_allowed = true;
            self.expr(&field.expr)?;
            field.expr.walk_mut(&mut |expr| {
                if let Some(call) = expr.distinct_call() {
                    *expr = Expr::Call(call);
                }
            });
            self.out.statement.fields.push(field);
        }
        Ok(())
    }

    fn expr(&mut self, expr: &Expr) -> Result<()> {
        match expr {
            Expr::VarRef(_) => {
                self.out.has_bare_fields = true;
                Ok(())
            }
            Expr::Wildcard(_) => {
                self.out.has_bare_fields = true;
                self.allow_wildcard("unable to use wildcard in a binary expression")
            }
            Expr::Literal(Literal::Regex(_)) => {
                self.out.has_bare_fields = true;
                self.allow_wildcard("unable to use regex in a binary expression")
            }
            Expr::Call(call) => self.call(call),
            Expr::Distinct(_) => match expr.distinct_call() {
                Some(call) => self.call(&call),
                None => Ok(()),
            },
            Expr::Binary(binary) => {
                // Expanding a wildcard inside an operation would give it several values.
                self.wildcard_allowed = false;
                match (binary.lhs.is_literal(), binary.rhs.is_literal()) {
                    (true, true) => Err(CompileError::new("cannot perform a binary expression on two literals")),
                    (true, false) => self.expr(&binary.rhs),
                    (false, true) => self.expr(&binary.lhs),
                    (false, false) => {
                        self.expr(&binary.lhs)?;
                        self.expr(&binary.rhs)
                    }
                }
            }
            Expr::Paren(inner) => self.expr(inner),
            Expr::Literal(_) => Err(CompileError::new("field must contain at least one variable")),
        }
    }

    fn allow_wildcard(&self, otherwise: &str) -> Result<()> {
        if self.wildcard_allowed { Ok(()) } else { Err(CompileError::new(otherwise)) }
    }

    /// Checks the fields against each other.
    fn check_fields(&self) -> Result<()> {
        let out = &self.out;
        let refuse = |message: &str| Err(CompileError::new(message));
        if self.selected == 0 {
            return refuse("at least 1 non-time field must be queried");
        }
        match &self.top_bottom {
            Some(name) if out.calls.len() > 1 => return Err(not_combined(name)),
            _ => {}
        }
        if out.calls.is_empty() {
            match out.fill {
                Fill::None => return refuse("fill(none) must be used with a function"),
                Fill::Linear => return refuse("fill(linear) must be used with a function"),
                _ => {}
            }
            if out.window.is_some() && !out.window_inherited {
                return refuse("GROUP BY requires at least one aggregate function");
            }
        }
        if self.has_distinct && (out.calls.len() != 1 || out.has_bare_fields) {
            return refuse("aggregate function distinct() cannot be combined with other functions or fields");
        }
        if out.has_bare_fields && !out.only_selectors {
            return refuse("mixing aggregate and non-aggregate queries is not supported");
        }
        if out.has_bare_fields && out.calls.len() > 1 {
            return refuse("mixing multiple selector functions with tags or fields is not supported");
        }
        Ok(())
    }

    fn subquery(&self, statement: &SelectStatement, now_ns: i64) -> Result<Compiled> {
        let mut subquery = Self::begin(statement, now_ns, self.out.mistakes)?;
        let known = Known { now_ns: Some(now_ns), zone: statement.zone.as_ref(), math: true };
        let out = &mut subquery.out;
        out.statement.condition = out.statement.condition.take().map(|condition| reduce(condition, &known));
        if statement.order.is_some() && out.ascending != self.out.ascending {
            return Err(CompileError::new("subqueries must be ordered in the same direction as the query itself"));
        }
        out.ascending = self.out.ascending;
        out.min_ns = out.min_ns.max(self.out.min_ns);
        out.max_ns = out.max_ns.min(self.out.max_ns);
        if out.window.is_none() && self.out.window.is_some() {
            out.window = self.out.window;
            out.window_inherited = true;
        }
        if out.window.is_some() && !out.window_inherited && out.fill == Fill::Null {
            out.fill = Fill::None;
        }
        subquery.compile(now_ns)?;
        // Windows without points say nothing to the outer query.
        if subquery.out.fill == Fill::Null && !subquery.out.calls.is_empty() {
            subquery.out.fill = Fill::None;
        }
        Ok(subquery.out)
    }
}

fn not_combined(name: &str) -> CompileError {
    CompileError::new(format!("selector function {name}() cannot be combined with other functions"))
}

/// Checks the dimensions and returns the window. Each dimension is folded.
fn window(statement: &mut SelectStatement, now_ns: i64) -> Result<Option<Window>> {
    let refuse = |message: &str| Err(CompileError::new(message));
    let mut window: Option<Window> = None;
    for dimension in &mut statement.dimensions {
        *dimension = reduce(dimension.clone(), &Known::default());
        match dimension {
            dimension if dimension.is_time() => {
                return refuse("time() is a function and expects at least one argument");
            }
            Expr::VarRef(_) | Expr::Wildcard(_) | Expr::Literal(Literal::Regex(_)) => {}
            Expr::Call(call) => {
                if call.name != "time" {
                    return refuse("only time() calls allowed in dimensions");
                }
                if !(1..=2).contains(&call.args.len()) {
                    return refuse("time dimension expected 1 or 2 arguments");
                }
                let Expr::Literal(Literal::Duration(every_ns)) = call.args[0] else {
                    return refuse("time dimension must have duration argument");
                };
                if window.is_some() {
                    return refuse("multiple time dimensions not allowed");
                }
                let offset_ns = match call.args.get_mut(1) {
                    Some(arg) => {
                        let at_ns = offset(arg, now_ns, statement.zone.as_ref())?;
                        let offset_ns = (at_ns % i128::from(every_ns.max(1))) as i64;
                        *arg = Expr::Literal(Literal::Duration(offset_ns));
                        offset_ns
                    }
                    None => 0,
                };
                // 1.x takes a negative length for none.
                if every_ns > 0 {
                    window = Some(Window { every_ns, offset_ns });
                }
            }
            _ => return refuse("only time and tag dimensions allowed"),
        }
    }
    Ok(window)
}

/// Nanoseconds from the year 1 to the epoch: offsets given as an instant count from there.
const YEAR_ONE_NS: i128 = 62_135_596_800_000_000_000;

/// The offset a second argument of `time()` gives, not yet cut to the window.
fn offset(arg: &Expr, now_ns: i64, zone: Option<&super::time::Zone>) -> Result<i128> {
    let refuse = |message: &str| Err(CompileError::new(message));
    match arg {
        Expr::Literal(Literal::Duration(ns)) => Ok(i128::from(*ns)),
        Expr::Literal(Literal::Time(ns)) => Ok(ns + YEAR_ONE_NS),
        Expr::Call(call) if call.name != "now" => refuse("time dimension offset function must be now()"),
        Expr::Call(call) if !call.args.is_empty() => {
            refuse("time dimension offset now() function requires no arguments")
        }
        Expr::Call(_) => Ok(i128::from(now_ns) + YEAR_ONE_NS),
        Expr::Literal(Literal::String(text)) if is_time_literal(text) => match parse_time(text, zone) {
            Some(ns) => Ok(ns + YEAR_ONE_NS),
            None => refuse("invalid timestamp string"),
        },
        _ => refuse("time dimension offset must be duration or now()"),
    }
}

impl Compiled {
    /// The tags the answer is grouped by, wildcards and patterns left out.
    pub fn group_tags(&self) -> impl Iterator<Item = &str> {
        self.statement.dimensions.iter().filter_map(|dimension| match dimension {
            Expr::VarRef(var) => Some(var.name.as_str()),
            _ => None,
        })
    }

    /// The column names of the answer, once `fields` have no wildcards left.
    pub fn column_names(&self) -> Vec<String> {
        self.statement.column_names(&self.time_column)
    }

    /// The fields, `time` left out.
    pub fn fields(&self) -> &[Field] {
        &self.statement.fields
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Statement, parse_statement};
    use super::*;

    const NOW_NS: i64 = 1_000_000_000_000;

    fn compiled(text: &str) -> Compiled {
        let Statement::Select(select) = parse_statement(text).unwrap() else { panic!("{text} is no SELECT") };
        compile(&select, NOW_NS, Mistakes::Kept).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn without_a_window_time_is_unbounded_and_with_one_it_ends_now() {
        let raw = compiled("SELECT v FROM m WHERE time > 5");
        assert_eq!((raw.min_ns, raw.max_ns, raw.window), (6, TIME_MAX_NS, None));
        let windows = compiled("SELECT mean(v) FROM m GROUP BY time(1m, 90s), host");
        assert_eq!((windows.min_ns, windows.max_ns), (TIME_MIN_NS, NOW_NS));
        assert_eq!(windows.window, Some(Window { every_ns: 60_000_000_000, offset_ns: 30_000_000_000 }));
        assert_eq!(windows.group_tags().collect::<Vec<_>>(), ["host"]);
    }

    #[test]
    fn an_offset_may_be_now_or_an_instant() {
        for text in ["now()", "'1970-01-01T00:16:40Z'"] {
            let windows = compiled(&format!("SELECT mean(v) FROM m GROUP BY time(1m, {text})"));
            assert_eq!(windows.window, Some(Window { every_ns: 60_000_000_000, offset_ns: 40_000_000_000 }), "{text}");
        }
    }

    #[test]
    fn the_statement_is_rewritten() {
        let out = compiled("SELECT time AS t, DISTINCT v FROM m WHERE (host = 'a' AND time > 5)");
        assert_eq!(out.statement.to_string(), "SELECT distinct(v) FROM m WHERE host = 'a'");
        assert_eq!(out.column_names(), ["t", "distinct"]);
    }

    #[test]
    fn calls_and_their_kinds_are_known() {
        let out = compiled("SELECT derivative(mean(v), 1s) FROM m WHERE time > 0 GROUP BY time(1m)");
        assert_eq!(out.calls.iter().map(|call| call.name.as_str()).collect::<Vec<_>>(), ["derivative", "mean"]);
        assert_eq!((out.only_selectors, out.extra_windows, out.has_bare_fields), (false, 1, false));
        let out = compiled("SELECT max(v), host FROM m");
        assert_eq!((out.only_selectors, out.extra_windows, out.has_bare_fields), (true, 0, true));
        let out = compiled("SELECT moving_average(mean(v), 5) FROM m GROUP BY time(1m)");
        assert_eq!(out.extra_windows, 5);
    }

    #[test]
    fn subqueries_inherit() {
        let out = compiled(
            "SELECT mean(v) FROM (SELECT max(v) AS v FROM m WHERE time < 900s AND x > 1 + 1), (SELECT min(v) AS v FROM m GROUP BY time(1s)) \
             WHERE time >= 60s GROUP BY time(1m) ORDER BY time DESC",
        );
        let [first, second] = out.subqueries.as_slice() else { panic!("two subqueries") };
        assert_eq!((first.min_ns, first.max_ns), (60_000_000_000, 899_999_999_999));
        assert_eq!((first.window, first.window_inherited, first.ascending), (out.window, true, false));
        assert_eq!(first.statement.condition.as_ref().map(ToString::to_string).as_deref(), Some("x > 2"));
        assert_eq!(
            (second.window.map(|window| window.every_ns), second.window_inherited),
            (Some(1_000_000_000), false)
        );
        assert_eq!((second.fill, second.max_ns), (Fill::None, NOW_NS));
        let out = compiled("SELECT v FROM (SELECT v FROM m WHERE time < 900s) WHERE time < 30s");
        assert_eq!(out.subqueries[0].max_ns, 29_999_999_999);
    }

    #[test]
    fn a_window_without_length_is_none() {
        assert_eq!(compiled("SELECT mean(v) FROM m GROUP BY time(0s)").window, None);
        assert_eq!(compiled("SELECT mean(v) FROM m GROUP BY time(-1m)").window, None);
        let refused = "aggregate function required inside the call to derivative";
        let Statement::Select(select) = parse_statement("SELECT derivative(v) FROM m GROUP BY time(-1m)").unwrap()
        else {
            panic!("no SELECT")
        };
        assert_eq!(check(&select).unwrap_err().to_string(), refused);
        assert_eq!(compiled("SELECT derivative(mean(v)) FROM m GROUP BY time(-1m)").window, None);
    }
}
