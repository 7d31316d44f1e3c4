//! Functions that neither graphite-web nor carbonapi has, for series that only this server makes.

use super::Param as P;
use super::ParamType as T;
use super::support::group_by;
use super::{Function, Group};
use crate::series::{Series, normalize};
use crate::target;
use rhythmite_model::sketch::{Bucket, quantile};
use rhythmite_model::{Error, Result};

pub(super) const ALL: &[Function] = &[SKETCH_PERCENTILE];

/// The node of a path behind which the bucket stands.
const SKETCH: &str = ".sketch.";

const SKETCH_PERCENTILE: Function = Function {
    names: &["sketchPercentile"],
    group: Group::Own,
    about: "The `n`-th percentile of each timer whose buckets (`KEY.sketch.*`) are given, at each point. Over an hour: \
            `sketchPercentile(summarize(KEY.sketch.*, '1h', 'sum'), 99)`.",
    params: &[P::SERIES, P::required("n", T::Float)],
    aggregator: false,
    run: |c| {
        let n = c.finite("n")?;
        if !(0.0..=100.0).contains(&n) {
            return Err(Error::invalid(format!("there is no percentile {n}")).into());
        }
        let mut buckets = Vec::new();
        for series in c.series("seriesList")? {
            let (timer, bucket) = parts(&series)?;
            buckets.push((timer, bucket, series));
        }
        let mut lines = Vec::new();
        for (timer, mut buckets) in group_by(buckets, |(timer, ..)| Ok(timer.clone()))? {
            buckets.sort_by_key(|(_, bucket, _)| *bucket);
            let Some(all) = normalize(buckets.iter().map(|(.., series)| series))? else { continue };
            let points = usize::try_from((all.end_s - all.start_s) / all.step_s).unwrap_or(0);
            let points = c.eval.points.make(points as i64)?;
            let at = |i: usize| {
                let counts = buckets.iter().zip(&all.columns);
                let counts =
                    counts.map(|((_, bucket, _), column)| (*bucket, column.get(i).copied().unwrap_or(f64::NAN)));
                quantile(counts, n / 100.0).unwrap_or(f64::NAN)
            };
            let values = (0..points).map(at).collect();
            let name = format!("sketchPercentile({timer},{})", crate::python::general(n));
            let mut tags = buckets[0].2.tags.clone();
            buckets.iter().for_each(|(.., series)| tags.keep_common(&series.tags));
            tags.set("name", &timer);
            tags.set("sketchPercentile", n);
            lines.push(Series { tags, ..Series::new(name, all.start_s, all.end_s, all.step_s, values) });
        }
        Ok(lines.into())
    },
};

/// The timer's path (without the bucket, with its tags) and the bucket.
fn parts(series: &Series) -> Result<(String, Bucket)> {
    let expr = if series.name.ends_with(')') { Some(target::parse_prefix(&series.name)?) } else { None };
    let path = expr.as_ref().and_then(|e| e.first_path()).unwrap_or(&series.name);
    let (dotted, tags) = path.split_at(path.find(';').unwrap_or(path.len()));
    let found = dotted.rfind(SKETCH).and_then(|at| {
        let rest = &dotted[at + SKETCH.len()..];
        // A suffix of all names may follow.
        let (bucket, suffix) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
        Some((format!("{}{suffix}{tags}", &dotted[..at]), bucket.parse().ok()?))
    });
    found.ok_or_else(|| Error::invalid(format!("{path} is no bucket of a sketch (KEY.sketch.BUCKET)")))
}
