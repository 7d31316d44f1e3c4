//! The same question with and without plans of our own has the same answer; and which questions have such plans.

mod tiers;

use std::sync::Arc;

use rhythmite_env::Env;

use crate::query::sql::tests::{World, texts};
use crate::query::sql::{Batches, Sql, SqlOptions, SqlRequest};

/// Numbers that follow from a seed.
pub(in crate::query::scan) struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    pub fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

/// Lines of a few series, each with some of the fields, at times that partly repeat.
pub(in crate::query::scan) fn lines(dice: &mut Dice, count: usize) -> String {
    let mut lines = Vec::new();
    for _ in 0..count {
        let mut line = "m".to_owned();
        for (tag, values) in [("a", 4), ("b", 3)] {
            if dice.below(5) > 0 {
                line += &format!(",{tag}={tag}{}", dice.below(values));
            }
        }
        let mut fields = Vec::new();
        // Whole numbers, so that sums do not depend on their order.
        let mut put = |name: &str, text: String, one_in: u64, dice: &mut Dice| {
            if dice.below(one_in) == 0 {
                fields.push(format!("{name}={text}"));
            }
        };
        let n = dice.below(2_000) as i64 - 1_000;
        put("f", format!("{n}"), 2, dice);
        put("g", format!("{}", n / 3), 2, dice);
        put("i", format!("{n}i"), 3, dice);
        put("u", format!("{}u", n + 1_000), 3, dice);
        put("s", format!("\"{n}\""), 6, dice);
        if fields.is_empty() {
            fields.push("x=true".to_owned());
        }
        lines.push(format!("{line} {} {}", fields.join(","), dice.below(600) as i64 - 100));
    }
    lines.join("\n")
}

const WINDOWS: [&str; 7] = [
    "date_trunc('minute', time)",
    "date_trunc('Hour', time)",
    "date_bin(INTERVAL '10 seconds', time)",
    "date_bin(INTERVAL '7 seconds', time, TIMESTAMP '1970-01-01T00:00:03')",
    "date_trunc('week', time)",
    "date_trunc('second', time)",
    "time",
];

const RESULTS: [&str; 22] = [
    "max(f)", "min(f)", "sum(f)", "avg(f)", "count(f)", "max(g)", "avg(g)", "count(g)", "max(i)", "min(i)", "sum(i)",
    "avg(i)", "count(i)", "max(u)", "min(u)", "sum(u)", "avg(u)", "count(s)", "count(x)", "sum(g)", "min(g)", "max(i)",
];

const WHERE: [&str; 15] = [
    "TRUE",
    "TRUE",
    "time >= '1970-01-01T00:01:00' AND time < '1970-01-01T00:05:00'",
    "time < '1970-01-01T00:05:03'",
    "time >= '1969-12-31T23:59:00'",
    "a = 'a1'",
    "a IN ('a0', 'a2') AND time > '1970-01-01T00:02:01'",
    "b IS NULL",
    "f IS NOT NULL",
    "f IS NOT NULL AND i IS NOT NULL AND time >= '1970-01-01T00:00:30'",
    "a != 'a1' AND g IS NOT NULL",
    "time > '2100-01-01'",
    "f > 100",
    "i <= 500 AND f >= 0 AND time < '1970-01-01T00:07:00'",
    "b = 'b1' AND g BETWEEN -100 AND 200",
];

/// A question, and whether the answer has an order.
fn question(dice: &mut Dice) -> (String, bool) {
    let mut keys: Vec<&str> = Vec::new();
    if dice.below(4) > 0 {
        keys.push(dice.one(&WINDOWS));
    }
    for tag in ["b", "a"] {
        if dice.below(3) == 0 {
            let at = dice.below(keys.len() as u64 + 1) as usize;
            keys.insert(at, tag);
        }
    }
    let mut results: Vec<&str> = (0..dice.below(4)).map(|_| dice.one(&RESULTS)).collect();
    if dice.below(6) == 0 {
        results.push("count(*)");
    }
    if keys.is_empty() && results.is_empty() {
        results.push("count(f)");
    }
    let selected: Vec<String> =
        keys.iter().chain(&results).enumerate().map(|(at, text)| format!("{text} AS c{at}")).collect();
    let mut sql = format!("SELECT {} FROM m WHERE {}", selected.join(", "), dice.one(&WHERE));
    let names: Vec<String> = (1..=keys.len()).map(|n| n.to_string()).collect();
    if !keys.is_empty() {
        sql += &format!(" GROUP BY {}", names.join(", "));
    }
    let ordered = !keys.is_empty() && dice.below(2) == 0;
    if ordered {
        let by: Vec<String> = names
            .iter()
            .map(|n| format!("{n}{}", dice.one(&["", " DESC", " DESC NULLS LAST", " ASC NULLS FIRST", " DESC"])))
            .collect();
        sql += &format!(" ORDER BY {}", by.join(", "));
        if dice.below(2) == 0 {
            sql += &format!(" LIMIT {}", dice.below(12));
        }
    }
    (sql, ordered)
}

