use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{Request, Response};
use jiff::tz::TimeZone;
use tower::ServiceExt;

use super::*;
use crate::api::guard::Guard;
use crate::query::graphite::tests::world::{NOW_S, World};

struct Server {
    world: World,
    router: Router,
}

fn server() -> Server {
    server_with(|_| ())
}

fn server_with(limits: impl FnOnce(&mut Limits)) -> Server {
    let mut world = World::new();
    limits(&mut world.limits);
    for (path, value) in [("a.b.c", 1.0), ("a.b", 2.0), ("a.d", 3.0), ("m;dc=1;h=x", 4.0), ("m;dc=2;h=y", 5.0)] {
        let id = world.series(path, &[(60, 3_600)], (4, 0.5, 0));
        world.write(id, 0, &[(NOW_S, value)]);
    }
    let state = Graphite {
        engine: world.engine.clone(),
        ingest: world.ingest(),
        cpu: Arc::new(CpuPool::start(2, 16).unwrap()),
        clock: world.env.clock.clone(),
        zone: TimeZone::UTC,
        limits: world.limits.clone(),
        bodies: Arc::new(Bodies::new(100_000, Duration::from_millis(50), Arc::default())),
    };
    Server { router: router(Arc::new(state)).guarded(&Guard::open()), world }
}

impl Server {
    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Sends `METHOD target [form]`; expects `status type body`, where a body that ends in `...` may go on.
    async fn check(&self, request: &str, want: &str) {
        let mut parts = request.splitn(3, ' ');
        let (method, uri) = (parts.next().unwrap(), parts.next().unwrap());
        let form = parts.next().unwrap_or_default().to_owned();
        let sent = Request::builder().method(method).uri(uri).body(Body::from(form)).unwrap();
        let response = self.send(sent).await;
        let status = response.status().as_u16();
        let content_type = response.headers().get(CONTENT_TYPE).map_or("-", |t| t.to_str().unwrap()).to_owned();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let got = format!("{status} {content_type} {}", String::from_utf8_lossy(&body));
        match want.strip_suffix("...") {
            Some(start) => assert!(got.starts_with(start), "{request}: {got}"),
            None => assert_eq!(got, want, "{request}"),
        }
    }
}

#[tokio::test]
async fn renders() {
    let server = server();
    let point = r#"[{"target": "a.d", "tags": {"name": "a.d"}, "datapoints": [[3.0, 1717243200]]}]"#;
    let json = format!("200 application/json {point}");
    for request in [
        "GET /render?target=a.d&format=json&from=-1min",
        "GET /render/?target=a.d&format=json&from=-1min",
        "GET /render?target[]=a.d&format=json&from=-1min&until=now",
        "POST /render target=a.d&format=json&from=-1min",
        // The form's parameters come after the query's.
        "POST /render?target=a.d&format=csv&from=-1min format=json",
        "GET /render?target=a.d&target=&format=json&from=1717243140&until=12:00_20240601",
        "GET /render?target=template(a.$x,x=%22b%22)&template[x]=d&format=json&from=-1min",
    ] {
        server.check(request, &json).await;
    }
    server
        .check("GET /render?target=a.d&from=-1min&rawData=1", "200 text/plain a.d,1717243200,1717243260,60|3.0\n")
        .await;
    server
        .check(
            "GET /render?target=sumSeries(a.*)&target=seriesByTag('name=m')&from=-1min&format=raw",
            "200 text/plain sumSeries(a.*),1717243200,1717243260,60|5.0\n\
             m;dc=1;h=x,1717243200,1717243260,60|4.0\nm;dc=2;h=y,1717243200,1717243260,60|5.0\n",
        )
        .await;
    server
        .check("GET /render?target=a.d&format=json&from=-1min&jsonp=cb", &format!("200 text/javascript cb({point})"))
        .await;
    server.check("GET /render?target=none.*&format=json", "200 application/json []").await;
    server.check("GET /render?format=json", "200 application/json []").await;
}

