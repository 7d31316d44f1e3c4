//! What names mean once the columns of the measurements are known.
//!
//! [`Compiled::resolve`] gives every name its type, expands `*` and patterns in fields and
//! dimensions, and checks that operators and functions fit the types. Subqueries come first: their
//! columns are what the outer statement sees.

use super::compile::{CompileError, Compiled, Mistakes};
use super::expr::{Binary, Call, DataType, Expr, Literal, VarRef, Wildcard};
use super::regex::Regex;
use super::select::{Field, Measurement, SelectStatement, Source};
use super::token::BinaryOp;
use std::collections::{BTreeMap, BTreeSet};

type Result<T> = std::result::Result<T, CompileError>;

/// The columns of the measurements a source stands for.
pub trait Schema {
    /// Fields and tags of one source, merged over all measurements and shards it stands for. A
    /// source that does not exist has none.
    fn columns(&self, source: &Measurement) -> Columns;

    /// The type of one name in a source, as [`Columns::data_type`] of its columns: asked for where no
    /// wildcard needs all of them.
    fn data_type(&self, source: &Measurement, name: &str) -> Option<DataType> {
        self.columns(source).data_type(name)
    }
}

/// Fields with their types, and tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// Field types by name.
    pub fields: BTreeMap<String, DataType>,
    /// Tag keys.
    pub tags: BTreeSet<String>,
}

impl Columns {
    /// Adds a field. Of two types the more telling one stays: float, integer, unsigned, string,
    /// boolean.
    pub fn add_field(&mut self, name: &str, data_type: DataType) {
        match self.fields.get_mut(name) {
            Some(known) => *known = data_type.min(*known),
            None => {
                self.fields.insert(name.to_owned(), data_type);
            }
        }
    }

    fn merge(&mut self, other: Self) {
        for (name, data_type) in other.fields {
            self.add_field(&name, data_type);
        }
        self.tags.extend(other.tags);
    }

    /// The type of a name; a field hides the tag of its name.
    pub fn data_type(&self, name: &str) -> Option<DataType> {
        self.fields.get(name).copied().or_else(|| self.tags.contains(name).then_some(DataType::Tag))
    }
}

impl Compiled {
    /// Gives names their types and expands wildcards, in the subqueries too.
    ///
    /// A name of no column keeps no type; it selects nothing.
    ///
    /// # Errors
    /// A wildcard where none can be, or types that do not fit.
    pub fn resolve(&mut self, schema: &impl Schema) -> Result<()> {
        self.name(schema)?;
        self.statement.fields.iter().try_for_each(|field| typed(&field.expr, self.mistakes).map(drop))
    }

    /// Whether types fit is asked of the outermost statement alone, as in 1.x.
    fn name(&mut self, schema: &impl Schema) -> Result<()> {
        if self.names_are_enough() {
            self.set_types(schema);
            return Ok(());
        }
        let mut columns = Columns::default();
        let mut subqueries = self.subqueries.iter_mut();
        for source in &self.statement.sources {
            match source {
                Source::Measurement(measurement) => columns.merge(schema.columns(measurement)),
                Source::Subquery(_) => {
                    if let Some(subquery) = subqueries.next() {
                        subquery.name(schema)?;
                        columns.merge(subquery.columns());
                    }
                }
            }
        }
        self.statement.each_name(&mut |var| set_type(var, columns.data_type(&var.name)));
        self.expand(columns)
    }

    /// Whether nothing stands for columns that it does not name, and all it reads is stored.
    fn names_are_enough(&self) -> bool {
        let statement = &self.statement;
        let mut wild = statement.dimensions.iter().any(is_wild);
        for field in &statement.fields {
            field.expr.walk(&mut |expr| wild |= is_wild(expr));
        }
        !wild && statement.sources.iter().all(|source| matches!(source, Source::Measurement(_)))
    }

    /// Types of names alone. PERF: a dashboard asks for a field or two of measurements that have dozens; to copy and merge
    /// all of their names cost a tenth of such a query.
    fn set_types(&mut self, schema: &impl Schema) {
        let sources = std::mem::take(&mut self.statement.sources);
        self.statement.each_name(&mut |var| {
            let types = sources.iter().filter_map(|source| match source {
                Source::Measurement(measurement) => schema.data_type(measurement, &var.name),
                Source::Subquery(_) => None,
            });
            // The order of types is that of `add_field`, and a tag is last: a field hides it.
            set_type(var, types.min());
        });
        self.statement.sources = sources;
    }

