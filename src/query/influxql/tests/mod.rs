mod brief;
mod ends;
mod hits;
mod select;
mod sweep;
mod tiers;
mod users;
pub(crate) mod world;

use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;

use rhythmite_influx::line_protocol::Precision;
use serde_json::{Value, json};

use crate::ingest::influx::TimeUnit;
use world::{World, two_policies};

const NS: TimeUnit = TimeUnit::Fixed(Precision::Nanosecond);

/// What InfluxDB 1.x answered; see `tests/data/influxql/README.md` for the form.
const VECTORS: &str = include_str!("../../../../tests/data/influxql/show.json");

#[test]
fn answers_are_those_of_influxdb() {
    let cases: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    let shared = World::new();
    let mut failures = Vec::new();
    let mut checks = 0;
    for case in &cases {
        let fresh;
        let world = if case["fresh"] == true {
            fresh = World::new();
            &fresh
        } else {
            &shared
        };
        for step in case["steps"].as_array().unwrap() {
            checks += usize::from(step["q"].is_string());
            failures.extend(play_step(world, step).map(|text| format!("{}: {text}", case["name"])));
        }
    }
    assert!(failures.is_empty(), "{} of {checks} checks failed:\n{}", failures.len(), failures.join("\n"));
    assert!(checks > 600, "only {checks} checks");
}

/// Plays a step; says what is wrong.
fn play_step(world: &World, step: &Value) -> Option<String> {
    let text = |key: &str| step[key].as_str();
    if let Some(name) = text("create_db") {
        world.ask("", &format!("CREATE DATABASE \"{name}\""), None);
    } else if let Some(name) = text("create_rp") {
        let (database, duration) = (text("db")?, text("duration")?);
        let create =
            format!("CREATE RETENTION POLICY \"{name}\" ON \"{database}\" DURATION {duration} REPLICATION 1 DEFAULT");
        world.ask("", &create, None);
    } else if let Some(lines) = step["write"].as_array() {
        let lines: Vec<_> = lines.iter().filter_map(Value::as_str).collect();
        let unit =
            text("precision").map_or(NS, |unit| TimeUnit::Fixed(Precision::from_param(unit).unwrap_or_default()));
        world.write(text("db")?, text("rp").unwrap_or(""), unit, &lines.join("\n"));
    } else if let Some(query) = text("q") {
        let chunk_rows = step["chunk_size"].as_u64().and_then(|n| NonZeroUsize::new(n as usize));
        let found = world.ask(text("db").unwrap_or(""), query, chunk_rows);
        let expected = match (&step["chunks"], &step["answer"]) {
            (Value::Array(chunks), _) => chunks.clone(),
            (_, Value::Null) => return None,
            (_, answer) => vec![answer.clone()],
        };
        if found != expected {
            return Some(format!("{query}\n  expected {}\n  found    {}", json!(expected), json!(found)));
        }
    }
    None
}

/// `d` with measurements in two policies: `cpu` in both, `mem` and `disk` in one each.
fn small() -> World {
    let world = two_policies();
    world.write("d", "", NS, "cpu,host=a,dc=x usage=1,cores=4i 1\ncpu,host=b usage=2 1\nmem free=7i 1");
    world.write(
        "d",
        "rp2",
        NS,
        "cpu,host=a,dc=x usage=1,note=\"n\" 1\ncpu,host=c,rack=r1 usage=2 1\ndisk,host=a,p=/ used=1 1",
    );
    world
}

#[test]
fn policies_of_a_database_are_seen_as_one() {
    small().check(&[
        ("SHOW MEASUREMENTS", "measurements[name] cpu disk mem"),
        ("SHOW SERIES", "[key] cpu,dc=x,host=a cpu,host=b cpu,host=c,rack=r1 disk,host=a,p=/ mem"),
        ("SHOW SERIES FROM rp2.cpu", "[key] cpu,dc=x,host=a cpu,host=c,rack=r1"),
        ("SHOW SERIES FROM d.rp2./c/", "[key] cpu,dc=x,host=a cpu,host=c,rack=r1"),
        ("SHOW TAG KEYS", "cpu[tagKey] dc host rack | disk[tagKey] host p"),
        ("SHOW TAG KEYS FROM autogen.cpu", "cpu[tagKey] dc host"),
        ("SHOW TAG VALUES WITH KEY = host", "cpu[key,value] host,a host,b host,c | disk[key,value] host,a"),
        (
            "SHOW FIELD KEYS",
            "cpu[fieldKey,fieldType] cores,integer note,string usage,float | disk[fieldKey,fieldType] used,float \
             | mem[fieldKey,fieldType] free,integer",
        ),
        ("SHOW FIELD KEYS FROM rp2.cpu", "cpu[fieldKey,fieldType] note,string usage,float"),
        ("SHOW SERIES CARDINALITY", "[cardinality estimation] 6"),
        ("SHOW SERIES EXACT CARDINALITY", "cpu[count] 3 | disk[count] 1 | mem[count] 1"),
        ("SHOW SERIES FROM none.cpu", "ERROR retention policy not found: none"),
        ("SHOW SERIES FROM x..cpu", "ERROR database not found: x"),
    ]);
}

