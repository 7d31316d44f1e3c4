//! Numbers as labels: how many decimals they need, and units that stand for powers.

/// Units of the value axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitSystem {
    /// Powers of 1,000: k, M, G, T, P, E.
    Si,
    /// Powers of 1,024: Ki, Mi, Gi, Ti, Pi, Ei.
    Binary,
    /// Seconds: m, H, D, M, Y.
    Sec,
    /// Milliseconds: s, m, H, D, M, Y.
    Msec,
    /// Numbers as they are.
    None,
}

const SI: [(&str, f64); 6] = [("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)];
const KI: f64 = 1024.0;
const BINARY: [(&str, f64); 6] = [
    ("Ei", KI * KI * KI * KI * KI * KI),
    ("Pi", KI * KI * KI * KI * KI),
    ("Ti", KI * KI * KI * KI),
    ("Gi", KI * KI * KI),
    ("Mi", KI * KI),
    ("Ki", KI),
];
const SEC: [(&str, f64); 5] = [("Y", 31_536_000.0), ("M", 2_592_000.0), ("D", 86_400.0), ("H", 3_600.0), ("m", 60.0)];
const MSEC: [(&str, f64); 6] =
    [("Y", 31_536e6), ("M", 2_592e6), ("D", 86_400e3), ("H", 3_600e3), ("m", 60e3), ("s", 1e3)];

/// Distances that fall on whole minutes, hours and days, in seconds; below and beyond 1, 2 and 5 times powers of ten.
const CLOCK_STEPS_S: [f64; 22] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0,
    10_800.0, 14_400.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0,
];

impl UnitSystem {
    /// By the name of `yUnitSystem`; unknown ones are [`UnitSystem::Si`].
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "binary" => Self::Binary,
            "sec" => Self::Sec,
            "msec" => Self::Msec,
            "none" => Self::None,
            _ => Self::Si,
        }
    }

    fn units(self) -> &'static [(&'static str, f64)] {
        match self {
            Self::Si => &SI,
            Self::Binary => &BINARY,
            Self::Sec => &SEC,
            Self::Msec => &MSEC,
            Self::None => &[],
        }
    }

    /// The least legible distance between labels that is at least `least`, which is positive.
    #[must_use]
    pub fn step_from(self, least: f64) -> f64 {
        // A hair of tolerance: 0.30000000000000004 is still 0.3.
        let least = least * (1.0 - 1e-9);
        let decimal = |least: f64| {
            let power = 10f64.powf(least.log10().floor());
            [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= least).unwrap_or(10.0 * power)
        };
        let clock = |unit: f64| {
            let (first, last) = (CLOCK_STEPS_S[0] * unit, CLOCK_STEPS_S[CLOCK_STEPS_S.len() - 1] * unit);
            if least <= first || least.is_nan() {
                decimal(least)
            } else if least > last {
                // Days.
                decimal(least / (86_400.0 * unit)) * 86_400.0 * unit
            } else {
                CLOCK_STEPS_S.into_iter().map(|s| s * unit).find(|s| *s >= least).unwrap_or(last)
            }
        };
        match self {
            Self::Binary if least > 1.0 => {
                let unit = BINARY.iter().find(|(_, size)| least >= *size).map_or(1.0, |(_, size)| *size);
                2f64.powf((least / unit).log2().ceil()) * unit
            }
            Self::Sec => clock(1.0),
            Self::Msec => clock(1_000.0),
            _ => decimal(least),
        }
    }

    /// A value as a label, where labels are `step` apart: in the largest unit that neither exceeds, with as many decimals
    /// as labels need to differ.
    #[must_use]
    pub fn label(self, value: f64, step: f64) -> String {
        // Zero that rounding has missed.
        let value = if value.abs() < step.abs() * 1e-9 { 0.0 } else { value };
        const COUNT_MAX: f64 = 1e9;
        let fits = |size: f64| {
            value.abs() / size < COUNT_MAX && value.abs() >= size * (1.0 - 1e-12) && step >= size * (1.0 - 1e-12)
        };
        match self.units().iter().find(|(_, size)| fits(*size)) {
            Some((unit, size)) => format!("{} {unit}", number(value / size, step / size)),
            None => number(value, step),
        }
    }
}