    /// What this statement offers as a subquery: its fields by name, its dimensions as tags, and
    /// the tags that `top` and `bottom` select.
    fn columns(&self) -> Columns {
        let mut columns = Columns::default();
        for field in &self.statement.fields {
            if let Ok(Some(data_type)) = typed(&field.expr, self.mistakes) {
                columns.add_field(&field.name(), data_type);
            }
            if let Expr::Call(Call { name, args }) = &field.expr
                && matches!(name.as_str(), "top" | "bottom")
            {
                for arg in args.iter().skip(1) {
                    if let Expr::VarRef(VarRef { name, data_type: Some(data_type) }) = arg {
                        columns.add_field(name, *data_type);
                    }
                }
            }
        }
        columns.tags.extend(self.group_tags().map(str::to_owned));
        columns
    }

    /// Replaces wildcards and patterns by the names they stand for, in order of the names.
    fn expand(&mut self, columns: Columns) -> Result<()> {
        let statement = &mut self.statement;
        let Columns { fields, mut tags } = columns;
        let grouped = statement.dimensions.iter().any(is_wild);
        let mut names: Vec<(String, DataType)> = fields.into_iter().collect();
        if !grouped {
            for dimension in &statement.dimensions {
                if let Expr::VarRef(var) = dimension {
                    tags.remove(&var.name);
                }
            }
            // A measurement without fields has nothing to show beside its tags.
            if !names.is_empty() {
                names.extend(tags.iter().map(|tag| (tag.clone(), DataType::Tag)));
                names.sort();
            }
        }
        let mut expanded = Vec::with_capacity(statement.fields.len());
        for field in std::mem::take(&mut statement.fields) {
            expand_field(field, &names, &mut expanded)?;
        }
        statement.fields = expanded;
        if grouped {
            for dimension in std::mem::take(&mut statement.dimensions) {
                let regex = match &dimension {
                    Expr::Wildcard(_) => None,
                    Expr::Literal(Literal::Regex(regex)) => Some(regex),
                    _ => {
                        statement.dimensions.push(dimension);
                        continue;
                    }
                };
                let matching = tags.iter().filter(|tag| regex.is_none_or(|regex| regex.is_match(tag)));
                statement.dimensions.extend(matching.map(Expr::var));
            }
        }
        Ok(())
    }
}

impl SelectStatement {
    /// Calls `f` with the names in fields and condition whose type is not said.
    fn each_name(&mut self, f: &mut dyn FnMut(&mut VarRef)) {
        let exprs = self.fields.iter_mut().map(|field| &mut field.expr).chain(&mut self.condition);
        for expr in exprs {
            expr.walk_mut(&mut |expr| match expr {
                Expr::VarRef(var) if matches!(var.data_type, None | Some(DataType::AnyField)) => f(var),
                _ => {}
            });
        }
    }
}

/// Gives a name the type that was found.
fn set_type(var: &mut VarRef, found: Option<DataType>) {
    match found {
        // Asked for a field, there is but a tag: it stays a field that nothing fills.
        Some(DataType::Tag) if var.data_type.is_some() => {}
        found => var.data_type = found,
    }
}

fn is_wild(expr: &Expr) -> bool {
    matches!(expr, Expr::Wildcard(_) | Expr::Literal(Literal::Regex(_)))
}