#[test]
fn conditions_choose_series() {
    small().check(&[
        ("SHOW SERIES WHERE host = 'a' AND dc = ''", "[key] disk,host=a,p=/"),
        ("SHOW SERIES WHERE 'a' = host AND dc != ''", "[key] cpu,dc=x,host=a"),
        ("SHOW SERIES FROM cpu WHERE dc != 'x'", "[key] cpu,host=b cpu,host=c,rack=r1"),
        ("SHOW SERIES FROM cpu WHERE dc !~ /x/ OR (host = 'a')", "[key] cpu,dc=x,host=a cpu,host=b cpu,host=c,rack=r1"),
        ("SHOW SERIES WHERE host =~ /^$/", "[key] mem"),
        ("SHOW SERIES WHERE _name = 'cpu' AND host = 'b'", "[key] cpu,host=b"),
        ("SHOW SERIES WHERE host = 5", ""),
        ("SHOW SERIES WHERE host::tag = 'b' AND time > now() - 1h", "[key] cpu,host=b"),
        ("SHOW SERIES WHERE usage = 5", "[key] cpu,dc=x,host=a cpu,host=b cpu,host=c,rack=r1"),
        ("SHOW SERIES WHERE usage > 5", "ERROR invalid tag comparison operator"),
        ("SHOW TAG KEYS WHERE _tagKey =~ /^h/", "cpu[tagKey] host | disk[tagKey] host"),
        ("SHOW TAG KEYS FROM cpu WHERE host = 'b'", "cpu[tagKey] host"),
        ("SHOW TAG VALUES WITH KEY != host", "cpu[key,value] dc,x rack,r1 | disk[key,value] p,/"),
        ("SHOW TAG VALUES WITH KEY !~ /^h|p/ WHERE host = 'c'", "cpu[key,value] rack,r1"),
        ("SHOW TAG VALUES FROM cpu WITH KEY = host WHERE value != 'a' AND time > 0", "cpu[key,value] host,b host,c"),
        ("SHOW TAG VALUES FROM cpu WITH KEY = host WHERE value =~ /[ac]/ AND rack = 'r1'", "cpu[key,value] host,c"),
        ("SHOW MEASUREMENTS WHERE host = 'c' OR p = '/'", "measurements[name] cpu disk"),
        ("SHOW MEASUREMENTS WHERE host != 'c'", "measurements[name] disk"),
        ("SHOW MEASUREMENTS WHERE host = 5", "ERROR right side of '=' must be a tag value string"),
        ("SHOW MEASUREMENTS WHERE 'a' = host", "ERROR left side of '=' must be a tag key"),
        ("SHOW MEASUREMENTS WHERE host > 'a'", "ERROR invalid tag comparison operator"),
    ]);
}

#[test]
fn pages_are_cut_from_what_would_be_shown() {
    small().check(&[
        ("SHOW MEASUREMENTS LIMIT 1 OFFSET 1", "measurements[name] disk"),
        ("SHOW MEASUREMENTS OFFSET 3", ""),
        ("SHOW SERIES LIMIT 2 OFFSET 2", "[key] cpu,host=c,rack=r1 disk,host=a,p=/"),
        ("SHOW SERIES OFFSET 4", "[key] mem"),
        ("SHOW SERIES OFFSET 5", ""),
        ("SHOW TAG KEYS LIMIT 1 OFFSET 1", "cpu[tagKey] host | disk[tagKey] p"),
        ("SHOW TAG KEYS SLIMIT 1 SOFFSET 1", "disk[tagKey] host p"),
        ("SHOW TAG KEYS OFFSET 2", "cpu[tagKey] rack"),
        ("SHOW TAG VALUES WITH KEY IN (host, dc) LIMIT 2", "cpu[key,value] dc,x host,a | disk[key,value] host,a"),
        ("SHOW FIELD KEYS LIMIT 1", "cpu[fieldKey,fieldType] cores,integer | disk[fieldKey,fieldType] used,float | mem[fieldKey,fieldType] free,integer"),
    ]);
}

