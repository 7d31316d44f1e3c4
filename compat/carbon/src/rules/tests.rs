use super::*;

fn archives(text: &str) -> String {
    match parse_retentions(text) {
        Ok(list) => list.iter().map(|a| format!("{}x{}", a.step_s, a.points)).collect::<Vec<_>>().join(" "),
        Err(why) => format!("! {why}"),
    }
}

fn texts(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().map(Warning::to_string).collect()
}

#[test]
fn retentions_are_steps_and_spans() {
    for (text, want) in [
        ("10s:6h", "10x2160"),
        ("1s:1h,10s:6h,1m:2d", "1x3600 10x2160 60x2880"),
        ("60:1440", "60x1440"),
        ("10:360,60:1440", "10x360 60x1440"),
        ("60s:1w, 1h:1y", "60x10080 3600x8760"),
        ("1h:1y,60s:1w", "60x10080 3600x8760"),
        ("15min:10years", "900x350400"),
        ("7s:1m", "7x8"),
        ("10s:6h,\n1m:7d", "10x2160 60x10080"),
        ("10s:1h,15s:1d", "! the steps 10 s and 15 s do not divide"),
        ("10s:1h,10s:1d", "! two archives with the same step, 10 s"),
        ("10s:1d,60s:1d", "! of the archives with steps 10 s and 60 s the coarser must cover a longer time"),
        ("1s:30,60s:1d", "! the archive with step 1 s is too short for one step of 60 s"),
        ("", "! '': an archive is step:retention"),
        ("10s", "! '10s': an archive is step:retention"),
        ("10s:6h,", "! '': an archive is step:retention"),
        ("10x:6h", "! '10x:6h': the step is not a number with a unit"),
        ("s:6h", "! 's:6h': the step is not a number with a unit"),
        ("-1:6h", "! '-1:6h': the step is not a number with a unit"),
        ("10s:6", "10x6"),
        ("10s:6q", "! '10s:6q': the retention is not a number with a unit"),
        ("0:10", "! '0:10': the step is zero or too large"),
        ("60s:30s", "! '60s:30s': the retention holds no point or too many"),
        ("1s:99999999999y", "! '1s:99999999999y': the retention holds no point or too many"),
        ("9999999999y:1", "! '9999999999y:1': the step is zero or too large"),
    ] {
        assert_eq!(archives(text), want, "{text}");
    }
}

#[test]
fn the_first_schema_that_matches_counts() {
    let (schemas, warnings) = StorageSchemas::parse(
        "# first match wins\n[fine]\npattern = ^p\\.fine\\.\nretentions = 1s:1h,10s:6h\n\
         [no-retentions]\npattern = ^p\\.hole\\.\n\
         [bad-multiple]\nretentions = 10s:1h,15s:1d\npattern = ^p\\.bad\\.\n\
         [points]\nPattern: \\.pts$\nRETENTIONS : 10:360,\n   60:1440\n\
         [look]\npattern = ^(?!x\\.)(?P<a>l+)\\.(?P=a)$\nretentions = 5s:1h\n\
         [late]\npattern = ^p\\.fine\\.never\nretentions = 60s:1d\n\
         [no-pattern]\nretentions = 60s:1d\n\
         [broken]\npattern = (\nretentions = 60s:1d\n",
        "storage-schemas.conf",
    );
    for (path, name, step_s) in [
        ("p.fine.a", "fine", 1),
        ("p.fine.never", "fine", 1),
        ("x.p.fine.a", "default", 60),
        ("p.hole.a", "default", 60),
        ("p.bad.a", "default", 60),
        ("any.pts", "points", 10),
        ("ll.ll", "look", 5),
        ("ll.l", "default", 60),
    ] {
        let schema = schemas.find(path);
        assert_eq!((schema.name.as_str(), schema.archives[0].step_s), (name, step_s), "{path}");
    }
    assert_eq!(schemas.find("any.pts").archives[1], Archive { step_s: 60, points: 1440 });
    assert_eq!(schemas.find("none").archives, [Archive { step_s: 60, points: 10_080 }]);
    let warnings = texts(&warnings);
    assert_eq!(
        warnings[..3],
        [
            "storage-schemas.conf:5: [no-retentions] section skipped: no retentions",
            "storage-schemas.conf:8: [bad-multiple] section skipped: the steps 10 s and 15 s do not divide",
            "storage-schemas.conf:20: [no-pattern] section skipped: no pattern",
        ]
    );
    assert!(warnings[3].starts_with("storage-schemas.conf:23: [broken] section skipped: invalid pattern '('"));
    assert_eq!(warnings.len(), 4);
}

#[test]
fn configuration_is_read_as_python_does() {
    let (schemas, warnings) = StorageSchemas::parse(
        "stray = 1\n[a]\n; comment\npattern = a%%b = c ; no comment\nretentions = 1s:1h\nnonsense\n[a]\n\
         pattern=x\npattern=y\nretentions=2s:1h\n",
        "s.conf",
    );
    assert_eq!(schemas.find("a%b = c ; no comment").archives[0].step_s, 1);
    assert_eq!(schemas.find("y").archives[0].step_s, 2);
    assert_eq!(schemas.find("x").name, "default");
    assert_eq!(
        texts(&warnings),
        [
            "s.conf:1: ignored: it stands before the first [section]",
            "s.conf:6: [a] ignored: 'nonsense' is not key = value",
            "s.conf:7: [a] the section is there twice; both count, in order",
            "s.conf:9: [a] pattern is there twice; this one counts",
        ]
    );
}