fn expand_field(field: Field, names: &[(String, DataType)], expanded: &mut Vec<Field>) -> Result<()> {
    let named = |name: &str, data_type| Expr::VarRef(VarRef { name: name.to_owned(), data_type: Some(data_type) });
    match &field.expr {
        Expr::Wildcard(wildcard) => {
            for (name, data_type) in names {
                let tag = *data_type == DataType::Tag;
                if matches!((wildcard, tag), (Wildcard::Fields, true) | (Wildcard::Tags, false)) {
                    continue;
                }
                expanded.push(Field { expr: named(name, *data_type), alias: None });
            }
        }
        Expr::Literal(Literal::Regex(regex)) => {
            for (name, data_type) in names.iter().filter(|(name, _)| regex.is_match(name)) {
                expanded.push(Field { expr: named(name, *data_type), alias: None });
            }
        }
        Expr::Call(call) => {
            let inner = innermost(call);
            let regex: Option<Regex> = match inner.args.first() {
                Some(Expr::Wildcard(Wildcard::Tags)) => {
                    return Err(CompileError::new(format!("unable to use tag wildcard in {}()", inner.name)));
                }
                Some(Expr::Wildcard(_)) => None,
                Some(Expr::Literal(Literal::Regex(regex))) => Some(regex.clone()),
                _ => {
                    expanded.push(field);
                    return Ok(());
                }
            };
            for (name, data_type) in names {
                if !takes(&inner.name, *data_type) || regex.as_ref().is_some_and(|regex| !regex.is_match(name)) {
                    continue;
                }
                let mut call = call.clone();
                replace_innermost(&mut call, named(name, *data_type));
                let alias = Some(format!("{}_{name}", field.name()));
                expanded.push(Field { expr: Expr::Call(call), alias });
            }
        }
        Expr::Binary(_) => {
            let (mut wildcard, mut regex) = (false, false);
            field.expr.walk(&mut |expr| match expr {
                Expr::Wildcard(_) => wildcard = true,
                Expr::Literal(Literal::Regex(_)) => regex = true,
                _ => {}
            });
            if wildcard {
                return Err(CompileError::new(format!("unsupported expression with wildcard: {}", field.expr)));
            }
            if regex {
                return Err(CompileError::new(format!("unsupported expression with regex field: {}", field.expr)));
            }
            expanded.push(field);
        }
        _ => expanded.push(field),
    }
    Ok(())
}

/// The call that is the first argument of the call that is the first argument...
fn innermost(call: &Call) -> &Call {
    match call.args.first() {
        Some(Expr::Call(inner)) => innermost(inner),
        _ => call,
    }
}

fn replace_innermost(call: &mut Call, with: Expr) {
    match call.args.first_mut() {
        Some(Expr::Call(inner)) => replace_innermost(inner, with),
        Some(arg) => *arg = with,
        None => {}
    }
}

/// True if a wildcard inside this function stands for fields of this type too. Never for tags.
fn takes(function: &str, data_type: DataType) -> bool {
    let any = matches!(function, "count" | "first" | "last" | "distinct" | "elapsed" | "mode" | "sample");
    match data_type {
        DataType::Float | DataType::Integer => true,
        DataType::Unsigned => !matches!(function, "holt_winters" | "holt_winters_with_fit"),
        DataType::Boolean => any || matches!(function, "min" | "max"),
        DataType::String => any,
        DataType::AnyField | DataType::Tag => false,
    }
}

/// The type of an expression whose names have theirs; `None` if it cannot be told.
///
/// # Errors
/// Types that do not fit the operator or the mathematical function.
pub fn type_of(expr: &Expr) -> Result<Option<DataType>> {
    typed(expr, Mistakes::Corrected)
}

/// The type of an expression as a statement around it sees it: 1.6 takes a mathematical function for one that gives
/// what it is given, and a quotient of whole numbers for a whole number. What is behind the point it cuts off; of texts
/// such functions make nulls.
fn typed(expr: &Expr, mistakes: Mistakes) -> Result<Option<DataType>> {
    match expr {
        Expr::VarRef(var) => Ok(var.data_type),
        Expr::Paren(inner) => typed(inner, mistakes),
        Expr::Call(call) => {
            let args = call.args.iter().map(|arg| typed(arg, mistakes)).collect::<Result<Vec<_>>>()?;
            match mistakes {
                Mistakes::Kept if is_math(&call.name) => Ok(args.first().copied().flatten()),
                _ => call_type(&call.name, &args),
            }
        }
        Expr::Binary(binary) => binary_type(binary, mistakes),
        Expr::Literal(literal) => Ok(match literal {
            Literal::Number(_) => Some(DataType::Float),
            Literal::Integer(_) => Some(DataType::Integer),
            Literal::Unsigned(_) => Some(DataType::Unsigned),
            Literal::String(_) => Some(DataType::String),
            Literal::Boolean(_) => Some(DataType::Boolean),
            _ => None,
        }),
        Expr::Distinct(_) | Expr::Wildcard(_) => Ok(None),
    }
}