#[test]
fn values_are_shown_as_they_are_now_whatever_was_shown_before() {
    let world = small();
    let all = "SHOW TAG VALUES WITH KEY = host";
    let some = "SHOW TAG VALUES FROM cpu WITH KEY = host WHERE value =~ /[abz]/ AND rack != 'r1'";
    world.check(&[
        (some, "cpu[key,value] host,a host,b"),
        (all, "cpu[key,value] host,a host,b host,c | disk[key,value] host,a"),
        (some, "cpu[key,value] host,a host,b"),
    ]);
    world.write("d", "rp2", NS, "cpu,host=z usage=1 1\ncpu,host=b usage=1 1\ndisk,host=0 used=1 1");
    world.check(&[
        (some, "cpu[key,value] host,a host,b host,z"),
        (all, "cpu[key,value] host,a host,b host,c host,z | disk[key,value] host,0 host,a"),
        ("SHOW TAG VALUES FROM rp2.cpu WITH KEY = host LIMIT 2 OFFSET 1", "cpu[key,value] host,b host,c"),
        ("SHOW TAG VALUES FROM rp2.cpu WITH KEY = host WHERE value != 'b' OFFSET 1", "cpu[key,value] host,c host,z"),
        ("DROP SERIES FROM cpu WHERE host = 'c'", ""),
        (some, "cpu[key,value] host,a host,b host,z"),
        (all, "cpu[key,value] host,a host,b host,z | disk[key,value] host,0 host,a"),
    ]);
}

#[test]
fn names_are_counted() {
    small().check(&[
        ("SHOW MEASUREMENT CARDINALITY", "[cardinality estimation] 3"),
        ("SHOW MEASUREMENT EXACT CARDINALITY", "[count] 3"),
        ("SHOW MEASUREMENT EXACT CARDINALITY FROM none", ""),
        ("SHOW MEASUREMENT CARDINALITY ON x", "[cardinality estimation] 0"),
        ("SHOW MEASUREMENT EXACT CARDINALITY ON x", "ERROR database not found: x"),
        ("SHOW SERIES CARDINALITY ON x", "[cardinality estimation] 0"),
        ("SHOW SERIES CARDINALITY WHERE host = 'a'", "cpu[count] 1 | disk[count] 1"),
        ("SHOW FIELD KEY CARDINALITY", "cpu[count] 3 | disk[count] 1 | mem[count] 1"),
        ("SHOW FIELD KEY CARDINALITY FROM cpu WHERE host = 'nobody'", ""),
        ("SHOW TAG KEY CARDINALITY", "cpu[count] 3 | disk[count] 2"),
        ("SHOW TAG VALUES CARDINALITY WITH KEY = host", "cpu[count] 3 | disk[count] 1"),
        (
            "SHOW SERIES CARDINALITY WHERE time > 0",
            "ERROR SHOW SERIES EXACT CARDINALITY doesn't support time in WHERE clause",
        ),
    ]);
}

