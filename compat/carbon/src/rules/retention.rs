/// One archive: so many points, each so many seconds wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Archive {
    /// Seconds per point, above zero.
    pub step_s: u32,
    /// Number of points, above zero.
    pub points: u32,
}

impl Archive {
    /// The span the archive covers, in seconds.
    pub fn retention_s(&self) -> u64 {
        u64::from(self.step_s) * u64::from(self.points)
    }
}

/// Reads `10s:6h,1m:7d` or `60:1440`: a step and a span or number of points per archive, finest first in the answer.
///
/// Units are s, m, h, d, w and y (365 days), or longer beginnings of their names. A number without a unit is
/// seconds before the colon and points behind it.
///
/// # Errors
/// A message that names the part at fault, or the rule of whisper that the archives break: steps must differ
/// and each divide the next, retentions must grow, and an archive must hold enough points for one point of the next.
pub fn parse_retentions(text: &str) -> Result<Vec<Archive>, String> {
    let mut archives = text.split(',').map(|part| parse_archive(part.trim())).collect::<Result<Vec<_>, _>>()?;
    archives.sort_by_key(|a| a.step_s);
    for pair in archives.windows(2) {
        let (fine, coarse) = (pair[0], pair[1]);
        let steps = format!("{} s and {} s", fine.step_s, coarse.step_s);
        if fine.step_s == coarse.step_s {
            return Err(format!("two archives with the same step, {} s", fine.step_s));
        }
        if !coarse.step_s.is_multiple_of(fine.step_s) {
            return Err(format!("the steps {steps} do not divide"));
        }
        if coarse.retention_s() <= fine.retention_s() {
            return Err(format!("of the archives with steps {steps} the coarser must cover a longer time"));
        }
        if fine.points < coarse.step_s / fine.step_s {
            return Err(format!(
                "the archive with step {} s is too short for one step of {} s",
                fine.step_s, coarse.step_s
            ));
        }
    }
    Ok(archives)
}

fn parse_archive(part: &str) -> Result<Archive, String> {
    let invalid = |what: &str| format!("'{part}': {what}");
    let (step, span) = part.split_once(':').ok_or_else(|| invalid("an archive is step:retention"))?;
    let (step, unit) = quantity(step).ok_or_else(|| invalid("the step is not a number with a unit"))?;
    let step_s = step.checked_mul(unit.unwrap_or(1)).and_then(|s| u32::try_from(s).ok());
    let step_s = step_s.filter(|s| *s > 0).ok_or_else(|| invalid("the step is zero or too large"))?;
    let (span, unit) = quantity(span).ok_or_else(|| invalid("the retention is not a number with a unit"))?;
    let points = match unit {
        None => Some(span),
        Some(unit) => span.checked_mul(unit).map(|s| s / u64::from(step_s)),
    };
    let points = points.and_then(|p| u32::try_from(p).ok()).filter(|p| *p > 0);
    let points = points.ok_or_else(|| invalid("the retention holds no point or too many"))?;
    Ok(Archive { step_s, points })
}

/// A number and the seconds of its unit, where it has one.
fn quantity(text: &str) -> Option<(u64, Option<u64>)> {
    const UNITS: [(&str, u64); 6] = [
        ("seconds", 1),
        ("minutes", 60),
        ("hours", 3600),
        ("days", 86_400),
        ("weeks", 7 * 86_400),
        ("years", 365 * 86_400),
    ];
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number = number.parse().ok()?;
    if unit.is_empty() {
        return Some((number, None));
    }
    UNITS.iter().find(|(name, _)| name.starts_with(unit)).map(|(_, seconds)| (number, Some(*seconds)))
}
