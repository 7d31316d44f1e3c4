//! Every route with every kind of credentials.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use rhythmite_collectd::TypesDb;
use rhythmite_engine::{Durability, Options};
use rhythmite_env::{CpuPool, Env};
use tower::ServiceExt;

use super::body::Bodies;
use super::hosts::Hosts;
use super::origin::Origins;
use super::routes::Rule;
use super::*;
use crate::auth::tests::{World as People, token};
use crate::ingest::collectd::{CollectdIngest, Naming};
use crate::ingest::{PathIngest, PathRules, RulesText, events};
use crate::query::influxql::{self, Users};
use crate::query::sql::SqlOptions;

/// All rooms over one engine; the people are those of `auth`.
struct World {
    router: Router,
    rules: Vec<(String, Rule)>,
    people: People,
}

async fn world() -> World {
    world_of(People::new().await).await
}

async fn world_of(people: People) -> World {
    let (env, catalog, counters) = (Env::real(), people.catalog.clone(), people.counters.clone());
    let (paths, _) = PathRules::load(&RulesText { schemas: None, aggregation: None }, &catalog).await.unwrap();
    let policies = catalog.databases().policies().map(|p| p.policy.clone()).collect();
    let (engine, _) =
        Engine::open(env.clone(), Options::new(people.dir.path()), Arc::new(catalog.manifest()), policies).unwrap();
    let clock = env.clock.clone();
    let paths = Arc::new(PathIngest::new(engine.clone(), clock.clone(), paths));
    let bodies = Arc::new(Bodies::new(8 << 20, Duration::from_secs(5), counters.clone()));
    let executor = Arc::new(influxql::Context {
        engine: engine.clone(),
        catalog: catalog.clone(),
        clock: clock.clone(),
        runtime: tokio::runtime::Handle::current(),
        cpu: Arc::new(CpuPool::start(1, 16).unwrap()),
        limits: influxql::Limits::default(),
        mistakes: rhythmite_influx::influxql::Mistakes::Kept,
        counters: counters.clone(),
        users: Users { passwords: people.passwords(), guarded: true },
        running: Arc::default(),
    });
    let influx = influx::InfluxApi::new(influx::Parts {
        engine: engine.clone(),
        catalog: catalog.clone(),
        executor,
        clock: clock.clone(),
        random: env.random.clone(),
        counters: counters.clone(),
        limits: influx::Limits::default(),
        durability: Durability::Sync,
    });
    let graphite = graphite::Graphite {
        engine: engine.clone(),
        ingest: paths.clone(),
        catalog: catalog.clone(),
        counters: counters.clone(),
        cpu: Arc::new(CpuPool::start(1, 16).unwrap()),
        clock: clock.clone(),
        zone: jiff::tz::TimeZone::UTC,
        limits: crate::query::graphite::Limits::default(),
        bodies: bodies.clone(),
    };
    let naming = Naming::Paths(paths.clone(), rhythmite_collectd::graphite::Options::default());
    let (queue, _) = events::queue(catalog.events(), clock.clone(), counters.clone());
    let collectd = collectd::Collectd {
        ingest: Arc::new(CollectdIngest::new(TypesDb::built_in(), naming, queue, clock.clone(), counters.clone())),
        bodies,
        body_bytes_max: 1 << 20,
        durability: Durability::Interval,
        clock: clock.clone(),
        counters: counters.clone(),
    };
    let schema = Job::new(&engine, &paths, &env, people.dir.path());
    let figures = Figures { counters: counters.clone(), engine: engine.clone(), paths, more: Vec::new() };
    let (hosts, origins) = (Hosts::any(), Origins::new(vec!["http://friend".into()]));
    let guard = Guard { auth: people.auth.clone(), hosts, origins, counters };
    let (influx, graphite, collectd) = (Arc::new(influx), Arc::new(graphite), Arc::new(collectd));
    let guard = Arc::new(guard);
    let sql = Sql::new(&env, engine.clone(), catalog.clone(), SqlOptions::new(people.dir.path())).unwrap();
    let rooms = || Rooms {
        own: Arc::new(Own::new(figures.clone())),
        influx: influx.clone(),
        graphite: graphite.clone(),
        collectd: collectd.clone(),
        relay: None,
        sql: sql.clone(),
        engine: engine.clone(),
        catalog: catalog.clone(),
        schema: schema.clone(),
        guard: guard.clone(),
    };
    World { rules: routes(rooms()).rules(), router: router(rooms()), people }
}

struct Reply {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    body: String,
}

impl World {
    async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Reply { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
    }