#[test]
fn paths_are_shown_as_a_tag() {
    let world = World::new();
    world.paths(10, &["a.b.c", "a.b.d", "used;dc=1;host=w 1"]);
    world.paths(60, &["x.y"]);
    for (query, expected) in [
        ("SHOW MEASUREMENTS", "measurements[name] metrics"),
        (
            "SHOW SERIES",
            "[key] metrics,dc=1,host=w\\ 1,name=used,path=used;dc\\=1;host\\=w\\ 1 metrics,path=a.b.c metrics,path=a.b.d \
             metrics,path=x.y",
        ),
        ("SHOW TAG KEYS", "metrics[tagKey] dc host name path"),
        ("SHOW TAG KEYS WHERE path = 'x.y'", "metrics[tagKey] path"),
        ("SHOW TAG VALUES WITH KEY = path WHERE path =~ /^a/", "metrics[key,value] path,a.b.c path,a.b.d"),
        (
            "SHOW TAG VALUES WITH KEY = path WHERE path != 'a.b.c' AND dc != '1'",
            "metrics[key,value] path,a.b.d path,x.y",
        ),
        ("SHOW TAG VALUES WITH KEY = \"name\" WHERE dc = '1'", "metrics[key,value] name,used"),
        ("SHOW FIELD KEYS FROM autogen.metrics", "metrics[fieldKey,fieldType] value,float"),
        ("SHOW SERIES EXACT CARDINALITY", "metrics[count] 4"),
        ("SHOW RETENTION POLICIES", "[name,duration,shardGroupDuration,replicaN,default] autogen,0s,168h0m0s,1,true"),
        ("DROP SERIES WHERE path = 'a.b.c'", ""),
        ("SHOW SERIES FROM metrics WHERE dc = ''", "[key] metrics,path=a.b.d metrics,path=x.y"),
        ("DROP DATABASE graphite", "ERROR database graphite is where Graphite's paths are kept and cannot be dropped"),
        (
            "DROP RETENTION POLICY \"60s_86400s\" ON graphite",
            "ERROR retention policy 60s_86400s is a storage schema and cannot be dropped",
        ),
    ] {
        assert_eq!(world.text("graphite", query), expected, "{query}");
    }
    world.paths(60, &["a.b.d"]);
    assert_eq!(world.text("graphite", "SHOW SERIES WHERE path = 'a.b.d'"), "[key] metrics,path=a.b.d", "in two tables");
}

#[test]
fn policies_follow_influxdbs_rules() {
    let show = "SHOW RETENTION POLICIES ON p";
    let head = "[name,duration,shardGroupDuration,replicaN,default]";
    let world = World::new();
    world.check(&[
        ("CREATE DATABASE p WITH DURATION 2d REPLICATION 2 NAME first", ""),
        (show, &format!("{head} first,48h0m0s,24h0m0s,2,true")),
        ("CREATE DATABASE p", ""),
        ("CREATE DATABASE p WITH DURATION 2d NAME first", ""),
        ("CREATE DATABASE p WITH DURATION 3d NAME first", "ERROR retention policy conflicts with an existing policy"),
        ("CREATE DATABASE q WITH DURATION 1m", "ERROR retention policy duration must be at least 1h0m0s"),
        ("CREATE DATABASE q WITH NAME \"a/b\"", "ERROR invalid name"),
        ("CREATE RETENTION POLICY r ON p DURATION 200d REPLICATION 1", ""),
        ("CREATE RETENTION POLICY r ON p DURATION 200d REPLICATION 1", ""),
        ("CREATE RETENTION POLICY r ON p DURATION 201d REPLICATION 1", "ERROR retention policy already exists"),
        (
            "CREATE RETENTION POLICY r ON p DURATION 200d REPLICATION 1 DEFAULT",
            "ERROR retention policy conflicts with an existing policy",
        ),
        (
            "CREATE RETENTION POLICY s ON p DURATION 2h REPLICATION 1 SHARD DURATION 3h",
            "ERROR retention policy duration must be greater than the shard duration",
        ),
        (
            "ALTER RETENTION POLICY r ON p DURATION 1h",
            "ERROR retention policy duration must be greater than the shard duration",
        ),
        ("ALTER RETENTION POLICY r ON p DURATION 1m", "ERROR retention policy duration must be at least 1h0m0s"),
        ("ALTER RETENTION POLICY r ON p DURATION 3h SHARD DURATION 1h DEFAULT", ""),
        ("ALTER RETENTION POLICY x ON p DEFAULT", "ERROR retention policy not found: x"),
        ("ALTER RETENTION POLICY x ON nope DEFAULT", "ERROR database not found: nope"),
        (show, &format!("{head} first,48h0m0s,24h0m0s,2,false r,3h0m0s,1h0m0s,1,true")),
    ]);
    let policy = world.context.catalog.databases().get("p").unwrap().policy("r").unwrap().policy.clone();
    assert_eq!(world.context.engine.policy(policy.id).as_deref(), Some(&policy), "the engine knows the change");
}