fn call_type(name: &str, args: &[Option<DataType>]) -> Result<Option<DataType>> {
    let first = args.first().copied().flatten();
    let number = |data_type: Option<DataType>| {
        matches!(data_type, None | Some(DataType::Float | DataType::Integer | DataType::Unsigned))
    };
    let refuse = |which: &str, data_type: Option<DataType>| {
        let data_type = data_type.map_or("unknown", DataType::name);
        Err(CompileError::new(format!("invalid argument type for the {which} argument in {name}(): {data_type}")))
    };
    match name {
        "count" | "elapsed" => Ok(Some(DataType::Integer)),
        "min"
        | "max"
        | "sum"
        | "first"
        | "last"
        | "mode"
        | "distinct"
        | "percentile"
        | "sample"
        | "top"
        | "bottom"
        | "spread"
        | "difference"
        | "non_negative_difference"
        | "cumulative_sum" => Ok(first),
        // 1.7 and later refuse whole numbers in asin() and acos(), 1.6 does not; they mean something.
        "sin" | "cos" | "tan" | "asin" | "acos" | "atan" | "exp" | "ln" | "log" | "log2" | "log10" | "sqrt"
            if !number(first) =>
        {
            refuse("first", first)
        }
        "atan2" | "pow" => {
            let second = args.get(1).copied().flatten();
            if !number(first) {
                return refuse("first", first);
            }
            if !number(second) { refuse("second", second) } else { Ok(Some(DataType::Float)) }
        }
        "abs" | "floor" | "ceil" | "round" => {
            if number(first) {
                Ok(first)
            } else {
                refuse("first", first)
            }
        }
        "now" => Ok(None),
        _ => Ok(Some(DataType::Float)),
    }
}

/// Whether a function is one of numbers, row by row.
pub fn is_math(name: &str) -> bool {
    matches!(
        name,
        "abs"
            | "sin"
            | "cos"
            | "tan"
            | "asin"
            | "acos"
            | "atan"
            | "atan2"
            | "exp"
            | "ln"
            | "log"
            | "log2"
            | "log10"
            | "sqrt"
            | "pow"
            | "floor"
            | "ceil"
            | "round"
    )
}

