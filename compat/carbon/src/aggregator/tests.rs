use super::*;
use crate::point::Point;
use crate::rules::Warning;

fn texts(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().map(Warning::to_string).collect()
}

struct Bench {
    aggregator: Aggregator,
    now_s: i64,
}

impl Bench {
    fn new(rules: &str, rewrites: &str, options: Options) -> Self {
        let (rules, bad_rules) = AggregationRules::parse(rules, "aggregation-rules.conf");
        let (rewrites, bad_rewrites) = RewriteRules::parse(rewrites, "rewrite-rules.conf");
        assert_eq!((bad_rules, bad_rewrites), (vec![], vec![]));
        Self { aggregator: Aggregator::new(rules, rewrites, options), now_s: 1000 }
    }

    /// Sends `name value time` points, separated by commas; what is forwarded in the same form.
    fn send(&mut self, points: &str) -> String {
        let mut out = Vec::new();
        for point in points.split(", ") {
            let [path, value, ts_s] = point.split(' ').collect::<Vec<_>>()[..] else { panic!("{point}") };
            let point = Point { path, value: value.parse().unwrap(), ts_s: ts_s.parse().unwrap() };
            self.aggregator.input(point, self.now_s, &mut |p| out.push(show(p)));
        }
        out.join(", ")
    }

    /// Lets the clock run second by second to `now_s`; what is emitted, with the time it is.
    fn run(&mut self, now_s: i64) -> String {
        let mut out = Vec::new();
        while self.now_s < now_s {
            self.now_s += 1;
            let now_s = self.now_s;
            self.aggregator.tick(now_s, &mut |p| out.push(format!("{now_s}: {}", show(p))));
        }
        out.join(", ")
    }
}

fn show(p: Point<'_>) -> String {
    format!("{} {} {}", p.path, p.value, p.ts_s)
}

fn quiet() -> Options {
    Options { forward_all: false, ..Options::default() }
}

#[test]
fn an_output_emits_every_frequency_after_its_first_point() {
    let mut b = Bench::new("all.<m> (10) = sum host*.<m>", "", Options::default());
    assert_eq!(b.send("host1.req 1 991, host2.req 2 999"), "host1.req 1 991, host2.req 2 999");
    assert_eq!(b.aggregator.next_due_s(), Some(1010));
    assert_eq!(b.run(1004), "");
    assert_eq!(b.send("host1.req 4 1000, hostile.x.req 9 1000"), "host1.req 4 1000, hostile.x.req 9 1000");
    assert_eq!(b.run(1030), "1010: all.req 3 990, 1010: all.req 4 1000");
    assert_eq!(b.aggregator.counters().unmatched, 1);
}

#[test]
fn a_late_point_reopens_its_interval_until_that_is_forgotten() {
    let mut b = Bench::new("o (10) = sum i", "", quiet());
    b.send("i 1 1000");
    assert_eq!(b.run(1049), "1010: o 1 1000");
    b.send("i 2 1001");
    // At 1050 the interval is as old as five: kept. It is emitted whole.
    assert_eq!(b.run(1059), "1050: o 3 1000");
    // At 1060 it is older, and dropped; what comes now is alone.
    assert_eq!(b.run(1061), "");
    assert_eq!(b.aggregator.intervals_held(), 0);
    b.send("i 4 1002");
    assert_eq!(b.run(1100), "1071: o 4 1000");
    assert_eq!(b.aggregator.next_due_s(), None);
}

#[test]
fn write_back_frequency_emits_unfinished_intervals() {
    let mut b = Bench::new("o (10) = avg i", "", Options { write_back_frequency_s: Some(3), ..quiet() });
    b.send("i 1 1000");
    assert_eq!(b.run(1004), "1003: o 1 1000");
    b.send("i 4 1004");
    assert_eq!(b.run(1010), "1006: o 2.5 1000");
}

#[test]
fn missed_ticks_do_not_pile_up() {
    let mut b = Bench::new("o (10) = sum i", "", quiet());
    b.send("i 1 1000");
    let mut out = Vec::new();
    b.aggregator.tick(1037, &mut |p| out.push(show(p)));
    assert_eq!(out, ["o 1 1000"]);
    assert_eq!(b.aggregator.next_due_s(), Some(1040));
}

#[test]
fn methods_agree_with_the_reference() {
    let values = "h0.v 15 1000, h1.v 20 1000, h2.v 35 1000, h3.v 40 1000, h4.v 50 1000, h5.v 3 1000, h6.v 99 1000";
    for (method, want) in [
        ("sum", 262.0),
        ("avg", 262.0 / 7.0),
        ("min", 3.0),
        ("max", 99.0),
        ("count", 7.0),
        ("p50", 35.0),
        ("p75", 45.0),
        ("p80", 48.0),
        ("p90", 69.6),
        ("p95", 84.3),
        ("p99", 96.06),
        ("p999", 98.706),
    ] {
        let mut b = Bench::new(&format!("o (5) = {method} *.v"), "", quiet());
        b.send(values);
        let got = b.run(1005);
        let value: f64 = got.split(' ').nth(2).unwrap().parse().unwrap();
        assert!((value - want).abs() < 1e-9, "{method}: {got}");
    }
}

