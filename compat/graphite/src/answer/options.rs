use crate::carbonapi;
use crate::eval::Request;
use crate::time;
use jiff::tz::TimeZone;
use rhythmite_model::{Error, Result};
use std::borrow::Cow;

/// Decoded parameters of a request, query and form together, in order; of several with one name
/// the last one counts, except for targets.
#[derive(Clone, Copy, Debug)]
pub struct Params<'a>(pub &'a [(String, String)]);

impl<'a> Params<'a> {
    /// The last value of a parameter.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// All values of a parameter.
    pub fn all(self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A whole number.
    ///
    /// # Errors
    /// `Invalid` when it is something else.
    pub fn int(self, name: &str, default: i64) -> Result<i64> {
        self.get(name).map_or(Ok(default), |value| {
            value.trim().parse().map_err(|_| Error::invalid(format!("Invalid int value {value:?} for param {name}")))
        })
    }

    /// `from`, `until` and the like: the zone and the instant that counts as now.
    ///
    /// # Errors
    /// `Invalid` when `now` is no time. An unknown zone is ignored.
    pub fn clock(self, clock_s: i64, server_zone: &TimeZone) -> Result<(TimeZone, i64)> {
        let zone = self.get("tz").and_then(time::zone).unwrap_or_else(|| server_zone.clone());
        let now_s = self.get("now").map_or(Ok(clock_s), |now| time::parse_time(now, &zone, clock_s))?;
        Ok((zone, now_s))
    }
}

/// The format of a render answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `carbonapi_v3_pb`
    CarbonapiV3,
    /// `csv`
    Csv,
    /// `dygraph`
    Dygraph,
    /// `json`
    Json,
    /// `msgpack`
    Msgpack,
    /// `pdf`
    Pdf,
    /// `pickle`
    Pickle,
    /// `png`, and every unknown format.
    Png,
    /// `raw`
    Raw,
    /// `rickshaw`
    Rickshaw,
    /// `svg`
    Svg,
}

impl Format {
    /// Whether [`crate::draw`] makes it.
    #[must_use]
    pub fn is_picture(self) -> bool {
        matches!(self, Self::Pdf | Self::Png | Self::Svg)
    }
}

/// `graphType`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphType {
    /// Lines over time.
    Line,
    /// One slice per series.
    Pie,
}

/// `pieMode`: the value of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieMode {
    /// Mean.
    Average,
    /// Largest.
    Maximum,
    /// Smallest.
    Minimum,
}

/// The parameters of `/render` that do not concern the looks of an image.
#[derive(Clone, Debug)]
pub struct RenderOptions {
    /// Targets in order, `target` or else `target[]`.
    pub targets: Vec<String>,
    /// Start of the range.
    pub from_s: i64,
    /// End of the range, later than the start.
    pub until_s: i64,
    /// The instant that counts as now.
    pub now_s: i64,
    /// Zone of relative times and of times in answers.
    pub zone: TimeZone,
    /// The format.
    pub format: Format,
    /// Callback for JSONP; only with an explicit format.
    pub jsonp: Option<String>,
    /// Indented JSON.
    pub pretty: bool,
    /// How the answer came about, beside the series; JSON only.
    pub meta: bool,
    /// Most points per series in JSON.
    pub max_data_points: Option<u64>,
    /// Leave unknown points, and series without a known one, out of JSON.
    pub no_null_points: bool,
    /// Factor for functions that aggregate.
    pub x_files_factor: f64,
    /// `template[name]=value`.
    pub template: Vec<(String, String)>,
    /// Lines or slices.
    pub graph_type: GraphType,
    /// What a slice shows.
    pub pie_mode: PieMode,
    /// How long the answer may be kept; zero with `noCache`.
    pub cache_s: Option<u64>,
}

