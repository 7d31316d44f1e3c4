//! What a SELECT asks of each group of series: its calls, its columns, its windows.

use rhythmite_influx::influxql::{Call, Compiled, Expr, Mistakes, Source, TIME_MIN_NS, VarRef, is_math};
use rhythmite_model::FieldType;

use super::aggregate::fold::Fold;
use super::aggregate::whole::Whole;
use super::condition::slot;
use super::eval::Node;
use super::transform::Transform;
use super::value::{Value, field_type};
use super::window::Windows;

/// What a statement asks of each group.
pub(super) struct Plan<'c> {
    pub(super) compiled: &'c Compiled,
    /// The keys grouped by, sorted: those of the statement and those of the statements around it.
    pub(super) dimensions: Vec<String>,
    pub(super) windows: Windows,
    pub(super) range: (i64, i64),
    /// Stored points beyond these times are not read, whatever the windows: the bounds of the outermost statement, with
    /// what its functions look back.
    pub(super) bounds: (i64, i64),
    pub(super) calls: Vec<PlannedCall<'c>>,
    pub(super) aux: Vec<VarRef>,
    pub(super) fields: Vec<Node>,
    pub(super) field_types: Vec<FieldType>,
    /// The rows take the times of the points that the only call selects.
    pub(super) selector: bool,
    pub(super) limit: u64,
    pub(super) offset: u64,
    /// The groups that are read, by the dimensions of the outermost statement.
    pub(super) pages: GroupPage,
    /// Columns that become tags of what is written: those that `top` and `bottom` keep apart, after the fields.
    pub(super) tag_columns: Vec<(usize, String)>,
    /// The rows of a series may be given out in parts.
    pub(super) in_parts: bool,
}

/// SLIMIT and SOFFSET of a statement and of those around it, as 1.x adds them up.
#[derive(Clone, Debug, Default)]
pub(super) struct GroupPage {
    /// The dimensions of the outermost statement, sorted.
    pub(super) dimensions: Vec<String>,
    /// 0 is no limit.
    pub(super) limit: u64,
    pub(super) offset: u64,
}

/// What a statement takes from those around it.
#[derive(Clone, Debug)]
pub(super) struct Around {
    /// Their dimensions.
    pub(super) dimensions: Vec<String>,
    pub(super) pages: GroupPage,
    /// See [`Plan::bounds`].
    pub(super) bounds: (i64, i64),
}

pub(super) struct PlannedCall<'c> {
    pub(super) call: &'c Call,
    pub(super) leaf: Leaf<'c>,
}

/// Where a call begins: the field it reads and the function that reads it.
pub(super) struct Leaf<'c> {
    pub(super) driver: &'c VarRef,
    /// The innermost call.
    pub(super) call: &'c Call,
    pub(super) fold: Option<Fold>,
    pub(super) range: (i64, i64),
}