#[test]
fn fields_carry_over_to_the_output() {
    for (rule, input, output) in [
        ("<env>.all (5) = sum <env>.*.v", "prod.h1.v", Some("prod.all")),
        ("<env>.all (5) = sum <env>.*.v", "prod.h1.x.v", None),
        ("out.<rest> (5) = sum in.*.<<rest>>", "in.x.a.b", Some("out.a.b")),
        ("out.<<rest>> (5) = sum in.*.<<rest>>", "in.x.a.b", Some("out.a.b")),
        ("p.<x>.all (5) = sum p.app-<x>-node.*", "p.app-web-node.1", Some("p.web.all")),
        ("<a>.<b> (5) = sum <a>-<b>.v", "x-y.v", Some("x.y")),
        ("100%.<a> (5) = sum <a>.v", "x.v", Some("100%.x")),
        ("o (5) = sum tag.*", "tag.m;a=1", Some("o")),
        ("o (5) = sum a.v", "a.v.w", None),
        ("o (5) = sum a.v", "b.a.v", None),
        ("o (5) = sum (a|b).v", "b.v", Some("o")),
        ("o..<a> (5) = sum <a>", "x", Some("o.x")),
    ] {
        let mut b = Bench::new(rule, "", quiet());
        b.send(&format!("{input} 1 1000"));
        let want = output.map_or(String::new(), |output| format!("1005: {output} 1 1000"));
        assert_eq!(b.run(1005), want, "{rule} {input}");
    }
}

#[test]
fn one_point_feeds_every_rule_but_no_aggregate_feeds_another() {
    let rules = "two.first (5) = sum two.*.v\ntwo.second (5) = max two.a.v\nend (5) = sum two.first";
    let mut b = Bench::new(rules, "", quiet());
    b.send("two.a.v 1 1000, two.b.v 2 1000");
    assert_eq!(b.run(1005), "1005: two.first 3 1000, 1005: two.second 1 1000");
}

#[test]
fn an_aggregate_with_the_name_of_its_input_replaces_it() {
    let mut b = Bench::new("same.v (5) = sum same.v", "", Options::default());
    assert_eq!(b.send("same.v 1 1000, same.v 2 1001, other 3 1000"), "other 3 1000");
    assert_eq!(b.run(1005), "1005: same.v 3 1000");
}

#[test]
fn of_two_rules_with_one_output_the_first_decides_how() {
    let mut b = Bench::new("o (5) = max a\no (10) = sum b", "", quiet());
    b.send("a 3 1000, b 4 1000");
    assert_eq!(b.run(1010), "1005: o 4 1000");
}

#[test]
fn names_are_rewritten_before_and_after() {
    let rewrites = "[pre]\n^(k)\\.old\\. = \\1.new.\n^(rw)\\.a\\. = \\1.b.\n# the next is applied to the result\n\
                    ^(rw)\\.b\\. = \\1.c.\n_sum$ =\n(?P<x>\\d+)ms$ = \\g<x>_milliseconds\n\
                    [post]\n^(po)\\.raw\\.(.*)$ = \\1.final.\\2\n^po\\.(\\w+)\\.(\\w+)$ = po.\\2.\\1\n";
    let mut b = Bench::new("k.total (5) = sum k.new.*\npo.raw.total (5) = sum po.in.*", rewrites, Options::default());
    for (from, to) in [
        ("k.old.a 1 1000", "k.new.a 1 1000"),
        ("k.new.b 2 1000", "k.new.b 2 1000"),
        ("rw.a.x 1 1000", "rw.c.x 1 1000"),
        ("rw.b.y 1 1000", "rw.c.y 1 1000"),
        ("load_sum 1 1000", "load 1 1000"),
        ("p50ms 1 1000", "p50_milliseconds 1 1000"),
        ("po.one.two 1 1000", "po.two.one 1 1000"),
        ("po.raw.a.b 1 1000", "po.final.a.b 1 1000"),
    ] {
        assert_eq!(b.send(from), to);
    }
    b.send("po.in.a 7 1000");
    assert_eq!(b.run(1005), "1005: k.total 3 1000, 1005: po.raw.total 7 1000");
}

#[test]
fn substitution_is_pythons() {
    for (pattern, replacement, name, want) in [
        ("a", "x", "banana", "bxnxnx"),
        ("x*", "-", "abxd", "-a-b--d-"),
        ("^a", "", "aab", "ab"),
        ("(a)|b", "[\\1]", "ab", "[a][]"),
        ("(.)(.)", "\\g<2>\\1", "abc", "bac"),
        ("b", "\\\\", "abc", "a\\c"),
        ("b", "\\.", "abc", "a\\.c"),
        ("\\Bb", "x", "abbab", "axxax"),
        ("ü*", "-", "aüb", "-a--b-"),
        ("(?i)B", "$1", "abc", "a$1c"),
    ] {
        let (rules, warnings) = RewriteRules::parse(&format!("[pre]\n{pattern} = {replacement}"), "r");
        assert_eq!(warnings, []);
        assert_eq!(rewrite::apply(&rules.pre, name).as_deref(), Some(want), "{pattern} = {replacement}");
    }
}