async fn answer(sql: &Sql, text: &str) -> Vec<String> {
    use futures::StreamExt;
    let request = SqlRequest { database: "d".to_owned(), sql: text.to_owned(), ..SqlRequest::default() };
    let mut answer = sql.query(request, |_| Ok(Batches)).await.unwrap_or_else(|e| panic!("{text}: {e}"));
    let mut batches = Vec::new();
    while let Some(batch) = answer.next().await {
        batches.push(batch.unwrap_or_else(|e| panic!("{text}: {e}")));
    }
    texts(&batches)
}

/// DataFusion alone, over the points of `world`.
pub(in crate::query::scan) fn unaided(world: &World) -> (Sql, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let options = SqlOptions { threads: 2, own_plans: false, ..SqlOptions::new(dir.path()) };
    let env = Env { clock: world.clock.clone(), ..Env::real() };
    (Sql::new(&env, world.engine.clone(), world.catalog.clone(), options).unwrap(), dir)
}

pub(in crate::query::scan) async fn compare(world: &World, plain: &Sql, text: &str, ordered: bool, place: &str) {
    let (mut own, mut expected) = (answer(&world.sql, text).await, answer(plain, text).await);
    if !ordered {
        own.sort();
        expected.sort();
    }
    assert_eq!(own, expected, "{place}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_datafusion() {
    let mut others = Vec::new();
    for seed in 1..=4_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let world = World::new(|_| {}).await;
        let (plain, _dir) = unaided(&world);
        world.write("d", "m,a=a1,b=b1 f=1,i=1i,u=1u,g=1,s=\"\" 7\nm x=true 7");
        for round in 0..3 {
            let count = [1, 40, 400][dice.below(3) as usize];
            world.write("d", &lines(&mut dice, count));
            for _ in 0..25 {
                let (sql, ordered) = question(&mut dice);
                compare(&world, &plain, &sql, ordered, &format!("seed {seed}, round {round}")).await;
                let plan = world.rows(&format!("EXPLAIN {sql}")).await.unwrap().join("\n");
                // LIMIT 0 needs no plan at all.
                if !plan.contains("TsAggExec") && !plan.contains("EmptyExec") {
                    others.push(plan);
                }
            }
            if dice.below(3) > 0 {
                world.engine.flush().unwrap();
            }
        }
    }
    assert!(
        others.len() < 30,
        "{} of 300:
{}",
        others.len(),
        others.join(
            "
"
        )
    );
}