impl RenderOptions {
    /// Reads the parameters. `clock_s` is the time of day, `server_zone` the zone without `tz`.
    ///
    /// # Errors
    /// `Invalid` for malformed times and numbers, an unknown graph type, or an empty range.
    pub fn parse(params: Params<'_>, clock_s: i64, server_zone: &TimeZone) -> Result<Self> {
        let graph_type = match params.get("graphType") {
            None | Some("line") => GraphType::Line,
            Some("pie") => GraphType::Pie,
            Some(other) => {
                return Err(Error::invalid(format!("Invalid graphType '{other}', must be one of line, pie")));
            }
        };
        let pie_mode = match params.get("pieMode") {
            None | Some("" | "average") => PieMode::Average,
            Some("maximum") => PieMode::Maximum,
            Some("minimum") => PieMode::Minimum,
            Some(other) => return Err(Error::invalid(format!("Function \"{other}\" not found"))),
        };
        let cache_s = match params.get("cacheTimeout") {
            None => None,
            Some(_) => Some(u64::try_from(params.int("cacheTimeout", 0)?).unwrap_or(0)),
        };
        let mut targets: Vec<String> = params.all("target").map(str::to_owned).collect();
        if targets.is_empty() {
            targets = params.all("target[]").map(str::to_owned).collect();
        }
        let (zone, now_s) = params.clock(clock_s, server_zone)?;
        let at = |name: &str| params.get(name).map(|text| time::parse_time(text, &zone, now_s)).transpose();
        let (until_s, from_s) = (at("until")?.unwrap_or(now_s), at("from")?.unwrap_or(now_s - DAY_S));
        if from_s == until_s {
            return Err(Error::invalid("Invalid empty time range"));
        }
        let x_files_factor = params.get("xFilesFactor").map_or(Ok(0.0), |text| {
            text.trim().parse().map_err(|_| Error::invalid(format!("could not convert string to float: '{text}'")))
        })?;
        let template = |(name, value): &(String, String)| {
            let name = name.strip_prefix("template[")?.strip_suffix(']')?;
            Some((name.to_owned(), value.clone()))
        };
        Ok(Self {
            targets,
            from_s: from_s.min(until_s),
            until_s: from_s.max(until_s),
            now_s,
            format: format(params),
            jsonp: params.get("jsonp").filter(|_| params.get("format").is_some()).map(str::to_owned),
            pretty: params.get("pretty").is_some_and(|p| !p.is_empty()),
            meta: params.get("meta").is_some_and(|m| m == "1" || m.eq_ignore_ascii_case("true")),
            max_data_points: params.get("maxDataPoints").and_then(digits),
            no_null_points: params.get("noNullPoints").is_some(),
            x_files_factor,
            template: params.0.iter().filter_map(template).collect(),
            graph_type,
            pie_mode,
            cache_s: if params.get("noCache").is_some() { Some(0) } else { cache_s },
            zone,
        })
    }

    /// The request to evaluate.
    ///
    /// # Errors
    /// `Invalid` for a malformed target.
    pub fn request(&self) -> Result<Request> {
        let literal = |target| match self.graph_type {
            GraphType::Pie => slice(target),
            GraphType::Line => Ok(Cow::Borrowed(target)),
        };
        let targets = self.targets.iter().map(String::as_str).map(literal).collect::<Result<Vec<_>>>()?;
        let mut request = Request::new(&targets, self.from_s, self.until_s, self.now_s)?;
        request.zone = self.zone.clone();
        request.x_files_factor = self.x_files_factor;
        request.template.clone_from(&self.template);
        Ok(request)
    }
}

const DAY_S: i64 = 86_400;

/// A pie's `name:number` as a target that means the same; other targets as they are.
fn slice(target: &str) -> Result<Cow<'_, str>> {
    let Some((name, value)) = target.rsplit_once(':').filter(|(name, _)| !name.contains(['(', '"', '\''])) else {
        return Ok(Cow::Borrowed(target));
    };
    let value = value.trim().parse().ok().filter(|v: &f64| v.is_finite());
    let value = value.ok_or_else(|| Error::invalid(format!("Invalid target '{target}': expected name:number")))?;
    Ok(Cow::Owned(format!("alias(constantLine({value}),\"{name}\")")))
}

/// What is not a plain number is ignored.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn format(params: Params<'_>) -> Format {
    match params.get("format") {
        Some("csv") => Format::Csv,
        Some("dygraph") => Format::Dygraph,
        Some("json") => Format::Json,
        Some("msgpack") => Format::Msgpack,
        Some("pdf") => Format::Pdf,
        Some("pickle") => Format::Pickle,
        Some("raw") => Format::Raw,
        Some("rickshaw") => Format::Rickshaw,
        Some("svg") => Format::Svg,
        Some(other) if carbonapi::is_format(other) => Format::CarbonapiV3,
        Some(_) => Format::Png,
        None if params.get("rawData").is_some() => Format::Raw,
        None if params.get("pickle").is_some() => Format::Pickle,
        None => Format::Png,
    }
}
