use std::fmt;

use super::{Pattern, Warning, Warnings, ini};

/// How points are rolled up into a coarser archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AggregationMethod {
    /// Mean of the known points.
    Average,
    /// Sum of the known points.
    Sum,
    /// The smallest known point.
    Min,
    /// The largest known point.
    Max,
    /// The latest known point.
    Last,
    /// Sum of the known points over the number of all slots.
    AvgZero,
    /// The point farthest from zero.
    AbsMax,
    /// The point nearest to zero.
    AbsMin,
    /// The median of the known points; not one of whisper's.
    Median,
}

impl AggregationMethod {
    /// Every method.
    pub const ALL: [Self; 9] = [
        Self::Average,
        Self::Sum,
        Self::Min,
        Self::Max,
        Self::Last,
        Self::AvgZero,
        Self::AbsMax,
        Self::AbsMin,
        Self::Median,
    ];

    /// The name that configuration files use: `average sum min max last avg_zero absmax absmin median`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Average => "average",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::Last => "last",
            Self::AvgZero => "avg_zero",
            Self::AbsMax => "absmax",
            Self::AbsMin => "absmin",
            Self::Median => "median",
        }
    }

    /// The method of this name; `avg` is also average.
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "avg" {
            return Some(Self::Average);
        }
        Self::ALL.into_iter().find(|m| m.name() == name)
    }
}

impl fmt::Display for AggregationMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How the points of one name are rolled up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aggregation {
    /// The function.
    pub method: AggregationMethod,
    /// The share of known points that a roll-up needs, 0 to 1.
    pub x_files_factor: f32,
}

impl Aggregation {
    /// Whisper's default: average, half of the points.
    pub const DEFAULT: Self = Self { method: AggregationMethod::Average, x_files_factor: 0.5 };
}

/// The rules of storage-aggregation.conf.
#[derive(Debug)]
pub struct StorageAggregation {
    rules: Vec<(Pattern, Aggregation)>,
    default: Aggregation,
}

impl StorageAggregation {
    /// Reads the file's text. What a section leaves out, and names that no section matches, have whisper's default.
    ///
    /// Sections without a pattern, with an unknown method or an xFilesFactor outside 0..=1 are skipped with a warning.
    pub fn parse(text: &str, file: &str) -> (Self, Vec<Warning>) {
        let mut warnings = Warnings::new(file);
        let mut rules = Vec::new();
        for section in ini::parse(text, &mut warnings) {
            match rule(&section) {
                Ok(rule) => rules.push(rule),
                Err((line, why)) => {
                    warnings.add(line, Some(&section.name), format_args!("section skipped: {why}"));
                }
            }
        }
        (Self { rules, default: Aggregation::DEFAULT }, warnings.list)
    }

    /// What holds when no file is configured: by the name's last part, as StatsD writes it, and by its tree.
    ///
    /// xFilesFactor is 0 throughout, since a sender of every minute fills one in six slots of 10 s.
    pub fn built_in() -> Self {
        use AggregationMethod::{Average, Last, Max, Min, Sum};
        // A percentile or "top" behind the word: upper_90, sum_99_9, lower_top10. A tag may follow the name.
        const SUFFIX: &str = r"(_[0-9_]+|_top[0-9_]+)?(;|$)";
        let rules = [
            (r"^stats\.gauges\.".to_owned(), Last),
            (format!(r"(^|\.)(upper|max){SUFFIX}"), Max),
            (format!(r"(^|\.)(lower|min){SUFFIX}"), Min),
            (format!(r"^stats_counts\.|^[^;]*\.sketch\.|^[^;]*(^|\.)(count|sum|sum_squares){SUFFIX}"), Sum),
        ];
        let rule = |(pattern, method): (String, _)| {
            let pattern = Pattern::new(&pattern).expect("the built-in patterns compile");
            (pattern, Aggregation { method, x_files_factor: 0.0 })
        };
        let default = Aggregation { method: Average, x_files_factor: 0.0 };
        Self { rules: rules.into_iter().map(rule).collect(), default }
    }

    /// What the first section whose pattern is found in `path` says.
    pub fn find(&self, path: &str) -> Aggregation {
        self.rules.iter().find(|(pattern, _)| pattern.matches(path)).map_or(self.default, |(_, rule)| *rule)
    }

    /// How often a pattern reached the limit on backtracking.
    pub fn patterns_exhausted(&self) -> u64 {
        self.rules.iter().map(|(pattern, _)| pattern.exhausted()).sum()
    }
}

fn rule(section: &ini::Section) -> Result<(Pattern, Aggregation), (usize, String)> {
    let mut aggregation = Aggregation::DEFAULT;
    if let Some((text, line)) = section.get("xfilesfactor") {
        let factor = crate::parse_float(text).filter(|f| (0.0..=1.0).contains(f));
        aggregation.x_files_factor =
            factor.ok_or_else(|| (line, format!("xFilesFactor '{text}' is not a number from 0 to 1")))? as f32;
    }
    if let Some((name, line)) = section.get("aggregationmethod") {
        aggregation.method =
            AggregationMethod::from_name(name).ok_or_else(|| (line, format!("unknown aggregationMethod '{name}'")))?;
    }
    let pattern = section.get("pattern").filter(|(p, _)| !p.is_empty());
    let (pattern, line) = pattern.ok_or_else(|| (section.line, "no pattern".to_owned()))?;
    Ok((Pattern::new(pattern).map_err(|why| (line, why))?, aggregation))
}