#[tokio::test]
async fn draws() {
    let server = server();
    for (query, want) in [
        ("target=a.d", "200 image/png \u{fffd}PNG\r\n..."),
        ("target=a.d&format=bogus", "200 image/png \u{fffd}PNG\r\n..."),
        ("target=none.*&format=png", "200 image/png \u{fffd}PNG\r\n..."),
        ("target=a.d&format=svg&title=x", "200 image/svg+xml <?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg ..."),
        ("target=a.d&format=pdf", "200 application/x-pdf %PDF-1.4\n..."),
        ("target=x:1&target=y:3&format=svg&graphType=pie&jsonp=cb", "200 text/javascript cb(\"<?xml ..."),
        ("target=a.d&bgcolor=blurple", "400 application/json {\"error\":\"bgcolor: Invalid color 'blurple'\"}"),
        ("target=a.d&width=30000", "400 application/json {\"error\":\"width must be 1 to 20000\"}"),
        ("target=color(a.d,'zz')", "400 application/json {\"error\":\"Invalid color 'zz'\"}"),
        // JSON has no looks.
        ("target=none.*&bgcolor=blurple&format=json", "200 application/json []"),
    ] {
        server.check(&format!("GET /render?from=-1h&{query}"), want).await;
    }
}

#[tokio::test]
async fn forms_have_limits() {
    let server = server();
    let first = futures::stream::once(std::future::ready(Ok::<_, std::io::Error>("target=a.d")));
    let stalled = Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending()));
    for (uri, form, status, text) in [
        ("/render", stalled, 408, "the rest of the body did not come in time"),
        ("/metrics/find", Body::from("x".repeat(FORM_BYTES_MAX + 1)), 413, "Request Entity Too Large"),
        ("/tags/findSeries", Body::from("x".repeat(200_000)), 503, "too many bytes of requests are held in memory"),
        ("/render", Body::from("a&".repeat(10_001)), 400, "more than 10000 parameters"),
        ("/render", Body::from("format=json"), 200, "[]"),
    ] {
        let response = server.send(Request::post(uri).body(form).unwrap()).await;
        let got = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let body = String::from_utf8_lossy(&body);
        assert!(got == status && body.contains(text), "{uri}: {got} {body}");
    }
}

#[tokio::test]
async fn malformed_requests_are_told_where() {
    let server = server();
    let error = "400 application/json {\"error\":\"";
    for (request, want) in [
        (
            "GET /render?target=scale(a.b&format=json",
            "malformed target: expected ',' or ')', found the end at position 9; target: scale(a.b\"}",
        ),
        ("GET /render?target=nosuch(a.b)&format=json", "Received request for unknown function: nosuch..."),
        ("GET /render?target=scale(a.b,'x')&format=json", "scale(): ..."),
        ("GET /render?target=a.b&from=now&until=now", "Invalid empty time range\"}"),
        ("GET /render?target=a.b&from=1h", "bad time ..."),
        ("GET /render?target=a.b&format=json&jsonp=a;b", "jsonp must be an identifier\"}"),
        ("GET /render?target=seriesByTag('bad')&format=json", "Invalid tagspec bad..."),
        ("GET /metrics/find", "Missing required parameter 'query'\"}"),
        ("GET /metrics/find?query=a&format=nope", "Invalid value for 'format' parameter\"}"),
        ("GET /tags/findSeries", "no tag expressions specified\"}"),
        ("GET /tags/findSeries?expr=a!=b", "At least one tagspec must ..."),
        ("GET /tags/autoComplete/values", "no tag specified\"}"),
        ("GET /tags?limit=x", "limit \\\"x\\\" is not a number\"}"),
        ("POST /tags/tagSeries", "no path specified\"}"),
        ("POST /tags/tagSeries path=a;=b", "a;=b: a tag is empty ..."),
    ] {
        server.check(request, &format!("{error}{want}")).await;
    }
    server.check("GET /functions/nosuch", "404 application/json {\"error\":\"Function not found: nosuch\"}").await;
}