#[test]
fn what_is_dropped_is_gone_after_a_restart() {
    let world = small();
    world.check(&[
        ("DROP SERIES FROM cpu WHERE host = 'a'", ""),
        ("SHOW SERIES FROM cpu", "[key] cpu,host=b cpu,host=c,rack=r1"),
        ("SHOW SERIES EXACT CARDINALITY FROM disk", "disk[count] 1"),
        ("DELETE FROM disk", ""),
        ("DROP MEASUREMENT mem", ""),
        ("DROP MEASUREMENT mem", ""),
        ("SHOW MEASUREMENTS", "measurements[name] cpu"),
        ("DROP SERIES FROM cpu WHERE usage = 1", "ERROR fields not supported in WHERE clause during deletion"),
        ("DROP SERIES FROM cpu WHERE time > 1", "ERROR DROP SERIES doesn't support time in WHERE clause"),
        ("DELETE FROM cpu WHERE usage = 1", "ERROR fields not supported in WHERE clause during deletion"),
    ]);
    // Of another type than before: the field went with the measurement.
    world.write("d", "rp2", NS, "disk,host=a used=\"text\" 1");
    world.context.engine.flush().unwrap();
    let world = world.restart();
    world.check(&[
        ("SHOW SERIES", "[key] cpu,host=b cpu,host=c,rack=r1 disk,host=a"),
        ("SHOW FIELD KEYS FROM disk", "disk[fieldKey,fieldType] used,string"),
        ("DROP RETENTION POLICY rp2 ON d", ""),
        ("SHOW SERIES", "[key] cpu,host=b"),
        ("DROP DATABASE d", ""),
        ("SHOW MEASUREMENTS", ""),
        ("SHOW SERIES", "ERROR database not found: d"),
    ]);
    let world = world.restart();
    assert!(world.context.engine.files().is_empty(), "files of a dropped database");
    world.check(&[("CREATE DATABASE d", ""), ("SHOW SERIES", "")]);
}

#[test]
fn points_are_deleted_by_time_and_tags() {
    let world = World::new();
    world.check(&[("CREATE DATABASE d", ""), ("CREATE RETENTION POLICY rp2 ON d DURATION 0s REPLICATION 1", "")]);
    for time in ["10", "20", "30"] {
        let lines = "cpu,host=a usage=1 T\ncpu,host=b usage=2 T\nmem used=1 T";
        world.write("d", "autogen", NS, &lines.replace('T', &format!("{time}000000000")));
    }
    world.write("d", "rp2", NS, "cpu,host=a usage=9 10000000000");
    world.context.engine.flush().unwrap();
    world.write("d", "autogen", NS, "cpu,host=a usage=1 40000000000");
    let check = |queries: &[(&str, &str)]| {
        for (query, expected) in queries {
            let text = world.text("d", query).replace("1970-01-01T00:00:", "");
            assert_eq!(text, *expected, "{query}");
        }
    };
    let all = "SELECT usage FROM cpu GROUP BY host";
    check(&[
        ("DELETE FROM cpu WHERE host = 'a' AND time >= 20s AND time < 40s", ""),
        (all, "cpu[time,usage] 10Z,1 40Z,1 | cpu[time,usage] 10Z,2 20Z,2 30Z,2"),
        ("DELETE WHERE time < 20s", ""),
        (all, "cpu[time,usage] 40Z,1 | cpu[time,usage] 20Z,2 30Z,2"),
        ("SELECT usage FROM rp2.cpu", ""),
        ("SELECT used FROM mem", "mem[time,used] 20Z,1 30Z,1"),
        ("DELETE FROM /me/ WHERE time > 0", ""),
        ("SHOW MEASUREMENTS", "measurements[name] cpu"),
        ("DELETE FROM cpu WHERE host = 'b' AND time > now()", ""),
        ("SHOW SERIES", "[key] cpu,host=a cpu,host=b"),
        ("DELETE FROM cpu WHERE host = 'b' AND time = 20s", ""),
        ("SELECT count(usage) FROM cpu", "cpu[time,count] 00Z,2"),
        ("DELETE FROM cpu WHERE host = 'b' AND time = 30s", ""),
        ("SHOW SERIES", "[key] cpu,host=a"),
    ]);
    let world = world.restart();
    world.check(&[
        ("SHOW SERIES", "[key] cpu,host=a"),
        ("SELECT count(usage) FROM cpu WHERE time = 40s", "cpu[time,count] 1970-01-01T00:00:40Z,1"),
    ]);
}