/// Integers of many series at even times are added up where they lie in files; what hides some of them is heeded.
#[tokio::test(flavor = "multi_thread")]
async fn sums_of_even_integers_are_those_of_datafusion() {
    let world = World::new(|_| {}).await;
    let (plain, _dir) = unaided(&world);
    let write = |hosts: std::ops::Range<i64>, ticks: std::ops::Range<i64>, salt: i64| {
        let line = |host: i64, tick: i64| {
            let value = (host * 31 + tick * 17 + salt).rem_euclid(101) - 50;
            // By its greatest value, sums of `z` could be more than a float holds exactly; they are not.
            let z = if (host, tick) == (3, 3) { 1_i64 << 51 } else { value };
            format!("cpu,host=h{host} x={value}i,y={}i,z={z}i,f={value}.5 {}", value * 7, tick * 10)
        };
        let lines: Vec<String> = hosts.flat_map(|host| ticks.clone().map(move |tick| line(host, tick))).collect();
        world.write("d", &lines.join("\n"));
    };
    let asked = [
        "SELECT date_trunc('minute', time) AS t, host, avg(x), avg(y) FROM cpu GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT date_trunc('hour', time) AS t, sum(x), count(y), avg(z), max(f) FROM cpu GROUP BY 1 ORDER BY 1",
        "SELECT host, sum(x), max(x), count(y), sum(z), sum(y::double) FROM cpu GROUP BY 1 ORDER BY 1",
        "SELECT sum(x), avg(y), sum(z) FROM cpu WHERE time >= '1970-01-01T00:02:05' AND time < '1970-01-01T00:21:00'",
        "SELECT date_bin(INTERVAL '70 seconds', time) AS t, avg(x), sum(y), count(z) FROM cpu
         WHERE time > '1970-01-01T00:03:03' GROUP BY 1 ORDER BY 1 DESC LIMIT 7",
    ];
    let mut summed = Vec::new();
    for step in ["one file", "late points in memory", "two files"] {
        match step {
            "one file" => write(0..20, 0..300, 0),
            "late points in memory" => write(0..10, 40..50, 3),
            _ => {}
        }
        if step != "late points in memory" {
            world.engine.flush().unwrap();
        }
        for sql in asked {
            compare(&world, &plain, sql, true, step).await;
        }
        let analysed = world.rows(&format!("EXPLAIN ANALYZE {}", asked[0])).await.unwrap().join("\n");
        let count = analysed.split("summed=").nth(1).and_then(|rest| rest.split([',', ']']).next()).unwrap_or_default();
        summed.push(count.to_owned());
    }
    // Two fields of 20 hosts 300 times, without 10 points of 10 hosts each.
    assert_eq!(summed, ["12.00 K", "11.80 K", "11.80 K"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_shapes_have_the_answers_of_datafusion() {
    let mut dice = Dice(99);
    let world = World::new(|_| {}).await;
    let (plain, _dir) = unaided(&world);
    for _ in 0..3 {
        world.write("d", &lines(&mut dice, 200));
        world.engine.flush().unwrap();
    }
    world.write("d", &lines(&mut dice, 50));
    for text in [
        // One series, since the first of equally early rows is anybody's.
        "SELECT date_trunc('minute', time) t, first_value(f ORDER BY time), last_value(f ORDER BY time),
           last_value(i ORDER BY time) IGNORE NULLS, first_value(u ORDER BY time DESC)
           FROM m WHERE a = 'a1' AND b = 'b1' GROUP BY t ORDER BY t",
        "SELECT last_value(f ORDER BY time), first_value(g ORDER BY time) FROM m WHERE a = 'a2' AND b = 'b0' AND i IS NOT NULL",
        // Within other plans.
        "SELECT host, round(x / 2, 1) FROM (SELECT a AS host, avg(f) AS x FROM m GROUP BY a) WHERE x > 0 ORDER BY host",
        "SELECT a, max(f) AS peak FROM m GROUP BY a HAVING count(f) > 3 ORDER BY peak DESC, a LIMIT 2",
        "SELECT a, max(f) - min(f), sum(i) * 2 FROM m GROUP BY a ORDER BY a NULLS FIRST",
        "WITH w AS (SELECT date_trunc('minute', time) t, a, avg(f) v FROM m GROUP BY 1, 2)
           SELECT l.t, l.v - r.v FROM w l JOIN w r ON l.t = r.t AND l.a = 'a0' AND r.a = 'a1' ORDER BY 1",
        "SELECT count(*) FROM (SELECT DISTINCT a, b FROM m)",
        "SELECT DISTINCT b FROM m ORDER BY b DESC",
        "SELECT a FROM m GROUP BY a UNION SELECT b FROM m GROUP BY b ORDER BY 1",
        "SELECT date_trunc('minute', time) t, count(time), count(1), count(f) FROM m GROUP BY t ORDER BY t LIMIT 3",
        "SELECT date_trunc('minute', time) t, sum(f), avg(f), avg(i), sum(i) FROM m GROUP BY t ORDER BY t DESC LIMIT 3",
        // Left to DataFusion.
        "SELECT date_trunc('month', time) t, max(f) FROM m GROUP BY t ORDER BY t",
        "SELECT date_trunc('minute', time) t, max(f) FROM m WHERE i > 0 GROUP BY t ORDER BY t",
        "SELECT date_trunc('minute', time) t, max(f) FILTER (WHERE i > 0), count(DISTINCT i) FROM m GROUP BY t ORDER BY t",
        "SELECT a, b, max(f) FROM m GROUP BY ROLLUP (a, b) ORDER BY a, b, 3",
        "SELECT upper(a) h, max(s) FROM m GROUP BY h ORDER BY h",
    ] {
        compare(&world, &plain, text, text.contains("ORDER BY 1") || text.contains("ORDER BY t"), "shape").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_rows_are_those_of_datafusion() {
    let mut dice = Dice(31);
    let world = World::new(|_| {}).await;
    let (plain, _dir) = unaided(&world);
    // Hosts that fell silent at different times, of one series each, so that no two rows are equally new.
    for round in 0..4_u64 {
        let mut lines = Vec::new();
        for host in 0..30_u64 {
            for _ in 0..dice.below(4) {
                let time = (dice.below(40) * 10_u64.pow(host as u32 % 6)) as i64 - 50;
                let field =
                    dice.one(&["f=1.5", "f=2,i=3i", "i=4i", "s=\"x\"", "b=true,f=5", "i=6i,f=7,s=\"y\",b=false"]);
                let dc = ["", ",dc=x", ",dc=y"][host as usize % 3];
                lines.push(format!("m,host=h{host}{dc} {field} {time}"));
            }
        }
        lines.push("m,host=h0 f=1,i=1i,s=\"\",b=true 1".to_owned());
        world.write("d", &lines.join("\n"));
        for sql in [
            "SELECT DISTINCT ON (host) * FROM m ORDER BY host, time DESC",
            "SELECT DISTINCT ON (host) host, time, i FROM m WHERE time < '1970-01-02' ORDER BY host DESC, time DESC",
            "SELECT DISTINCT ON (dc, host) f, b, time FROM m WHERE f IS NOT NULL ORDER BY dc, host, time DESC",
            "SELECT DISTINCT ON (host) * FROM m WHERE dc = 'x' AND time > '1970-01-01T00:01:00' ORDER BY host, time DESC LIMIT 4",
            "SELECT DISTINCT ON (host) * FROM m WHERE i IS NOT NULL AND f IS NOT NULL ORDER BY host, time DESC",
            "SELECT host, last_value(f ORDER BY time), last_value(s ORDER BY time) FROM m GROUP BY host ORDER BY host",
            "SELECT host, f FROM (SELECT DISTINCT ON (host) host, f, time FROM m ORDER BY host, time DESC) WHERE f > 1 ORDER BY host",
        ] {
            compare(&world, &plain, sql, true, &format!("round {round}")).await;
            compare(&world, &plain, sql, true, &format!("again {round}")).await;
            let plan = plan(&world, sql).await;
            assert!(plan.contains("newest row of each group"), "{sql}\n{plan}");
        }
        // The oldest rows are DataFusion's.
        let sql = "SELECT DISTINCT ON (host) * FROM m ORDER BY host, time";
        compare(&world, &plain, sql, true, "oldest").await;
        if round % 2 == 1 {
            world.engine.flush().unwrap();
        }
    }
}

async fn plan(world: &World, sql: &str) -> String {
    world.rows(&format!("EXPLAIN {sql}")).await.unwrap().join("\n")
}

#[tokio::test]
async fn plans_say_what_is_done() {
    let world = World::new(|_| {}).await;
    world.write("d", "cpu,host=a,dc=x usage=1,idle=9i 60\ncpu,host=b,dc=x usage=2,idle=8i 120");
    let cases = [
        (
            "SELECT date_trunc('minute', time) AS t, max(usage) AS m FROM cpu WHERE host = 'a' GROUP BY 1 ORDER BY 1",
            "series=1, time=..=, groups=[time(60s)], results=[max(usage)], sorted=[time(60s)]",
        ),
        (
            "SELECT date_trunc('minute', time), host, avg(usage) FROM cpu GROUP BY 1, 2",
            "groups=[time(60s), host], results=[avg(usage)]",
        ),
        ("SELECT count(*) FROM cpu", "groups=[], results=[count(*)], rows=of any field"),
        ("SELECT sum(idle) FROM cpu WHERE usage IS NOT NULL", "results=[sum(idle)], where=[usage is not null]"),
        (
            "SELECT date_bin(INTERVAL '500 milliseconds', time) AS t, max(usage) FROM cpu GROUP BY t ORDER BY t DESC LIMIT 5",
            "groups=[time(0.5s)], results=[max(usage)], sorted=[time(0.5s) desc], limit=5, newest first",
        ),
    ];
    for (sql, expected) in cases {
        let plan = plan(&world, sql).await;
        assert!(plan.contains(expected), "{sql}\n{plan}");
        assert!(!plan.contains("AggregateExec") && !plan.contains("SortExec"), "{sql}\n{plan}");
        let analysed = world.rows(&format!("EXPLAIN ANALYZE {sql}")).await.unwrap().join("\n");
        assert!(analysed.contains("TsAggExec") && analysed.contains("series="), "{analysed}");
    }
    let many = "SELECT date_bin(INTERVAL '1 microsecond', time) AS t, max(usage) FROM cpu
                WHERE time >= '1970-01-01' AND time < '1970-01-02' GROUP BY t";
    let many = plan(&world, many).await;
    assert!(many.contains("TsAggExec"), "no more groups than values: {many}");
}

/// Windows without a value of the field that is asked for exist if another field has one there.
#[tokio::test]
async fn groups_of_other_fields_exist() {
    let world = World::new(|_| {}).await;
    let (plain, _dir) = unaided(&world);
    world.write("d", "cpu,host=a usage=1 0\ncpu,host=a idle=1i 120\ncpu,host=b idle=1i 60\ncpu,host=a usage=2 240");
    for flushed in [false, true] {
        if flushed {
            world.engine.flush().unwrap();
        }
        let sql = "SELECT date_trunc('minute', time) AS t, max(usage) FROM cpu GROUP BY t ORDER BY t";
        let minute = |m: u32, v: &str| format!("1970-01-01T00:0{m}:00|{v}");
        let expected = [minute(0, "1.0"), minute(1, "NULL"), minute(2, "NULL"), minute(4, "2.0")];
        assert_eq!(world.rows(sql).await.unwrap(), expected);
        for sql in [
            "SELECT host, max(usage) FROM cpu GROUP BY host ORDER BY host",
            "SELECT date_trunc('minute', time) AS t, host, max(usage) FROM cpu GROUP BY t, host ORDER BY t, host",
            "SELECT date_trunc('minute', time) AS t, max(usage) FROM cpu GROUP BY t ORDER BY t DESC LIMIT 3",
            "SELECT date_trunc('minute', time) AS t, max(usage) FROM cpu WHERE time < '1970-01-01T00:03:00' GROUP BY t ORDER BY t DESC",
        ] {
            compare(&world, &plain, sql, true, "gaps").await;
        }
    }
}

#[tokio::test]
async fn groups_that_may_need_the_disk_are_left_to_datafusion() {
    let world = World::new(|_| {}).await;
    let body: Vec<String> = (0..60_000).map(|i| format!("m a={i}i,b={i}i,c={i}i,d={i}i {i}")).collect();
    world.write("d", &body.join("\n"));
    let results = ["max", "min", "sum", "avg", "count"]
        .map(|f| ["a", "b", "c", "d"].map(|field| format!("{f}({field})")).join(", "))
        .join(", ");
    let some = "WHERE time >= '1970-01-01' AND time < '1970-01-05'";
    for (unit, condition, own) in [("minute", some, true), ("second", some, false), ("minute", "", true)] {
        let sql = format!("SELECT date_trunc('{unit}', time) AS t, {results} FROM m {condition} GROUP BY t");
        let plan = plan(&world, &sql).await;
        assert_eq!(plan.contains("TsAggExec"), own, "{plan}");
    }
}

#[tokio::test]
async fn memory_of_groups_is_charged() {
    let world = World::new(|o| (o.query_memory, o.spill_bytes_max) = (256 << 10, 0)).await;
    let body: Vec<String> = (0..20_000).map(|i| format!("m,k=k{i} v={i}i {i}")).collect();
    world.write("d", &body.join("\n"));
    let error = world.ask("SELECT k, max(v) FROM m GROUP BY k").await.unwrap_err().to_string();
    assert!(error.contains("[query] memory"), "{error}");
    let only = Arc::new(["d".to_owned()].into());
    let request = SqlRequest {
        database: "d".to_owned(),
        sql: "SELECT max(v) FROM m".to_owned(),
        visible: crate::query::sql::Visible::Only(only),
        ..SqlRequest::default()
    };
    assert_eq!(texts(&world.run(request).await.unwrap()), ["19999"]);
}

/// Statements of a few shapes, with other values each time.
#[tokio::test(flavor = "multi_thread")]
async fn kept_plans_have_the_answers_of_new_ones() {
    let mut dice = Dice(7);
    let world = World::new(|_| {}).await;
    let (plain, _dir) = unaided(&world);
    world.write("d", &lines(&mut dice, 300));
    world.engine.flush().unwrap();
    world.write("d", &lines(&mut dice, 100));
    let shapes = [
        "SELECT date_trunc('minute', time) AS t, max(f) FROM m WHERE time >= TIMESTAMP '{t}' AND time < TIMESTAMP '{u}' GROUP BY 1 ORDER BY 1",
        "SELECT date_trunc('minute', time) AS t, a, avg(f) FROM m WHERE time >= '{t}' AND a IN ('{a}', '{a}') GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT b, count(*), sum(i) FROM m WHERE time BETWEEN '{t}' AND '{u}' AND a = '{a}' GROUP BY b ORDER BY b",
        "SELECT a, max(u) FROM d.iox.m WHERE a IN ('{a}','{a}','{a}','{a}','{a}') AND time < '{u}' GROUP BY a ORDER BY a",
        "SELECT date_bin(INTERVAL '10 seconds', time) AS t, sum(g) FROM m WHERE f IS NOT NULL AND time < TIMESTAMP '{u}' GROUP BY t ORDER BY t DESC LIMIT 4",
        // Plans that are not kept.
        "SELECT a, max(f) FROM m WHERE a > '{a}' GROUP BY a ORDER BY a",
        "SELECT a, max(f) FROM m WHERE a NOT IN ('{a}', '{a}') AND b LIKE 'b%' GROUP BY a ORDER BY a",
        "SELECT a, max(f) FROM m WHERE s = '{a}' GROUP BY a ORDER BY a",
        "SELECT a, max(f) FROM m WHERE time < now() AND a = '{a}' GROUP BY a ORDER BY a",
    ];
    for round in 0..8 {
        for shape in shapes {
            let mut sql = shape.to_owned();
            for (mark, from) in [("{t}", 0), ("{u}", 4)] {
                let time = format!("1970-01-01T00:0{}:{:02}", from + dice.below(4), dice.below(60));
                sql = sql.replace(mark, &time);
            }
            while let Some(at) = sql.find("{a}") {
                // A text with a quote, and an empty one, among others.
                let value = dice.one(&["a0", "a1", "a2", "a3", "", "it''s"]);
                sql.replace_range(at..at + 3, value);
            }
            compare(&world, &plain, &sql, true, &format!("round {round}")).await;
        }
    }
    let stats = world.sql.stats();
    assert_eq!((stats.plans, stats.plans_reused), (5, 5 * 7));
}

#[tokio::test]
async fn kept_plans_are_for_tables_as_they_were() {
    let world = World::new(|_| {}).await;
    world.write("d", "cpu,host=a usage=1 60\ncpu,host=b usage=2 60");
    let sql = |host: &str| format!("SELECT host, max(usage) AS x FROM cpu WHERE host = '{host}' GROUP BY host");
    for (host, rows) in [("a", "a|1.0"), ("b", "b|2.0"), ("a", "a|1.0")] {
        assert_eq!(world.rows(&sql(host)).await.unwrap(), [rows]);
    }
    assert_eq!((world.sql.stats().plans, world.sql.stats().plans_reused), (1, 2));
    // Points that come later are seen, and so are columns.
    world.write("d", "cpu,host=a usage=7 120");
    assert_eq!(world.rows(&sql("a")).await.unwrap(), ["a|7.0"]);
    world.write("d", "cpu,host=a,dc=x usage=9,idle=3 180");
    assert_eq!(world.rows(&sql("a")).await.unwrap(), ["a|9.0"]);
    assert_eq!((world.sql.stats().plans, world.sql.stats().plans_reused), (0, 3), "given up");
    // What may not be seen is not found by a kept plan either.
    let request = SqlRequest {
        database: "d".to_owned(),
        sql: "SELECT max(n) FROM other.autogen.cpu WHERE time > '1970-01-01'".to_owned(),
        ..SqlRequest::default()
    };
    world.write("other", "cpu n=7i 1");
    for _ in 0..3 {
        assert_eq!(texts(&world.run(request.clone()).await.unwrap()), ["7"]);
    }
    assert_eq!(world.sql.stats().plans, 1);
    let only = crate::query::sql::Visible::Only(Arc::new(["d".to_owned()].into()));
    let error = world.run(SqlRequest { visible: only, ..request.clone() }).await.unwrap_err().to_string();
    assert!(error.contains("not found"), "{error}");
    // A value that is none says so.
    let wrong = SqlRequest { sql: request.sql.replace("1970-01-01", "yesterday"), ..request };
    let error = world.run(wrong).await.unwrap_err().to_string();
    assert!(error.contains("yesterday"), "{error}");
}