    /// Who of [`PEOPLE`] is let through.
    async fn welcome(&self, method: &str, target: &str, body: &str) -> Vec<&'static str> {
        let mut welcome = Vec::new();
        for who in PEOPLE {
            let authorization = authorization(who);
            let headers: Vec<_> = authorization.iter().map(|value| ("Authorization", value.as_str())).collect();
            let reply = self.send(method, target, &headers, body).await;
            // A statement or parameters that make no sense are refused after the question whose they are.
            match reply.status {
                StatusCode::UNAUTHORIZED => {
                    assert!(matches!(who, "none" | "wrong"), "{method} {target} {who}: {}", reply.body);
                    assert_eq!(reply.headers[header::WWW_AUTHENTICATE], "Basic realm=\"InfluxDB\"");
                }
                StatusCode::FORBIDDEN => {}
                _ => welcome.push(who),
            }
        }
        welcome
    }
}

/// No credentials, wrong ones, a user without rights, a user who reads `d`, a token that writes `d`, one that reads all,
/// an administrator.
const PEOPLE: [&str; 7] = ["none", "wrong", "eve", "bob", "writer", "reader", "ada"];

fn authorization(who: &str) -> Option<String> {
    match who {
        "none" => None,
        "wrong" => Some("Token x".to_owned()),
        "ada" | "bob" | "eve" => Some(format!("Token {who}:p{who}")),
        who => Some(format!("Bearer {}", token(who))),
    }
}

const ALL: &[&str] = &PEOPLE;
const KNOWN: &[&str] = &["eve", "bob", "writer", "reader", "ada"];
const READERS_OF_ALL: &[&str] = &["reader", "ada"];
const READERS_OF_D: &[&str] = &["bob", "reader", "ada"];
const WRITERS_OF_D: &[&str] = &["writer", "ada"];
const ADMINS: &[&str] = &["ada"];

const DELETE: &str =
    r#"{"start":"2000-01-01T00:00:00Z","stop":"2000-01-02T00:00:00Z","predicate":"_measurement=none"}"#;
const FOR_EVER: &str = r#"{"retentionRules":[{"type":"expire","everySeconds":0}]}"#;
/// Who does not see a bucket is told that there is none.
const ADMINS_AND_BLIND: &[&str] = &["eve", "ada"];