fn binary_type(binary: &Binary, mistakes: Mistakes) -> Result<Option<DataType>> {
    use DataType as T;
    let Binary { op, lhs, rhs } = binary;
    let refuse = |message: String| Err(CompileError::new(format!("type error: {}: {message}", binary)));
    let (left, right) = match (typed(lhs, mistakes)?, typed(rhs, mistakes)?) {
        (Some(left), Some(right)) => (left, right),
        (left, right) => return Ok(left.or(right)),
    };
    // A whole number written out may take either kind; others are not mixed.
    let mixed = match (left, right) {
        (T::Unsigned, T::Integer) => Some((lhs.is_literal(), rhs.is_literal())),
        (T::Integer, T::Unsigned) => Some((rhs.is_literal(), lhs.is_literal())),
        _ => None,
    };
    match mixed {
        Some((true, _)) => return refuse(format!("cannot use {op} with an integer and unsigned literal")),
        Some((false, false)) => {
            let cast = "an explicit cast is required";
            return refuse(format!("cannot use {op} between an integer and unsigned, {cast}"));
        }
        _ => {}
    }
    let bits = matches!(op, BinaryOp::BitAnd | BinaryOp::BitOr | BinaryOp::BitXor);
    let whole = |data_type| matches!(data_type, T::Integer | T::Unsigned);
    match (left, right) {
        _ if op.is_condition() && !op.is_logical() => Ok(Some(T::Boolean)),
        (T::Boolean, _) if op.is_logical() || bits => Ok(Some(T::Boolean)),
        // Dividing whole numbers gives a number with a point.
        (left, right) if whole(left) && whole(right) && !op.is_logical() => {
            let same = if left == right { left } else { T::Unsigned };
            // 1.6 forgets that where a statement reads the column of a subquery, and cuts off what is behind the point.
            let float = *op == BinaryOp::Div && mistakes == Mistakes::Corrected;
            Ok(Some(if float { T::Float } else { same }))
        }
        (T::Float, right) if (right == T::Float || whole(right)) && !bits && !op.is_logical() => Ok(Some(T::Float)),
        (left, T::Float) if whole(left) && !bits && !op.is_logical() => Ok(Some(T::Float)),
        (left, right) => refuse(format!("incompatible types: {} and {}", left.name(), right.name())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{MeasurementName, Statement, compile, parse_statement};
    use super::*;

    /// One measurement: float `f`, integer `i`, string `s`, boolean `b`, unsigned `u`, tags `host`, `f`.
    struct Cpu;

    impl Schema for Cpu {
        fn columns(&self, _: &Measurement) -> Columns {
            let mut columns = Columns::default();
            columns.add_field("f", DataType::Integer);
            columns.add_field("f", DataType::Float);
            columns.add_field("i", DataType::Integer);
            columns.add_field("s", DataType::String);
            columns.add_field("b", DataType::Boolean);
            columns.add_field("u", DataType::Unsigned);
            columns.tags.extend(["host".to_owned(), "f".to_owned()]);
            columns
        }
    }

    /// Of `m` all columns are a float `f` and a tag `i`; of other names those of [`Cpu`].
    struct Two;

    impl Schema for Two {
        fn columns(&self, source: &Measurement) -> Columns {
            if !matches!(&source.name, MeasurementName::Name(name) if name == "m") {
                return Cpu.columns(source);
            }
            let mut columns = Columns::default();
            columns.add_field("f", DataType::Float);
            columns.add_field("s", DataType::Integer);
            columns.tags.extend(["i".to_owned()]);
            columns
        }
    }

    #[test]
    fn names_have_the_same_types_whether_all_columns_are_asked_for_or_not() {
        for (sources, types) in [
            ("m", "f::float, i::tag, s::integer, b, i::field, nope"),
            ("n", "f::float, i::integer, s::string, b::boolean, i::integer, nope"),
            ("m, n", "f::float, i::integer, s::integer, b::boolean, i::integer, nope"),
            ("n, m", "f::float, i::integer, s::integer, b::boolean, i::integer, nope"),
        ] {
            for (more, shown) in [("", 6), (", *", 6)] {
                let text = format!("SELECT f, i, s, b, i::field, nope{more} FROM {sources}");
                let Statement::Select(select) = parse_statement(&text).unwrap() else { panic!("{text}") };
                let mut out = compile(&select, 0, Mistakes::Corrected).unwrap();
                out.resolve(&Two).unwrap();
                let fields: Vec<_> = out.fields()[..shown].iter().map(ToString::to_string).collect();
                assert_eq!(fields.join(", "), types, "{text}");
            }
        }
    }

    fn resolved(text: &str) -> Result<Compiled> {
        resolved_as(text, Mistakes::Corrected)
    }

    fn resolved_as(text: &str, mistakes: Mistakes) -> Result<Compiled> {
        let Statement::Select(select) = parse_statement(text).unwrap() else { panic!("{text} is no SELECT") };
        let mut out = compile(&select, 0, mistakes).unwrap_or_else(|error| panic!("{text}: {error}"));
        out.resolve(&Cpu)?;
        Ok(out)
    }

    fn check(text: &str, columns: &[&str]) {
        let out = resolved(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(out.column_names()[1..], *columns, "{text}");
    }

    #[test]
    fn wildcards_stand_for_columns_in_order() {
        check("SELECT * FROM m", &["b", "f", "f_1", "host", "i", "s", "u"]);
        check("SELECT *::field FROM m", &["b", "f", "i", "s", "u"]);
        check("SELECT *::tag FROM m", &["f", "host"]);
        check("SELECT /^[is]$/ FROM m", &["i", "s"]);
        check("SELECT * FROM m GROUP BY host", &["b", "f", "f_1", "i", "s", "u"]);
        check("SELECT * FROM m GROUP BY *", &["b", "f", "i", "s", "u"]);
        check("SELECT mean(*) FROM m", &["mean_f", "mean_i", "mean_u"]);
        check("SELECT max(*) AS m FROM m", &["m_b", "m_f", "m_i", "m_u"]);
        check("SELECT count(/[sb]/) FROM m", &["count_b", "count_s"]);
        check(
            "SELECT derivative(mean(*)) FROM m WHERE time > 0 AND time < 9 GROUP BY time(1s)",
            &["derivative_f", "derivative_i", "derivative_u"],
        );
        check("SELECT * FROM (SELECT max(f) AS top, host FROM m GROUP BY host)", &["host", "host_1", "top"]);
        check("SELECT * FROM (SELECT top(f, host, 2) FROM m)", &["host", "top"]);
    }

    #[test]
    fn dimensions_expand_to_tags() {
        for (text, tags) in [
            ("SELECT mean(i) FROM m GROUP BY *", "f,host"),
            ("SELECT mean(i) FROM m GROUP BY /^h/", "host"),
            ("SELECT mean(i) FROM m WHERE time < 1 GROUP BY time(1m), *, x", "f,host,x"),
        ] {
            let out = resolved(text).unwrap();
            assert_eq!(out.group_tags().collect::<Vec<_>>().join(","), tags, "{text}");
        }
    }

    #[test]
    fn names_get_their_types() {
        let out = resolved("SELECT f, host, i::float, host::field, nope FROM m WHERE s = 'x' AND host = 'y'").unwrap();
        assert_eq!(
            out.statement.to_string(),
            "SELECT f::float, host::tag, i::float, host::field, nope FROM m WHERE s::string = 'x' AND host::tag = 'y'"
        );
        for (expr, expected) in [
            ("i + 1", Some(DataType::Integer)),
            ("i / 2", Some(DataType::Float)),
            ("i * 1.5", Some(DataType::Float)),
            ("u + 1", Some(DataType::Unsigned)),
            ("b & true", Some(DataType::Boolean)),
            ("mean(i)", Some(DataType::Float)),
            ("count(s)", Some(DataType::Integer)),
            ("max(i) - min(i)", Some(DataType::Integer)),
            ("nope", None),
        ] {
            let out = resolved(&format!("SELECT {expr} FROM m")).unwrap();
            assert_eq!(type_of(&out.fields()[0].expr).unwrap(), expected, "{expr}");
        }
    }

    #[test]
    fn columns_of_subqueries_have_the_types_of_1_6_unless_that_is_corrected() {
        use DataType as T;
        for (expr, kept, corrected) in [
            ("sqrt(i)", T::Integer, T::Float),
            ("abs(f)", T::Float, T::Float),
            ("ln(mean(i))", T::Float, T::Float),
            ("i / 2", T::Integer, T::Float),
            ("i / 2.0", T::Float, T::Float),
            ("pow(i, 2) + 1", T::Integer, T::Float),
        ] {
            for (mistakes, expected) in [(Mistakes::Kept, kept), (Mistakes::Corrected, corrected)] {
                let out = resolved_as(&format!("SELECT x FROM (SELECT {expr} AS x FROM m)"), mistakes).unwrap();
                assert_eq!(type_of(&out.fields()[0].expr).unwrap(), Some(expected), "{expr}, {mistakes:?}");
            }
        }
        assert!(resolved_as("SELECT sin(s) FROM m", Mistakes::Kept).is_ok(), "nulls in 1.6");
        assert!(
            resolved_as("SELECT x FROM (SELECT f + s AS x FROM m)", Mistakes::Corrected).is_ok(),
            "not asked inside"
        );
    }

    #[test]
    fn types_that_do_not_fit_are_refused() {
        for (fields, message) in [
            ("f + s", "type error: f::float + s::string: incompatible types: float and string"),
            ("f & i", "type error: f::float & i::integer: incompatible types: float and integer"),
            (
                "i + u",
                "type error: i::integer + u::unsigned: cannot use + between an integer and unsigned, an explicit cast is required",
            ),
            ("sin(s)", "invalid argument type for the first argument in sin(): string"),
            ("asin(s)", "invalid argument type for the first argument in asin(): string"),
            ("pow(f, b)", "invalid argument type for the second argument in pow(): boolean"),
            ("mean(*::tag)", "unable to use tag wildcard in mean()"),
        ] {
            assert_eq!(resolved(&format!("SELECT {fields} FROM m")).unwrap_err().to_string(), message, "{fields}");
        }
    }
}