/// A number with the decimals that multiples of `step` need.
#[must_use]
pub fn number(value: f64, step: f64) -> String {
    const LARGE: f64 = 1e15;
    const SMALL: f64 = 1e-6;
    let scientific = value.abs() >= LARGE || (step > 0.0 && step < SMALL);
    if value == 0.0 {
        return "0".to_owned();
    }
    if scientific {
        let text = format!("{value:.6e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
        return format!("{digits}e{exponent}");
    }
    let exact = |decimals: &i32| {
        let shown = step * 10f64.powi(*decimals);
        (shown - shown.round()).abs() <= shown.abs() * 1e-6 && shown.round() != 0.0
    };
    // A third never comes out exactly: two digits of it will do.
    let enough = || (1 - step.abs().log10().floor().max(-8.0) as i32).max(0);
    let decimals = (0..=8).find(exact).filter(|d| *d <= enough() + 1).unwrap_or_else(enough);
    format!("{value:.*}", usize::try_from(decimals).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_legible() {
        use UnitSystem as U;
        for (units, value, step, want) in [
            (U::Si, 0.0, 5.0, "0"),
            (U::Si, 80.0, 20.0, "80"),
            (U::Si, -80.0, 20.0, "-80"),
            (U::Si, 0.30000000000000004, 0.1, "0.3"),
            (U::Si, 1e-17, 0.1, "0"),
            (U::Si, 0.0045, 0.0005, "0.0045"),
            (U::Si, 1200.0, 200.0, "1200"),
            (U::Si, 12_000.0, 2_000.0, "12 k"),
            (U::Si, 2_500_000.0, 500_000.0, "2500 k"),
            (U::Si, 3_000_000.0, 1_000_000.0, "3 M"),
            (U::Si, 7.5e6, 2.5e6, "7.5 M"),
            (U::Si, 5e21, 1e21, "5000 E"),
            (U::Si, 5e29, 1e29, "5e29"),
            (U::Si, 1e-9, 1e-9, "1e-9"),
            (U::Si, 2.5e-8, 5e-9, "2.5e-8"),
            (U::None, 3e6, 1e6, "3000000"),
            (U::None, 1e15, 1e14, "1e15"),
            (U::Si, 1.0 / 3.0, 1.0 / 3.0, "0.33"),
            (U::Binary, 65_536.0, 32_768.0, "64 Ki"),
            (U::Binary, 512.0, 256.0, "512"),
            (U::Sec, 5_400.0, 1_800.0, "90 m"),
            (U::Sec, 45.0, 15.0, "45"),
            (U::Sec, 7_200.0, 3_600.0, "2 H"),
            (U::Msec, 1_500.0, 500.0, "1500"),
            (U::Msec, 120_000.0, 60_000.0, "2 m"),
            (U::Msec, 4_000.0, 2_000.0, "4 s"),
        ] {
            assert_eq!(units.label(value, step), want, "{units:?} {value} {step}");
        }
    }

    #[test]
    fn steps_fall_on_round_numbers() {
        use UnitSystem as U;
        for (units, least, want) in [
            (U::Si, 3.0, 5.0),
            (U::Si, 0.30000000000000004, 0.5),
            (U::Si, 0.2000000001, 0.2),
            (U::Si, 21.0, 50.0),
            (U::Si, 9e-12, 1e-11),
            (U::None, 123_456.0, 200_000.0),
            (U::Binary, 0.3, 0.5),
            (U::Binary, 3.0, 4.0),
            (U::Binary, 40_000.0, 65_536.0),
            (U::Binary, 700_000.0, 1_048_576.0),
            (U::Sec, 0.3, 0.5),
            (U::Sec, 17.0, 20.0),
            (U::Sec, 700.0, 900.0),
            (U::Sec, 90_000.0, 172_800.0),
            (U::Sec, 400_000.0, 432_000.0),
            (U::Msec, 40.0, 50.0),
            (U::Msec, 70_000.0, 120_000.0),
        ] {
            let got = units.step_from(least);
            assert!((got - want).abs() < want * 1e-9, "{units:?} {least}: {got}");
        }
    }
}