#[test]
fn the_server_tells_about_itself() {
    let world = small();
    let version = env!("CARGO_PKG_VERSION");
    world.check(&[
        ("SHOW DATABASES", "databases[name] d"),
        ("SHOW USERS", "[user,admin]"),
        ("SHOW GRANTS FOR bob", "ERROR user not found"),
        ("SHOW SUBSCRIPTIONS", ""),
        ("SHOW CONTINUOUS QUERIES", "d[name,query]"),
        ("SHOW SHARDS", "d[id,database,retention_policy,shard_group,start_time,end_time,expiry_time,owners]"),
        ("SHOW SHARD GROUPS", "shard groups[id,database,retention_policy,start_time,end_time,expiry_time]"),
        ("SHOW QUERIES", "[qid,query,database,duration,status] 8,SHOW QUERIES,d,0s,running"),
        ("SHOW STATS FOR 'database'", "database[numMeasurements,numSeries] 3,6"),
        ("SHOW STATS FOR 'none'", ""),
        ("SHOW DIAGNOSTICS FOR 'build'", &format!("build[Branch,Build Time,Commit,Version] ,,,{version}")),
        ("KILL QUERY 70", "ERROR no such query id: 70"),
    ]);
}

#[test]
fn an_error_stops_the_statements_behind_it() {
    small().check(&[
        (
            "SHOW DATABASES; SHOW TAG KEYS ON x; DROP DATABASE d; SHOW DATABASES",
            "databases[name] d ; ERROR database not found: x ; ERROR not executed ; ERROR not executed",
        ),
        ("SHOW DATABASES", "databases[name] d"),
    ]);
}

#[test]
fn rows_above_the_limit_are_cut() {
    let mut world = small();
    world.context.limits.rows_max = 4;
    world.check(&[
        ("SHOW SERIES", "[key] cpu,dc=x,host=a cpu,host=b cpu,host=c,rack=r1 disk,host=a,p=/ ..."),
        ("SHOW SERIES LIMIT 4", "[key] cpu,dc=x,host=a cpu,host=b cpu,host=c,rack=r1 disk,host=a,p=/"),
        ("SHOW MEASUREMENTS", "measurements[name] cpu disk mem"),
    ]);
}

#[test]
fn a_request_sees_and_stops_what_it_may() {
    let mut world = small();
    world.request.visible = Some(std::sync::Arc::new(|name| name != "d"));
    world.check(&[("SHOW DATABASES", "databases[name]")]);
    world.request.interrupt.cancelled.store(true, Ordering::Relaxed);
    world.check(&[("SHOW SERIES", "ERROR query interrupted")]);
}

/// InfluxDB 2's buckets are policies.
#[test]
fn a_request_may_delete_in_one_policy_alone() {
    let mut world = two_policies();
    world.write("d", "", NS, "m v=1 1\nm v=2 2");
    world.write("d", "rp2", NS, "m v=3 1\nn v=4 1");
    world.request.only_policy = Some("rp2".to_owned());
    assert_eq!(world.text("d", "DELETE WHERE time >= 0"), "");
    assert_eq!(
        world.text("d", "SELECT v FROM m; SELECT v FROM rp2.m"),
        "m[time,v] 1970-01-01T00:00:00.000000001Z,1 1970-01-01T00:00:00.000000002Z,2 ; "
    );
    world.request.only_policy = Some("autogen".to_owned());
    assert_eq!(world.text("d", "DELETE FROM m WHERE time < 2"), "");
    assert_eq!(world.text("d", "SELECT v FROM m"), "m[time,v] 1970-01-01T00:00:00.000000002Z,2");
}

#[test]
fn what_a_select_may_hold_is_bounded() {
    let mut world = World::new();
    world.ask("", "CREATE DATABASE d", None);
    let lines: Vec<String> = (0..600).map(|i| format!("m,k=k{} v=1 {}", i % 3, i + 1)).collect();
    world.write("d", "", NS, &lines.join("\n"));
    world.context.limits.values_max = 500;
    let error = "ERROR the query would hold more than 500 values ([query] max_select_values): ask for less time, fewer \
                 series or longer windows";
    let fill = "SELECT mean(v) FROM m WHERE time >= 0 AND time < 3600000000u GROUP BY time(1u)";
    world.check(&[
        (fill, error),
        ("SELECT * FROM m", error),
        ("SELECT count(v) FROM (SELECT v FROM m GROUP BY k)", error),
        // Folds keep nothing.
        ("SELECT count(v) FROM m", "m[time,count] 1970-01-01T00:00:00Z,600"),
    ]);
    assert_eq!(world.context.counters.query_refused_memory.get(), 3);
}