impl<'c> Plan<'c> {
    pub(super) fn new(compiled: &'c Compiled, around: Option<&Around>, range: (i64, i64)) -> Self {
        let statement = &compiled.statement;
        let outer = around.map_or(&[][..], |around| &around.dimensions);
        let mut dimensions: Vec<String> =
            outer.iter().map(String::as_str).chain(compiled.group_tags()).map(str::to_owned).collect();
        dimensions.sort();
        dimensions.dedup();
        let mut pages = around.map_or_else(GroupPage::default, |around| around.pages.clone());
        if around.is_none() {
            pages.dimensions.clone_from(&dimensions);
        }
        pages.limit = pages.limit.saturating_add(statement.slimit);
        pages.offset = pages.offset.saturating_add(statement.soffset);
        let windows = Windows::of(compiled);
        // Equal calls are made once.
        let mut calls: Vec<&Call> = Vec::new();
        let mut aux: Vec<VarRef> = Vec::new();
        for field in &statement.fields {
            collect(&field.expr, &mut calls, &mut aux);
            if let Some(tags) = extra_columns(&field.expr, statement.target.is_some()) {
                tags.for_each(|var| {
                    slot(&mut aux, var);
                });
            }
            // Tags that top and bottom keep apart are read even where they are not shown.
            if let Expr::Call(call) = &field.expr
                && matches!(call.name.as_str(), "top" | "bottom")
            {
                call.args.iter().skip(1).for_each(|arg| {
                    if let Expr::VarRef(var) = arg {
                        slot(&mut aux, var);
                    }
                });
            }
        }
        aux.sort_by(|a, b| (&a.name, a.data_type).cmp(&(&b.name, b.data_type)));
        let mut fields = Vec::new();
        let mut field_types = Vec::new();
        for field in &statement.fields {
            let mut leaf = |expr: &Expr| match expr {
                Expr::Call(call) => Node::Slot(calls.iter().position(|known| *known == call).unwrap_or(0)),
                Expr::VarRef(var) => {
                    let at = aux.iter().position(|known| known == var).unwrap_or(0);
                    Node::Slot(calls.len() + at)
                }
                _ => Node::Value(Value::Null),
            };
            fields.push(Node::build(&field.expr, compiled.mistakes, &mut leaf));
            let data_type = rhythmite_influx::influxql::type_of(&field.expr).ok().flatten();
            field_types.push(data_type.and_then(field_type).unwrap_or(FieldType::Float));
            if let Some(tags) = extra_columns(&field.expr, statement.target.is_some()) {
                for var in tags {
                    let at = aux.iter().position(|known| known == var).unwrap_or(0);
                    fields.push(Node::Slot(calls.len() + at));
                    field_types.push(var.data_type.and_then(field_type).unwrap_or(FieldType::String));
                }
            }
        }
        let mut tag_columns = Vec::new();
        if statement.target.is_some() {
            for var in calls
                .iter()
                .filter(|call| matches!(call.name.as_str(), "top" | "bottom"))
                .flat_map(|call| tags_of(call))
            {
                let at = aux.iter().position(|known| known == var).unwrap_or(0);
                tag_columns.push((fields.len(), var.name.clone()));
                fields.push(Node::Slot(calls.len() + at));
                field_types.push(FieldType::String);
            }
        }
        let selector = match calls.as_slice() {
            [only] => matches!(
                only.name.as_str(),
                "min" | "max" | "first" | "last" | "percentile" | "sample" | "top" | "bottom"
            ),
            _ => false,
        };
        let mut plan = Self {
            compiled,
            dimensions,
            windows,
            range,
            bounds: around.map_or(range, |around| around.bounds),
            calls: Vec::new(),
            aux,
            fields,
            field_types,
            selector,
            limit: statement.limit,
            offset: statement.offset,
            pages,
            tag_columns,
            in_parts: false,
        };
        if around.is_none() {
            let windows = i64::try_from(compiled.extra_windows).unwrap_or(i64::MAX);
            plan.bounds = plan.back(range, windows);
        }
        if compiled.mistakes == Mistakes::Kept && plan.shows_one_row(calls.is_empty()) {
            plan.limit = 1;
        }
        plan.calls =
            calls.into_iter().filter_map(|call| Some(PlannedCall { call, leaf: plan.leaf(call, range)? })).collect();
        plan
    }

