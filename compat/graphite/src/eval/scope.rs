use super::Request;
use crate::python;
use crate::series::Series;
use crate::target::{self, Literal};
use rhythmite_model::{Error, Result};

/// Why evaluation ended without a value.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Data are missing; the requests have been noted.
    Pending,
    /// The request cannot be answered.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(e: Error) -> Self {
        Self::Failed(e)
    }
}

impl Stop {
    /// Puts the place in front of the message, once.
    pub(crate) fn at(self, function: &str) -> Self {
        match self {
            Self::Failed(e) if !e.message().contains("(): ") => Self::Failed(e.at(format_args!("{function}()"))),
            other => other,
        }
    }
}

/// What an expression evaluates to.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Series(Vec<Series>),
    /// Groups of series, made by `mapSeries()` for `reduceSeries()`.
    Lists(Vec<Vec<Series>>),
    Int(i64),
    Float(f64),
    Str(String),
    Bool(bool),
    None,
}

impl From<Literal> for Value {
    fn from(literal: Literal) -> Self {
        match literal {
            Literal::Int(i) => Self::Int(i),
            Literal::Float(f) => Self::Float(f),
            Literal::Str(s) => Self::Str(s),
            Literal::Bool(b) => Self::Bool(b),
            Literal::None => Self::None,
        }
    }
}

impl From<Vec<Series>> for Value {
    fn from(series: Vec<Series>) -> Self {
        Self::Series(series)
    }
}

impl Value {
    /// Python's `str()`; series have no text.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Int(i) => i.to_string(),
            Self::Float(f) => python::repr(*f),
            Self::Str(s) => s.clone(),
            Self::Bool(true) => "True".to_owned(),
            Self::Bool(false) => "False".to_owned(),
            Self::None => "None".to_owned(),
            Self::Series(_) | Self::Lists(_) => String::new(),
        }
    }

    /// Is it a list of series, or several?
    pub(crate) fn is_series(&self) -> bool {
        matches!(self, Self::Series(_) | Self::Lists(_))
    }

    /// All series of a list, or of all lists.
    pub(crate) fn all_series(&self) -> impl Iterator<Item = &Series> {
        let (one, many) = match self {
            Self::Series(series) => (series.as_slice(), [].as_slice()),
            Self::Lists(lists) => ([].as_slice(), lists.as_slice()),
            _ => ([].as_slice(), [].as_slice()),
        };
        one.iter().chain(many.iter().flatten())
    }

    /// How many points its series have.
    pub(crate) fn points(&self) -> usize {
        self.all_series().map(|s| s.values.len()).sum()
    }

    /// For messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Series(_) => "a list of series".to_owned(),
            Self::Lists(_) => "a list of lists of series".to_owned(),
            Self::Str(s) => format!("{s:?}"),
            other => other.text(),
        }
    }
}

/// A path with template parameters in it, or the value that it stands for.
pub(crate) enum Replaced {
    Path(String),
    Value(Value),
}

/// What surrounds an expression: the range, and what functions before it have set.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) from_s: i64,
    pub(crate) until_s: i64,
    /// `setXFilesFactor()` sets it for everything evaluated later in the same range.
    pub(crate) x_files_factor: f64,
    /// Parameters of the template around the expression.
    pub(crate) template: Vec<(String, Literal)>,
}

impl Scope {
    pub(crate) fn new(request: &Request) -> Self {
        Self {
            from_s: request.from_s,
            until_s: request.until_s,
            x_files_factor: request.x_files_factor,
            template: Vec::new(),
        }
    }

    /// The same surroundings in another range.
    pub(crate) fn in_range(&self, from_s: i64, until_s: i64) -> Self {
        Self { from_s, until_s, ..self.clone() }
    }

    /// Replaces the template parameters; returns those of the outer template.
    pub(crate) fn enter_template(
        &mut self,
        params: &[(String, Literal)],
        overrides: &[(String, String)],
    ) -> Vec<(String, Literal)> {
        let mut inner = params.to_vec();
        for (name, value) in overrides {
            let value = Literal::Str(value.clone());
            match inner.iter_mut().find(|(n, _)| n == name) {
                Some((_, v)) => *v = value,
                None => inner.push((name.clone(), value)),
            }
        }
        std::mem::replace(&mut self.template, inner)
    }

    /// Puts template parameters into a path. A path that is nothing but `$name` is the value
    /// itself, a number if it looks like one.
    ///
    /// # Errors
    /// `Invalid` when the path grows beyond [`target::TARGET_BYTES_MAX`].
    pub(crate) fn replace(&self, path: &str) -> Result<Replaced> {
        let mut path = path.to_owned();
        for (name, literal) in &self.template {
            let variable = format!("${name}");
            if path != variable {
                let text = Value::from(literal.clone()).text();
                path = python::replace_within(&path, &variable, &text, target::TARGET_BYTES_MAX)?;
                continue;
            }
            let number = match literal {
                Literal::Str(s) if s.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.')) => s.parse().ok(),
                _ => None,
            };
            return Ok(Replaced::Value(number.map_or_else(|| literal.clone().into(), Value::Float)));
        }
        Ok(Replaced::Path(path))
    }
}