#[test]
fn aggregation_is_decided_by_name() {
    let (rules, warnings) = StorageAggregation::parse(
        "[min]\npattern = \\.(min|lower)$\nxFilesFactor = 0.1\naggregationMethod = min\n\
         [amax]\npattern = \\.amax$\naggregationMethod = absmax\nxFilesFactor = 0\n\
         [only-xff]\npattern = \\.strict$\nxFilesFactor = 1.0\n\
         [only-method]\npattern = \\.total$\naggregationMethod = sum\n\
         [xff]\npattern = .\nxFilesFactor = 1.5\n[method]\npattern = .\naggregationMethod = mean\n[none]\nxFilesFactor = 1\n",
        "sa.conf",
    );
    for (path, method, x_files_factor) in [
        ("a.min", "min", 0.1),
        ("a.lower", "min", 0.1),
        ("a.amax", "absmax", 0.0),
        ("a.strict", "average", 1.0),
        ("a.total", "sum", 0.5),
        ("a.other", "average", 0.5),
    ] {
        let got = rules.find(path);
        assert_eq!((got.method.name(), got.x_files_factor), (method, x_files_factor), "{path}");
    }
    assert_eq!(
        texts(&warnings),
        [
            "sa.conf:17: [xff] section skipped: xFilesFactor '1.5' is not a number from 0 to 1",
            "sa.conf:20: [method] section skipped: unknown aggregationMethod 'mean'",
            "sa.conf:21: [none] section skipped: no pattern",
        ]
    );
}

#[test]
fn without_files_the_built_in_rules_hold() {
    let schemas = StorageSchemas::built_in();
    assert_eq!(schemas.find("any").archives, parse_retentions("10s:6h,1m:7d,10m:5y").unwrap());
    let rules = StorageAggregation::built_in();
    for (path, method) in [
        ("stats.timers.k.upper", "max"),
        ("stats.timers.k.upper_99_9", "max"),
        ("stats.timers.k.upper_90;host=a", "max"),
        ("max", "max"),
        ("a.supermax", "average"),
        ("a.max.b", "average"),
        ("stats.timers.k.lower", "min"),
        ("stats.timers.k.lower_top10", "min"),
        ("a.min", "min"),
        ("stats.timers.k.count", "sum"),
        ("stats.timers.k.count_90", "sum"),
        ("stats.timers.k.sum", "sum"),
        ("stats.timers.k.sum_squares_90", "sum"),
        ("stats.timers.k.count_ps", "average"),
        ("stats_counts.k", "sum"),
        ("stats.gauges.k", "last"),
        ("stats.gauges.queue.count", "last"),
        ("stats.k", "average"),
        ("stats.timers.k.mean_90", "average"),
        ("m;a=x.count", "average"),
    ] {
        let got = rules.find(path);
        assert_eq!((got.method.name(), got.x_files_factor), (method, 0.0), "{path}");
    }
}

#[test]
fn the_blacklist_beats_the_whitelist() {
    let (whitelist, none) = NameList::parse("# only these\n^p\\.list\\.ok\\.\n\n\\.also$\n", "whitelist.conf");
    assert_eq!(none, []);
    let (blacklist, warnings) = NameList::parse("secret\n(\n^p\\.list\\.ok\\.drop\\.\r\n", "blacklist.conf");
    assert!(texts(&warnings)[0].starts_with("blacklist.conf:2: line skipped: invalid pattern '('"));
    let filter = Filter { whitelist, blacklist };
    for (path, want) in [
        ("p.list.ok.a", Verdict::Accepted),
        ("p.list.x.also", Verdict::Accepted),
        ("p.list.x.also2", Verdict::NotWhitelisted),
        ("p.list.no.a", Verdict::NotWhitelisted),
        ("p.list.ok.secret.a", Verdict::Blacklisted),
        ("p.list.ok.drop.a", Verdict::Blacklisted),
        ("p.secrets.also", Verdict::Blacklisted),
    ] {
        assert_eq!(filter.check(path), want, "{path}");
    }
    assert_eq!(Filter::default().check("any"), Verdict::Accepted);
}

#[test]
fn a_runaway_pattern_is_no_match_and_counted() {
    let (list, warnings) = NameList::parse("^(?=(a+)+$)b\n^(a|a)*(?=b)$\n", "blacklist.conf");
    assert_eq!(warnings, []);
    assert_eq!(list.patterns_exhausted(), 0);
    assert!(!list.matches(&"a".repeat(5000)));
    assert!(list.patterns_exhausted() > 0);
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_is_read(text in "(\\[[a-z]{0,2}\\]?|pattern|retentions|xFilesFactor|[=: \n\t(*a0-9%smh,.]){0,60}") {
            let (schemas, _) = StorageSchemas::parse(&text, "f");
            prop_assert!(schemas.schemas().iter().all(|s| !s.archives.is_empty()));
            let _ = schemas.find("a.b");
            let _ = StorageAggregation::parse(&text, "f").0.find("a.b");
            let _ = NameList::parse(&text, "f").0.matches("a.b");
            let _ = parse_retentions(&text);
        }
    }
}
