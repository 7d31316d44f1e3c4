use super::{AggFunc, Consolidation, RollupMethod, Series, Tags, lcm, normalize, percentile, roll_up};

const N: f64 = f64::NAN;

fn assert_same(got: &[f64], want: &[f64], what: &str) {
    let same = |(a, b): (&f64, &f64)| a.is_nan() && b.is_nan() || (a - b).abs() < 1e-12;
    assert!(got.len() == want.len() && got.iter().zip(want).all(same), "{what}: {got:?}, expected {want:?}");
}

#[test]
fn many_values_into_one() {
    for (name, want, of_nothing) in [
        ("average", 2.0, N),
        ("avg_zero", 1.5, 0.0),
        ("median", 2.0, N),
        ("sum", 6.0, N),
        ("total", 6.0, N),
        ("min", 1.0, N),
        ("max", 3.0, N),
        ("diff", -2.0, N),
        ("stddev", (2.0f64 / 3.0).sqrt(), N),
        ("count", 3.0, 0.0),
        ("rangeOf", 2.0, N),
        ("multiply", N, N),
        ("current", 3.0, N),
    ] {
        let func = AggFunc::parse(name).expect(name);
        assert_same(&[func.apply(&[2.0, N, 1.0, 3.0]), func.apply(&[N])], &[want, of_nothing], name);
    }
    assert_eq!(AggFunc::Multiply.apply(&[2.0, 3.0]), 6.0);
    assert_eq!(AggFunc::Median.apply(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    assert!(AggFunc::parse("bogus").is_err());
}

#[test]
fn rows_agree_with_single_aggregation() {
    let columns = [vec![1.0, N, 5.0, N], vec![4.0, 2.0, N], vec![2.0, N, 1.0, N]];
    let series: Vec<Series> = columns.iter().map(|c| Series::new("a", 0, 40, 10, c.clone())).collect();
    let all = normalize(&series).expect("steps agree").expect("not empty");
    for (name, func) in AggFunc::NAMES {
        for xff in [0.0, 0.5, 1.0] {
            let want: Vec<f64> = (0..4)
                .map(|i| {
                    let row: Vec<f64> = columns.iter().map(|c| c.get(i).copied().unwrap_or(N)).collect();
                    let known = row.iter().filter(|v| !v.is_nan()).count();
                    if known == 0 || known as f64 / 3.0 < xff { N } else { func.apply(&row) }
                })
                .collect();
            assert_same(&all.aggregate(func, xff), &want, name);
        }
    }
}

#[test]
fn different_steps_meet_at_their_common_multiple() {
    let a = Series::new("a", 10, 70, 10, vec![1.0, 2.0, 3.0, 4.0, N, 6.0]);
    let mut b = Series::new("b", 0, 60, 20, vec![10.0, 30.0, 5.0]);
    b.consolidation = Consolidation::named("max");
    let c = Series::new("c", 0, 60, 60, vec![7.0]);
    let all = normalize([&a, &b, &c]).expect("ok").expect("some");
    assert_eq!((all.start_s, all.end_s, all.step_s), (0, 60, 60));
    assert_same(&all.columns.iter().map(|c| c[0]).collect::<Vec<_>>(), &[3.2, 30.0, 7.0], "columns");
    assert!(normalize([]).expect("ok").is_none());
    assert!(lcm(0, 5).is_err() && lcm(i64::MAX, i64::MAX - 1).is_err());
    b.consolidation = Consolidation::named("bogus");
    assert!(normalize([&a, &b, &c]).is_err());
}

#[test]
fn consolidation() {
    let values = [1.0, 3.0, N, N, 4.0, N, 7.0];
    for (name, xff, want) in [
        ("average", 0.0, [2.0, 4.0, 7.0]),
        ("avg", 0.5, [2.0, N, N]),
        ("sum", 0.0, [4.0, 4.0, 7.0]),
        ("avg_zero", 0.0, [4.0 / 3.0, 4.0 / 3.0, 7.0]),
        ("min", 0.0, [1.0, 4.0, 7.0]),
        ("max", 0.0, [3.0, 4.0, 7.0]),
        ("first", 0.0, [1.0, 4.0, 7.0]),
        ("last", 0.0, [3.0, 4.0, 7.0]),
    ] {
        assert_same(&Consolidation::named(name).apply(&values, 3, xff).expect(name), &want, name);
    }
    assert!(Consolidation::named("bogus").apply(&values, 3, 0.0).is_err());
}

#[test]
fn percentiles() {
    let of = |n, interpolate| percentile(&mut [4.0, 1.0, 3.0, 2.0], n, interpolate).unwrap_or(f64::INFINITY);
    for (n, plain, interpolated) in
        [(1.0, 1.0, 1.0), (50.0, 3.0, 2.5), (75.0, 4.0, 3.75), (99.9, 4.0, 4.0), (100.0, 4.0, 4.0)]
    {
        assert_same(&[of(n, false), of(n, true)], &[plain, interpolated], &n.to_string());
    }
    assert!(percentile(&mut [], 50.0, false).is_some_and(f64::is_nan));
    assert_eq!((of(-20.0, false), of(-2.5, false), of(101.0, false)), (3.0, 1.0, f64::INFINITY));
}

#[test]
fn tags_of_names() {
    for (name, want) in [
        ("a.b", "a.b"),
        ("disk;rack=a1;dc=x=y", "disk;dc=x=y;rack=a1"),
        ("disk;rack", "disk;rack"),
        (";a=b", ";a=b"),
        ("sum(disk;a=b)", "sum(disk;a=b)"),
        ("f();a=b", "f();a=b"),
    ] {
        assert_eq!(Tags::of_name(name).to_string(), want, "{name}");
    }
    assert_eq!(Tags::of_name("disk;rack=a1").get("rack"), Some("a1"));
    assert_eq!(Tags::of_name("sum(disk;a=b)").get("a"), None);
}

#[test]
fn rolling_up() {
    let values = [1.0, 2.0, N, N, 6.0, -9.0, N];
    for (method, xff, want) in [
        (RollupMethod::Average, 0.0, [1.5, 6.0, -9.0]),
        (RollupMethod::Average, 0.5, [1.5, N, N]),
        (RollupMethod::Sum, 0.0, [3.0, 6.0, -9.0]),
        (RollupMethod::Last, 0.0, [2.0, 6.0, -9.0]),
        (RollupMethod::AvgZero, 0.0, [1.0, 2.0, -3.0]),
        (RollupMethod::AbsMin, 0.0, [1.0, 6.0, -9.0]),
        (RollupMethod::Median, 0.0, [1.5, 6.0, -9.0]),
    ] {
        let (start, got) = roll_up(130, 10, &values, 30, method, xff);
        assert_eq!(start, 120);
        assert_same(&got, &want, &format!("{method:?}"));
    }
}

#[test]
fn points_end_with_the_range() {
    let series = Series::new("a", 0, 25, 10, vec![1.0, 2.0, 3.0, 4.0]);
    assert_eq!(series.points().map(|(t, _)| t).collect::<Vec<_>>(), [0, 10, 20]);
    assert_eq!(Series::new("a", 0, 1, 0, vec![1.0]).points().len(), 0);
}