/// Requests to the routes whose handlers ask who is there, and who is let through.
const ASKING: &[(&str, &str, &str, &str, &[&str])] = &[
    ("/write", "POST", "/write?db=d", "m v=1", WRITERS_OF_D),
    ("/write", "POST", "/write?db=other", "m v=1", ADMINS),
    // Without a database there is nothing to ask for: 400.
    ("/write", "POST", "/write", "m v=1", KNOWN),
    ("/api/v2/write", "POST", "/api/v2/write?bucket=d", "m v=1", WRITERS_OF_D),
    ("/api/v2/write", "POST", "/api/v2/write?bucket=other/x", "m v=1", ADMINS),
    ("/api/v3/write_lp", "POST", "/api/v3/write_lp?db=d", "m v=1", WRITERS_OF_D),
    ("/api/v3/write_lp", "POST", "/api/v3/write_lp?db=new", "m v=1", ADMINS),
    ("/query", "GET", "/query?db=d&q=SELECT+v+FROM+m", "", READERS_OF_D),
    ("/query", "GET", "/query?db=new&q=SELECT+v+FROM+m", "", READERS_OF_ALL),
    ("/query", "GET", "/query?db=new&q=SELECT+v+FROM+d..m", "", READERS_OF_D),
    ("/query", "GET", "/query?db=d&q=SHOW+DATABASES", "", KNOWN),
    ("/query", "GET", "/query?db=d&q=SHOW+USERS", "", ADMINS),
    ("/query", "GET", "/query?db=d&q=SHOW+MEASUREMENTS+ON+graphite", "", READERS_OF_ALL),
    ("/query", "POST", "/query?db=d&q=DELETE+FROM+none", "", WRITERS_OF_D),
    ("/query", "POST", "/query?db=d&q=SELECT+v+INTO+new..m+FROM+m", "", ADMINS),
    ("/query", "POST", "/query?db=d&q=CREATE+DATABASE+x", "", ADMINS),
    ("/query", "POST", "/query?q=CREATE+USER+x+WITH+PASSWORD+'p'+WITH+ALL+PRIVILEGES", "", ADMINS),
    ("/api/v2/delete", "POST", "/api/v2/delete?bucket=d", DELETE, WRITERS_OF_D),
    ("/api/v2/delete", "POST", "/api/v2/delete?bucket=other", DELETE, ADMINS),
    ("/api/v2/buckets", "GET", "/api/v2/buckets", "", KNOWN),
    ("/api/v2/buckets", "POST", "/api/v2/buckets", "{\"name\":\"b\"}", ADMINS),
    ("/api/v2/buckets", "POST", "/api/v2/buckets", "{\"name\":\"d\"}", ADMINS),
    ("/api/v2/buckets", "POST", "/api/v2/buckets", "{\"name\":\"d/x\"}", ADMINS),
    // An id that is nobody's.
    ("/api/v2/buckets/{id}", "GET", "/api/v2/buckets/x", "", KNOWN),
    ("/api/v2/buckets/{id}", "DELETE", "/api/v2/buckets/x", "", KNOWN),
    ("/api/v2/buckets/{id}", "GET", "/api/v2/buckets/0000000000000001", "", KNOWN),
    ("/api/v2/buckets/{id}", "PATCH", "/api/v2/buckets/0000000000000001", FOR_EVER, ADMINS_AND_BLIND),
    ("/api/v3/query_influxql", "GET", "/api/v3/query_influxql?db=d&q=SHOW+MEASUREMENTS", "", READERS_OF_D),
    ("/api/v3/query_influxql", "POST", "/api/v3/query_influxql?db=d&q=DROP+DATABASE+none", "", ADMINS),
    ("/api/v3/configure/database", "GET", "/api/v3/configure/database", "", KNOWN),
    ("/api/v3/configure/database", "POST", "/api/v3/configure/database", "{\"db\":\"d\"}", ADMINS),
    ("/api/v3/configure/database", "POST", "/api/v3/configure/database", "{\"db\":\"v3\"}", ADMINS),
    ("/api/v3/configure/database", "PUT", "/api/v3/configure/database", "{\"db\":\"d\"}", ADMINS),
    ("/api/v3/configure/database", "DELETE", "/api/v3/configure/database?db=none", "", ADMINS),
    (
        "/api/v3/configure/database/retention_period",
        "DELETE",
        "/api/v3/configure/database/retention_period?db=d",
        "",
        ADMINS,
    ),
    ("/api/v3/configure/token/admin", "POST", "/api/v3/configure/token/admin", "", ADMINS),
    ("/api/v1/prom/write", "POST", "/api/v1/prom/write?db=d", "", WRITERS_OF_D),
    ("/api/v1/prom/read", "POST", "/api/v1/prom/read?db=d", "", READERS_OF_D),
    ("/metrics", "GET", "/metrics", "", KNOWN),
    ("/metrics", "GET", "/metrics?query=*", "", READERS_OF_ALL),
    ("/metrics", "POST", "/metrics", "query=*", READERS_OF_ALL),
    ("/metrics/", "GET", "/metrics/", "", KNOWN),
    ("/events", "GET", "/events", "", READERS_OF_ALL),
    ("/events", "POST", "/events", "{}", ADMINS),
    ("/events/", "GET", "/events/", "", READERS_OF_ALL),
    ("/events/", "POST", "/events/", "{}", ADMINS),
    ("/events/{id}", "GET", "/events/1", "", READERS_OF_ALL),
    ("/events/{id}", "DELETE", "/events/1", "", ADMINS),
    ("/events/{id}/", "DELETE", "/events/1/", "", ADMINS),
    ("/collectd", "POST", "/collectd", "", ADMINS),
    ("/collectd/", "POST", "/collectd/", "", ADMINS),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_has_a_rule_and_every_rule_holds() {
    let world = world().await;
    assert!(world.rules.len() > 30, "{:?}", world.rules);
    for (path, rule) in &world.rules {
        let target = path.replace("{tag}", "x").replace("{name}", "sumSeries").replace("{id}", "1");
        let target = ["{key}", "{value}", "{link}", "{*path}"].iter().fold(target, |t, part| t.replace(part, "x"));
        let welcome = match rule {
            Rule::Open => ALL,
            Rule::Known => KNOWN,
            Rule::Admin => ADMINS,
            Rule::Reads("graphite") => READERS_OF_ALL,
            Rule::Writes("graphite") => ADMINS,
            Rule::Reads(_) | Rule::Writes(_) => panic!("{path}: say who may"),
            Rule::Asks => {
                assert!(ASKING.iter().any(|asking| asking.0 == path), "{path}: say who may");
                continue;
            }
        };
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            // Flux is refused to everybody, with the status that clients know for it.
            let welcome = if target == "/api/v2/query" && method == "POST" { &[] } else { welcome };
            assert_eq!(world.welcome(method, &target, "").await, welcome, "{method} {target}");
        }
    }
    for (path, method, target, body, welcome) in ASKING {
        assert!(world.rules.iter().any(|(known, rule)| known == path && *rule == Rule::Asks), "{path}");
        assert_eq!(world.welcome(method, target, body).await, *welcome, "{method} {target}");
    }
    assert!(world.people.counters.auth_forbidden.get() > 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_sees_what_the_caller_may_read() {
    let world = world().await;
    let ask = async |who: &str, database: &str| {
        let authorization = authorization(who).unwrap();
        let target = format!("/api/v3/query_sql?db={database}&q=SHOW+DATABASES");
        world.send("GET", &target, &[("Authorization", &authorization)], "").await.status.as_u16()
    };
    for (who, database, status) in [
        ("eve", "d", 404),
        ("writer", "d", 404),
        ("bob", "graphite", 404),
        ("reader", "none", 404),
        ("reader", "graphite", 200),
        ("bob", "d", 200),
        ("ada", "d", 200),
    ] {
        let found = ask(who, database).await;
        assert_eq!(found == 404, status == 404, "{who} {database}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn until_there_is_an_administrator_only_one_can_be_made() {
    let world = world_of(People::empty().await).await;
    let first = "create admin user first or disable authentication";
    for (method, target, status, text) in [
        ("GET", "/ping", 204, ""),
        ("GET", "/query?q=SHOW+DATABASES&u=ada&p=x", 403, "error authorizing query: "),
        ("POST", "/query?q=CREATE+USER+ada+WITH+PASSWORD+'x'", 403, first),
        ("POST", "/query?q=CREATE+USER+ada+WITH+PASSWORD+'x'+WITH+ALL+PRIVILEGES;DROP+DATABASE+d", 403, first),
        ("POST", "/write?db=d", 403, "user is required to write to database \\\"d\\\""),
        ("GET", "/render?target=a", 403, first),
        ("GET", "/api/v3/query_sql?db=d&q=SELECT+1", 403, first),
        ("POST", "/api/v1/compact", 403, first),
        ("GET", "/metrics", 403, first),
        ("POST", "/query?u=ada&p=x&q=CREATE+USER+ada+WITH+PASSWORD+'x'+WITH+ALL+PRIVILEGES", 200, "statement_id"),
        ("POST", "/query?q=CREATE+USER+eve+WITH+PASSWORD+'x'+WITH+ALL+PRIVILEGES", 401, "unable to parse auth"),
        ("GET", "/query?q=SHOW+DATABASES&u=ada&p=y", 401, "authorization failed"),
        ("GET", "/query?q=SHOW+DATABASES&u=ada&p=x", 200, "[\"d\"]"),
    ] {
        let reply = world.send(method, target, &[], "").await;
        assert!(reply.status == status && reply.body.contains(text), "{target}: {} {}", reply.status, reply.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_foreign_origins_change_nothing() {
    let world = world().await;
    let ada = authorization("ada").unwrap();
    for (origin, method, target, status) in [
        ("http://evil.example", "POST", "/write?db=d", 403),
        ("http://evil.example", "POST", "/query?q=SHOW+DATABASES", 403),
        ("null", "POST", "/api/v1/compact", 403),
        ("http://evil.example", "DELETE", "/render", 403),
        ("http://evil.example", "GET", "/query?q=SHOW+DATABASES", 200),
        ("http://evil.example", "OPTIONS", "/query", 200),
        ("http://friend", "POST", "/query?q=SHOW+DATABASES", 200),
        ("http://here:8086", "POST", "/query?q=SHOW+DATABASES", 200),
    ] {
        let headers = [("Origin", origin), ("Host", "here:8086"), ("Authorization", &ada)];
        let reply = world.send(method, target, &headers, "m v=1").await;
        assert_eq!(reply.status.as_u16(), status, "{origin} {method} {target}");
        let told = reply.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN].to_str().unwrap();
        // Only to OPTIONS a foreign page is told that it may: then it asks, and is told again.
        let may = method == "OPTIONS" || !matches!(origin, "null" | "http://evil.example");
        assert_eq!(told == origin, may, "{method} {origin}: {told}");
        assert_eq!(status == 403, reply.body.contains("[http] allowed_origins"), "{}", reply.body);
    }
    assert_eq!(world.people.counters.http_foreign_origins.get(), 4);
    // The guard answers what browsers ask before, whoever they ask for.
    let options = Method::OPTIONS.as_str();
    assert_eq!(world.send(options, "/api/v1/compact", &[], "").await.status, StatusCode::OK);
}

#[tokio::test]
async fn while_the_log_is_replayed_everything_is_503_with_the_reason() {
    for (method, target) in [("GET", "/ready"), ("GET", "/health"), ("POST", "/write?db=d"), ("GET", "/nothing")] {
        let request = Request::builder().method(method).uri(target).body(Body::empty()).unwrap();
        let response = starting().oneshot(request).await.unwrap();
        assert_eq!(
            (response.status(), &response.headers()[header::RETRY_AFTER]),
            (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
        );
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        assert!(String::from_utf8_lossy(&body).contains("replays the write-ahead log"), "{target}: {body:?}");
    }
}