#[tokio::test]
async fn limits_hold_for_all_patterns_of_a_request() {
    let server = server_with(|limits| (limits.nodes_max, limits.points_max) = (4, 100));
    server
        .check("GET /metrics/expand?query=a.*&query=a.d", r#"200 application/json {"results": ["a.b", "a.d"]}"#)
        .await;
    server.check("GET /metrics/expand?query=a.*&query=a.*", "400 application/json {\"error\":\"a.*: ...").await;
    let many = "query=x&".repeat(1_001);
    server
        .check(&format!("POST /metrics/expand {many}"), "400 application/json {\"error\":\"more than 1000 queries\"}")
        .await;
    let render = "GET /render?format=json&from=-1min&target=a.*";
    server.check(&format!("{render}&target=a.d"), "200 ...").await;
    server.check(&format!("{render}&target=*.d&target=a.?"), "400 application/json {\"error\":\"a.?: ...").await;
    let made = "GET /render?format=json&from=-1min&target=time('x',1)";
    server.check(made, "200 ...").await;
    let e = "400 application/json {\"error\":\"timeFunction(): ...";
    let e = e.replace("timeFunction", "time");
    server.check(&format!("{made}&target=time('y',1)"), &e).await;
}

#[tokio::test]
async fn only_posts_change_tags() {
    let server = server();
    for path in ["/tags/tagSeries", "/tags/tagMultiSeries/", "/tags/delSeries"] {
        let sent = Request::get(format!("{path}?path=m;dc=1;h=x")).body(Body::empty()).unwrap();
        let response = server.send(sent).await;
        assert_eq!((response.status().as_u16(), response.headers()[ALLOW].to_str().unwrap()), (405, "POST"), "{path}");
    }
    server.check("GET /tags/findSeries?expr=dc=1", r#"200 application/json ["m;dc=1;h=x"]"#).await;
}

#[tokio::test]
async fn names_are_found() {
    let server = server();
    let tree = r#"200 application/json [{"text": "b", "id": "a.b", "allowChildren": 1, "expandable": 1, "leaf": 0}, {"text": "d", "id": "a.d", "allowChildren": 0, "expandable": 0, "leaf": 1}]"#;
    server.check("GET /metrics/find?query=a.*", tree).await;
    server.check("POST /metrics/find/ query=a.*", tree).await;
    server
        .check(
            "GET /metrics/find?query=a.*&format=json&leavesOnly=1",
            r#"200 application/json [{"path": "a.b", "is_leaf": true, "intervals": [{"start": 1717239600, "end": 1717243200}]}, {"path": "a.d", "is_leaf": true, "intervals": [{"start": 1717239600, "end": 1717243200}]}]"#,
        )
        .await;
    // Nothing is kept of two hours ago; branches have no range.
    server
        .check(
            "GET /metrics/find?query=a.*&format=json&from=-3h&until=-2h",
            r#"200 application/json [{"path": "a.b", "is_leaf": false}]"#,
        )
        .await;
    server.check("GET /metrics/expand?query=a.*&query=m", r#"200 application/json {"results": ["a.b", "a.d"]}"#).await;
    server.check("GET /metrics/index.json", r#"200 application/json ["a.b", "a.b.c", "a.d"]"#).await;
    server
        .check(
            "GET /metrics/get-metadata?metric=a.b&metric=none&key=aggregationMethod",
            r#"200 application/json {"a.b":{"value":"max"},"none":{"error":"no series \"none\""}}"#,
        )
        .await;
    server.check("GET /version/", "200 text/plain; charset=utf-8 1.1.10\n").await;
    server.check("GET /functions/sum", "200 application/json {\"name\": \"sum\"...").await;
}

#[tokio::test]
async fn tags_are_listed_made_and_dropped() {
    let server = server();
    let check = |request: &'static str, want: &'static str| {
        let server = &server;
        async move { server.check(request, &format!("200 application/json {want}")).await }
    };
    check("GET /tags", r#"[{"tag":"dc"},{"tag":"h"},{"tag":"name"}]"#).await;
    check("GET /tags?filter=n", r#"[{"tag":"name"}]"#).await;
    check("GET /tags?limit=1", r#"[{"tag":"dc"}]"#).await;
    check("GET /tags/dc/", r#"{"tag":"dc","values":[{"count":1,"value":"1"},{"count":1,"value":"2"}]}"#).await;
    check("GET /tags/dc?filter=2", r#"{"tag":"dc","values":[{"count":1,"value":"2"}]}"#).await;
    check("GET /tags/none", "null").await;
    check("POST /tags/tagSeries path=new;z=2;y=1", r#""new;y=1;z=2""#).await;
    check("POST /tags/tagMultiSeries path=new;y=2&path=new;y=3", r#"["new;y=2","new;y=3"]"#).await;
    check("GET /tags/findSeries?expr=name=new", r#"["new;y=1;z=2","new;y=2","new;y=3"]"#).await;
    check("GET /tags/autoComplete/values?tag=y&expr[]=name=new&valuePrefix=2", r#"["2"]"#).await;
    check("GET /tags/autoComplete/tags?expr=name=new&tagPrefix=z", r#"["z"]"#).await;
    check("POST /tags/delSeries path=new;z=2;y=1&path=new;y=3&path=never;x=1", "true").await;
    check("GET /tags/findSeries?expr=name=new", r#"["new;y=2"]"#).await;
    // A path without tags is not in the tag database, and keeps its points.
    check("POST /tags/delSeries path=a.d", "true").await;
    check("GET /metrics/expand?query=a.d", r#"{"results": ["a.d"]}"#).await;
    server.world.check("m;dc=1;h=x", (-60, 0), "60: 4");
}

#[tokio::test]
async fn answers_say_how_long_they_may_be_kept() {
    let server = server();
    for (query, want) in [
        ("", None),
        ("&cacheTimeout=30", Some("max-age=30")),
        ("&noCache=1", Some("no-cache, no-store, must-revalidate, max-age=0")),
    ] {
        let uri = format!("/render?target=a.b&format=json{query}");
        let response = server.send(Request::get(uri).body(Body::empty()).unwrap()).await;
        assert_eq!(response.headers().get(CACHE_CONTROL).map(|v| v.to_str().unwrap()), want, "{query}");
    }
}

#[tokio::test]
async fn deletes() {
    let server = server();
    let json = |body: &str| format!("200 application/json {body}");
    let find = "GET /metrics/index.json";
    for (request, want) in [
        ("POST /api/v1/delete", "400 application/json {\"error\":\"the request is not understood...".to_owned()),
        (
            "POST /api/v1/delete {\"path\":[\"a.*\"]}",
            "400 application/json {\"error\":\"the request is not understood: unknown field `path`...".to_owned(),
        ),
        (
            "POST /api/v1/delete {}",
            "400 application/json {\"error\":\"neither paths nor tags say what to delete\"}".to_owned(),
        ),
        (
            "POST /api/v1/delete?dry-run=true {\"paths\":[\"a.*\"]}",
            "400 application/json {\"error\":\"unknown parameter...".to_owned(),
        ),
        (
            "POST /api/v1/delete {\"paths\":[\"a.*\"],\"from\":\"now\",\"until\":1}",
            "400 application/json {\"error\":\"from is later than until\"}".to_owned(),
        ),
        (
            "POST /api/v1/delete {\"paths\":[\"a.*\"],\"from\":1.5}",
            "400 application/json {\"error\":\"from: neither seconds nor a time\"}".to_owned(),
        ),
        (
            "POST /api/v1/delete?dry_run=true {\"paths\":[\"a.*\",\"a.b\"],\"tags\":[\"dc=~[12]\",\"name=m\"]}",
            json(
                "{\"bytes\":0,\"dry_run\":true,\"matched\":4,\"points\":4,\"series\":4,\"tables\":[{\"bytes\":0,\
                 \"database\":\"graphite\",\"points\":4,\"policy\":\"60s_3600s\",\"series\":4,\"table\":\"metrics\"}]}",
            ),
        ),
        (
            "POST /api/v1/delete {\"paths\":[\"a.*\"],\"until\":\"-2min\"}",
            json("{\"dry_run\":false,\"matched\":2,\"series_removed\":0}"),
        ),
        (find, json("[\"a.b\", \"a.b.c\", \"a.d\"]")),
        (
            "POST /api/v1/delete {\"paths\":[\"a.*\"],\"from\":\"-2min\",\"until\":\"now\"}",
            json("{\"dry_run\":false,\"matched\":2,\"series_removed\":2}"),
        ),
        (find, json("[\"a.b.c\"]")),
        (
            "POST /api/v1/delete {\"tags\":[\"name=m\",\"dc=1\"]}",
            json("{\"dry_run\":false,\"matched\":1,\"series_removed\":1}"),
        ),
        ("GET /tags/findSeries?expr=name=m", json("[\"m;dc=2;h=y\"]")),
        ("POST /tags/delSeries path=m;dc=2;h=y", json("true")),
        ("GET /tags/findSeries?expr=name=m", json("[]")),
    ] {
        server.check(request, &want).await;
    }
}
