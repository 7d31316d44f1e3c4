//! The SELECT statement and its clauses.

use super::expr::{Binary, Call, Expr, List};
use super::regex::Regex;
use super::time::Zone;
use super::token::{Ident, Quoted};
use std::collections::HashMap;
use std::fmt;

/// `SELECT fields [INTO target] FROM sources [WHERE ...] [GROUP BY ...] ...`
#[derive(Clone, Debug, PartialEq)]
pub struct SelectStatement {
    /// What is selected; at least one.
    pub fields: Vec<Field>,
    /// Where the answer is written instead of being returned.
    pub target: Option<Measurement>,
    /// Where points come from; at least one.
    pub sources: Vec<Source>,
    /// `WHERE`
    pub condition: Option<Expr>,
    /// `GROUP BY`
    pub dimensions: Vec<Expr>,
    /// `fill(...)`
    pub fill: Fill,
    /// `ORDER BY`
    pub order: Option<SortField>,
    /// Rows per series; 0 is all.
    pub limit: u64,
    /// Rows to skip in each series.
    pub offset: u64,
    /// Series; 0 is all.
    pub slimit: u64,
    /// Series to skip.
    pub soffset: u64,
    /// `tz('...')`
    pub zone: Option<Zone>,
}

/// A selected expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The expression.
    pub expr: Expr,
    /// The name after `AS`, or `None`.
    pub alias: Option<String>,
}

/// Where points come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Measurements of a database and policy.
    Measurement(Measurement),
    /// The rows of another statement.
    Subquery(Box<SelectStatement>),
}

/// `database.policy.name`, by name or by pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The database, or `None` for that of the request.
    pub database: Option<String>,
    /// The retention policy, or `None` for the default one.
    pub policy: Option<String>,
    /// Which measurements.
    pub name: MeasurementName,
}

/// Which measurements are meant.
#[derive(Clone, Debug, PartialEq)]
pub enum MeasurementName {
    /// One.
    Name(String),
    /// All whose name matches.
    Regex(Regex),
    /// `:MEASUREMENT` of a target: the one the rows came from.
    Source,
}

/// What is put into windows without points.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Fill {
    /// Null.
    #[default]
    Null,
    /// Nothing: the window is left out.
    None,
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// The value of the window before.
    Previous,
    /// A value on the line between its neighbours.
    Linear,
}

/// `ORDER BY`; time is the only order there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortField {
    /// What was named: `time`, or `None` for a bare `ASC` or `DESC`.
    pub name: Option<String>,
    /// Oldest first.
    pub ascending: bool,
}

impl SelectStatement {
    /// Oldest first, unless `ORDER BY` says otherwise.
    pub fn ascending(&self) -> bool {
        self.order.as_ref().is_none_or(|order| order.ascending)
    }

    /// True if no function is called: points are returned as they are, or distinct ones.
    pub fn is_raw(&self) -> bool {
        let mut raw = true;
        for field in &self.fields {
            field.expr.walk(&mut |expr| raw &= !matches!(expr, Expr::Call(_)));
        }
        raw
    }

    /// The column names of the answer, `time` (or `time_column`) first.
    ///
    /// Aliases are kept; other names are made unique with `_1`, `_2`... `top` and `bottom` add a
    /// column for each tag they name, unless the answer is written to a target. Wildcards must have
    /// been expanded, `time` must have been removed from the fields.
    pub fn column_names(&self, time_column: &str) -> Vec<String> {
        let mut columns: Vec<(Option<&str>, String)> = Vec::new();
        for field in &self.fields {
            columns.push((field.alias.as_deref(), field.name()));
            if let Expr::Call(call) = &field.expr
                && self.target.is_none()
                && matches!(call.name.as_str(), "top" | "bottom")
            {
                let tags = call.args.iter().skip(1).filter_map(|arg| match arg {
                    Expr::VarRef(var) => Some((None, var.name.clone())),
                    _ => None,
                });
                columns.extend(tags);
            }
        }
        // Times each name was given; aliases come first, wherever they stand.
        let mut seen: HashMap<String, usize> =
            columns.iter().filter_map(|(alias, _)| alias.map(|alias| (alias.to_owned(), 1))).collect();
        let mut names = vec![time_column.to_owned()];
        for (alias, generated) in columns {
            names.push(match alias {
                Some(alias) => alias.to_owned(),
                None => unique(generated, &mut seen),
            });
        }
        names
    }
}

fn unique(name: String, seen: &mut HashMap<String, usize>) -> String {
    let Some(&first) = seen.get(&name) else {
        seen.insert(name.clone(), 1);
        return name;
    };
    let mut count = first;
    let mut numbered = format!("{name}_{count}");
    while seen.contains_key(&numbered) {
        count += 1;
        numbered = format!("{name}_{count}");
    }
    seen.insert(name, count + 1);
    seen.insert(numbered.clone(), 1);
    numbered
}