#[test]
fn a_name_that_outgrows_its_limit_is_dropped_and_counted() {
    let rewrites = "[pre]\n".to_owned() + &"(.*)$ = \\1\\1\n".repeat(40);
    let mut b = Bench::new("", &rewrites, Options::default());
    assert_eq!(b.send("a 1 1000, a 2 1000"), "");
    assert_eq!(b.aggregator.counters().names_rejected, 1);
}

#[test]
fn lines_that_are_no_rules_are_skipped_and_named() {
    let (rules, warnings) = AggregationRules::parse(
        "# c\na (10) sum b\na = sum b\na (0) = sum b\na (x) = sum b\na (10) = last b\na.<y> (10) = sum <x>.b\n\
         a (10) = sum <my-field>\na (10) = sum (b\nok (10) = sum b\n",
        "ar.conf",
    );
    assert_eq!(rules.rules.len(), 1);
    let form = "rule skipped: a rule is: output (frequency) = method input";
    let got = texts(&warnings);
    assert_eq!(
        got[..7],
        [
            format!("ar.conf:2: {form}"),
            format!("ar.conf:3: {form}"),
            "ar.conf:4: rule skipped: '(0)' is not a number of seconds in parentheses".to_owned(),
            "ar.conf:5: rule skipped: '(x)' is not a number of seconds in parentheses".to_owned(),
            "ar.conf:6: rule skipped: unknown method 'last'".to_owned(),
            "ar.conf:7: rule skipped: the input has no field 'y'".to_owned(),
            "ar.conf:8: rule skipped: 'my-field' is not a name for a field".to_owned(),
        ]
    );
    assert!(got[7].starts_with("ar.conf:9: rule skipped: invalid pattern"), "{got:?}");
    let (rules, warnings) = RewriteRules::parse(
        "a = b\n[pre]\nx = \\2\nx = \\q\n(x = y\nnothing\nok = \n[other]\nx = y\n[PRE]\nlast = 1\n",
        "rw.conf",
    );
    assert_eq!((rules.pre.len(), rules.post.len()), (1, 0));
    let got = texts(&warnings);
    assert_eq!(got[0], "rw.conf:1: rule skipped: it stands before [pre] or [post]");
    assert_eq!(got[1], "rw.conf:3: [pre] rule skipped: '\\2': the pattern has no group '2'");
    assert_eq!(got[2], "rw.conf:4: [pre] rule skipped: '\\q': \\q has no meaning");
    assert!(got[3].starts_with("rw.conf:5: [pre] rule skipped: invalid pattern"), "{got:?}");
    assert_eq!(got[4], "rw.conf:6: [pre] rule skipped: a rule is: pattern = replacement");
    assert_eq!(got[5], "rw.conf:8: [other] section skipped: only [pre] and [post] have a meaning");
    assert_eq!(got[6], "rw.conf:10: [pre] the section is there twice; only this one counts");
}

#[test]
fn limits_hold_and_are_counted() {
    let options = Options { intervals_max: 2, values_max: 3, routes_max: 2, ..quiet() };
    let mut b = Bench::new("p.<x> (10) = p90 v.<x>", "", options);
    b.send("v.a 1 1000, v.a 2 1010, v.a 3 1020, v.a 4 1000, v.a 5 1000");
    let counters = b.aggregator.counters();
    assert_eq!((counters.intervals_refused, counters.values_refused), (1, 1));
    // Names are forgotten at the limit, what waits to be emitted is not.
    b.send("n1 1 1000, n2 1 1000, n3 1 1000");
    assert!(b.aggregator.counters().routes_forgotten > 0);
    assert_eq!(b.run(1010), "1010: p.a 3.7 1000, 1010: p.a 2 1010");
    assert_eq!(b.run(1100), "");
    b.send("v.b 1 1100, v.c 2 1100");
    assert_eq!(b.run(1110), "1110: p.b 1 1100, 1110: p.c 2 1100");
}

#[test]
fn drain_and_reload_emit_what_is_waiting() {
    let mut b = Bench::new("o (10) = sum i", "", quiet());
    b.send("i 1 1000");
    let mut out = Vec::new();
    let (rules, _) = AggregationRules::parse("new (5) = sum i", "r");
    b.aggregator.reload(rules, RewriteRules::default(), &mut |p| out.push(show(p)));
    assert_eq!(out, ["o 1 1000"]);
    b.send("i 2 1000");
    assert_eq!(b.run(1020), "1005: new 2 1000");
}