    /// Has median and percentile fold sketches instead of keeping points, if that is all that keeps any; whether it does.
    pub(super) fn fold_sketches(&mut self) -> bool {
        let may = |call: &PlannedCall<'_>| {
            let is_quantile = matches!(Whole::of(call.leaf.call), Some(Whole::Median | Whole::Percentile(_)));
            call.leaf.fold.is_some() || (is_quantile && call.call.name != "count")
        };
        let any = self.calls.iter().any(|call| call.leaf.fold.is_none()) && self.calls.iter().all(may);
        if any {
            for call in &mut self.calls {
                call.leaf.fold = call.leaf.fold.or(Some(Fold::Sketch));
            }
        }
        any
    }

    /// Takes [`Plan::fold_sketches`] back.
    pub(super) fn keep_points(&mut self) {
        let sketched = self.calls.iter_mut().filter(|call| call.leaf.fold == Some(Fold::Sketch));
        sketched.for_each(|call| call.leaf.fold = None);
    }

    /// 1.x ends the points of a series that have an OFFSET but no LIMIT with the first that is shown.
    fn shows_one_row(&self, raw: bool) -> bool {
        let stored = |source: &Source| matches!(source, Source::Measurement(_));
        raw && self.limit == 0
            && self.offset > 0
            && self.pages.dimensions == self.dimensions
            && self.compiled.statement.sources.iter().all(stored)
    }

    /// A range one or more windows longer, where the order of the answer begins.
    pub(super) fn back(&self, (min, max): (i64, i64), windows: i64) -> (i64, i64) {
        let by = self.windows.every_ns().saturating_mul(windows);
        if self.compiled.ascending {
            (min.saturating_sub(by).max(TIME_MIN_NS), max)
        } else {
            (min, max.saturating_add(by))
        }
    }

    fn leaf(&self, call: &'c Call, range: (i64, i64)) -> Option<Leaf<'c>> {
        let range = match Transform::of(call, self.windows.every_ns()) {
            Some(transform) if transform.looks_back() => self.back(range, 1),
            _ => range,
        };
        match call.args.first()? {
            Expr::Call(inner) => {
                let mut leaf = self.leaf(inner, range)?;
                if call.name == "count" {
                    leaf.fold = None;
                }
                Some(leaf)
            }
            Expr::VarRef(driver) => Some(Leaf { driver, call, fold: Fold::named(&call.name), range }),
            _ => None,
        }
    }

    /// Whether the calls over a field put windows of it together, rather than follow its points one by one.
    pub(super) fn reduces(&self, driver: &VarRef) -> bool {
        let follows = |call: &Call| call.name == "integral" || Transform::of(call, self.windows.every_ns()).is_some();
        self.calls.iter().filter(|call| call.leaf.driver == driver).all(|call| !follows(call.leaf.call))
    }

    /// Times without those that are not read.
    pub(super) fn bounded(&self, (min, max): (i64, i64)) -> (i64, i64) {
        (min.max(self.bounds.0), max.min(self.bounds.1))
    }

    /// The times that any call reads.
    pub(super) fn widest(&self) -> (i64, i64) {
        self.calls.iter().fold(self.range, |(min, max), call| (min.min(call.leaf.range.0), max.max(call.leaf.range.1)))
    }

    /// Whether no name the rows depend on is a column of anything.
    pub(super) fn reads_nothing(&self) -> bool {
        if self.calls.is_empty() {
            return self.aux.iter().all(|var| var.data_type.is_none());
        }
        self.calls.iter().all(|call| call.leaf.driver.data_type.is_none())
    }

    /// Whether points are kept until their group is complete.
    pub(super) fn keeps_series(&self) -> bool {
        self.calls.is_empty() || self.calls.iter().any(|call| call.leaf.fold.is_none())
    }
}

/// The columns that a field adds behind its own: the tags of `top` and `bottom`.
pub(super) fn extra_columns(expr: &Expr, into: bool) -> Option<impl Iterator<Item = &VarRef>> {
    match expr {
        Expr::Call(call) if !into && matches!(call.name.as_str(), "top" | "bottom") => Some(tags_of(call)),
        _ => None,
    }
}

/// The fields and tags that `top` and `bottom` name behind the first.
pub(super) fn tags_of(call: &Call) -> impl Iterator<Item = &VarRef> {
    call.args.iter().skip(1).filter_map(|arg| match arg {
        Expr::VarRef(var) => Some(var),
        _ => None,
    })
}

/// The calls and the fields and tags outside of calls.
fn collect<'e>(expr: &'e Expr, calls: &mut Vec<&'e Call>, aux: &mut Vec<VarRef>) {
    match expr {
        Expr::Call(call) if is_math(&call.name) => {
            call.args.iter().for_each(|arg| collect(arg, calls, aux));
        }
        Expr::Call(call) if !calls.contains(&call) => calls.push(call),
        Expr::VarRef(var) => {
            slot(aux, var);
        }
        Expr::Binary(binary) => {
            collect(&binary.lhs, calls, aux);
            collect(&binary.rhs, calls, aux);
        }
        Expr::Paren(inner) => collect(inner, calls, aux),
        _ => {}
    }
}

/// The names under which the columns of a subquery are seen, as many as its columns.
pub(super) fn visible_columns(subquery: &Compiled) -> Vec<String> {
    let mut names = Vec::new();
    for field in &subquery.statement.fields {
        names.push(field.name());
        if let Some(tags) = extra_columns(&field.expr, subquery.statement.target.is_some()) {
            names.extend(tags.map(|var| var.name.clone()));
        }
    }
    names
}