impl Field {
    /// The alias, else the name of the function or field, joined with `_` over operators. Empty for
    /// what has none.
    pub fn name(&self) -> String {
        self.alias.clone().unwrap_or_else(|| expr_name(&self.expr))
    }
}

fn expr_name(expr: &Expr) -> String {
    match expr {
        Expr::Call(call) => call.name.clone(),
        Expr::VarRef(var) => var.name.clone(),
        Expr::Paren(inner) => expr_name(inner),
        Expr::Binary(binary) => {
            let mut names = Vec::new();
            operand_names(binary, &mut names);
            names.join("_")
        }
        _ => String::new(),
    }
}

/// The names on both sides; those inside a call's parentheses are not seen.
fn operand_names<'a>(binary: &'a Binary, names: &mut Vec<&'a str>) {
    for side in [&binary.lhs, &binary.rhs] {
        let mut side = side;
        while let Expr::Paren(inner) = side {
            side = inner;
        }
        match side {
            Expr::VarRef(var) => names.push(&var.name),
            Expr::Call(Call { name, .. }) => names.push(name),
            Expr::Binary(inner) => operand_names(inner, names),
            _ => {}
        }
    }
}

impl fmt::Display for SelectStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SELECT {}", List(&self.fields))?;
        if let Some(target) = &self.target {
            write!(f, " INTO {target}")?;
        }
        write!(f, " FROM {}", List(&self.sources))?;
        if let Some(condition) = &self.condition {
            write!(f, " WHERE {condition}")?;
        }
        if !self.dimensions.is_empty() {
            write!(f, " GROUP BY {}", List(&self.dimensions))?;
        }
        match self.fill {
            Fill::Null => {}
            Fill::None => f.write_str(" fill(none)")?,
            Fill::Integer(value) => write!(f, " fill({value})")?,
            Fill::Number(value) if value.fract() == 0.0 => write!(f, " fill({value}.0)")?,
            Fill::Number(value) => write!(f, " fill({value})")?,
            Fill::Previous => f.write_str(" fill(previous)")?,
            Fill::Linear => f.write_str(" fill(linear)")?,
        }
        if let Some(order) = &self.order {
            write!(f, " ORDER BY {order}")?;
        }
        for (word, count) in
            [("LIMIT", self.limit), ("OFFSET", self.offset), ("SLIMIT", self.slimit), ("SOFFSET", self.soffset)]
        {
            if count > 0 {
                write!(f, " {word} {count}")?;
            }
        }
        match &self.zone {
            Some(zone) => write!(f, " TZ({})", Quoted(zone.name())),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.expr)?;
        match &self.alias {
            Some(alias) => write!(f, " AS {}", Ident(alias)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measurement(measurement) => write!(f, "{measurement}"),
            Self::Subquery(statement) => write!(f, "({statement})"),
        }
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(database) = &self.database {
            write!(f, "{}.", Ident(database))?;
        }
        if let Some(policy) = &self.policy {
            write!(f, "{}", Ident(policy))?;
        }
        if self.database.is_some() || self.policy.is_some() {
            f.write_str(".")?;
        }
        match &self.name {
            MeasurementName::Name(name) => write!(f, "{}", Ident(name)),
            MeasurementName::Regex(regex) => write!(f, "{regex}"),
            MeasurementName::Source => f.write_str(":MEASUREMENT"),
        }
    }
}

impl fmt::Display for SortField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{} ", Ident(name))?;
        }
        f.write_str(if self.ascending { "ASC" } else { "DESC" })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Statement, parse_statement};

    fn check(fields: &str, expected: &[&str]) {
        let Statement::Select(select) = parse_statement(&format!("SELECT {fields} FROM m")).unwrap() else {
            panic!("{fields} is no SELECT")
        };
        assert_eq!(select.column_names("time")[1..], *expected, "{fields}");
    }

    #[test]
    fn columns_are_named_after_what_they_hold() {
        check("value", &["value"]);
        check("mean(value)", &["mean"]);
        check("mean(value) AS m, mean(value)", &["m", "mean"]);
        check("mean(a), mean(b), mean(c)", &["mean", "mean_1", "mean_2"]);
        check("max(a) - min(b)", &["max_min"]);
        check("a + (b * 2)", &["a_b"]);
        check("(a)", &["a"]);
        check("sum(a) / 2", &["sum"]);
        check("abs(a - b)", &["abs"]);
        check("top(v, host, region, 2)", &["top", "host", "region"]);
        check("a, b AS a", &["a_1", "a"]);
        check("a AS a_1, a, a", &["a_1", "a", "a_2"]);
        check("a, a, a_1", &["a", "a_1", "a_1_1"]);
    }

    #[test]
    fn a_target_takes_no_columns_for_tags() {
        let Statement::Select(select) = parse_statement("SELECT top(v, host, 2) INTO t FROM m").unwrap() else {
            panic!("no SELECT")
        };
        assert_eq!(select.column_names("t"), ["t", "top"]);
    }
}
