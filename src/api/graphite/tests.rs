use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{Request, Response};
use jiff::tz::TimeZone;
use tower::ServiceExt;

use super::*;
use crate::api::guard::Guard;
use crate::counters::Counter;
use crate::query::graphite::tests::world::{NOW_S, World};

struct Server {
    world: World,
    router: Router,
    counters: Arc<Counters>,
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
        catalog: world.catalog.clone(),
        counters: Arc::default(),
        cpu: Arc::new(CpuPool::start(2, 16).unwrap()),
        clock: world.env.clock.clone(),
        zone: TimeZone::UTC,
        limits: world.limits.clone(),
        bodies: Arc::new(Bodies::new(100_000, Duration::from_millis(50), Arc::default())),
    };
    let counters = state.counters.clone();
    Server { router: router(Arc::new(state)).guarded(&Guard::open()), world, counters }
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
    // A range hides nothing.
    server
        .check(
            "GET /metrics/find?query=a.d&format=nodelist&from=-3h&until=-2h",
            r#"200 application/json {"nodes": ["d"]}"#,
        )
        .await;
    server.check("GET /metrics/find?query=a.*&from=x", "400 application/json {\"error\":\"bad time ...").await;
    server
        .check(
            "GET /metrics/find?query=a.b.&format=json",
            r#"200 application/json [{"path": "a.b.", "is_leaf": false}]"#,
        )
        .await;
    // An empty segment is the branch before it; an escaped wildcard is shown in place of what it has matched.
    for (query, nodes) in [
        (".a..d", r#"[{"path": "a.d", "is_leaf": true, "#),
        ("a..", r#"[{"path": "a.", "is_leaf": false}]"#),
        ("..", r#"[{"path": "", "is_leaf": false}]"#),
        ("a.%7B%7D", r#"[{"path": "a.", "is_leaf": false}]"#),
        ("a.%7B,d%7D", r#"[{"path": "a.", "is_leaf": false}, {"path": "a.d", "is_leaf": true, "#),
        ("a.%5C*.c", r#"[{"path": "a.*.c", "is_leaf": true, "#),
        ("%5C*", r#"[{"path": "*", "is_leaf": false}]"#),
        ("a.%5Cd", r#"[{"path": "a.d", "is_leaf": true, "#),
        ("%7B**%7D.c", r#"[{"path": "a.b.c", "is_leaf": true, "#),
    ] {
        let open = if nodes.ends_with(']') { "" } else { "..." };
        let want = format!("200 application/json {nodes}{open}");
        server.check(&format!("GET /metrics/find?query={query}&format=json"), &want).await;
    }
    server.check("GET /metrics/get-metadata", "200 application/json {}").await;
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
    check("GET /tags/autoComplete/values?tag=dc&expr=h!=x", r#"["2"]"#).await;
    check("GET /tags/findSeries?expr=dc=1&expr[]=dc=2", r#"["m;dc=1;h=x"]"#).await;
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

#[tokio::test]
async fn an_answer_tells_how_it_came_about() {
    let server = server();
    let request = "/render?target=sumSeries(a.{b,d})&format=json&from=-2min&meta=true";
    let response = server.send(Request::get(request).body(Body::empty()).unwrap()).await;
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer["series"][0]["target"], "sumSeries(a.{b,d})");
    let fetch = serde_json::json!({
        "query": "a.{b,d}", "from": NOW_S - 120, "until": NOW_S, "tiers": [[0, 60]], "series": 2, "points": 4,
    });
    assert_eq!(answer["meta"]["fetches"], serde_json::json!([fetch]));
    assert_eq!(answer["meta"]["stats"]["points_read"], 4);
}

#[tokio::test]
async fn a_long_answer_is_streamed() {
    let server = server();
    let request = "/render?target=time('x',1)&format=json&from=-10h";
    let response = server.send(Request::get(request).body(Body::empty()).unwrap()).await;
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    let body = to_bytes(response.into_body(), 1 << 24).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(answer[0]["datapoints"].as_array().map(Vec::len), Some(36_000));
}

#[tokio::test]
async fn old_events_go_for_new_ones_and_are_counted() {
    let server = server();
    let events = server.world.catalog.events();
    server.check(r#"POST /events {"what":"old","tags":"t"}"#, "200 text/html ").await;
    events.skip_numbers(crate::catalog::events::STORED_MAX).await;
    server.check(r#"POST /events {"what":"new","tags":"t"}"#, "200 text/html ").await;
    assert_eq!(events.get(1).await.unwrap(), None);
    assert_eq!([&server.counters.graphite_events, &server.counters.graphite_events_dropped].map(Counter::get), [2, 1]);
}

#[tokio::test]
async fn events_are_posted_and_found() {
    let server = server();
    for (request, want) in [
        (r#"POST /events {"what":"w1","tags":["b","a"],"when":1717243140,"data":"d"}"#, "200 text/html "),
        (r#"POST /events/ {"what":"w2","tags":"b c"}"#, "200 text/html "),
        (r#"POST /events {"what":"w3","tags":5}"#, "400 application/json {\"error\":\"\\\"tags\\\" must be ..."),
        ("POST /events what=x", "400 application/json {\"error\":\"an event is a JSON object: ..."),
        ("PUT /events", "405 - "),
        (
            "GET /events/get_data?tags=b&until=-1s",
            r#"200 application/json [{"when": 1717243140, "what": "w1", "data": "d", "tags": ["b", "a"], "id": 1}]"#,
        ),
        (
            "GET /events/get_data/?tags=b+a&set=intersection&jsonp=cb",
            r#"200 text/javascript cb([{"when": 1717243140, "what": "w1", "data": "d", "tags": ["b", "a"], "id": 1}])"#,
        ),
        (
            "GET /events?from=12:00_20240601",
            r#"200 application/json [{"when": 1717243200, "what": "w2", "data": "", "tags": ["b", "c"], "id": 2}]"#,
        ),
        ("GET /events/get_data?tags=", "200 application/json []"),
        ("GET /events/get_data?from=x", "400 application/json {\"error\":\"bad time ..."),
        ("GET /events/get_data?jsonp=a(b", "400 application/json {\"error\":\"jsonp must be an identifier\"}"),
        (
            "GET /events/2",
            r#"200 application/json {"id": 2, "when": "2024-06-01T12:00:00Z", "what": "w2", "data": "", "tags": ["b", "c"]}"#,
        ),
        ("GET /events/x", "404 application/json {\"error\":\"Event matching query does not exist\"}"),
        (
            "GET /render?target=events('b','nobody')&from=1717243139&until=1717243142&format=raw",
            "200 text/plain events(\"b\", \"nobody\"),1717243139,1717243142,1|None,1.0,None\n",
        ),
        (
            "GET /render?target=summarize(events('*'),'1d')&from=1717243000&until=1717243201&format=json&noNullPoints=1",
            "200 application/json [{\"target\": \"summarize(events(\\\"*\\\"), \\\"1d\\\", \\\"sum\\\")\"...",
        ),
        ("DELETE /events/2", "204 - "),
        ("DELETE /events/2", "404 application/json ..."),
    ] {
        server.check(request, want).await;
    }
    let long = format!("POST /events {{\"what\":\"{}\"}}", "x".repeat(65 << 10));
    server.check(&long, "400 application/json {\"error\":\"an event of 66560 bytes; ...").await;
}

#[tokio::test]
async fn dashboards_are_kept() {
    let server = server();
    let missing =
        |what: &str, name: &str| format!(r#"200 application/json {{"error":"{what} '{name}' does not exist. "}}"#);
    for (request, want) in [
        ("POST /dashboard/save/Big%20One state={\"z\":1,%20\"a\":[]}", "200 application/json {\"success\":true}"),
        ("GET /dashboard/load/Big%20One", "200 application/json {\"state\": {\"z\":1, \"a\":[]}}"),
        ("POST /dashboard/save/x state=no", "400 application/json {\"error\":\"state is not JSON: ..."),
        ("POST /dashboard/save/x", "400 application/json {\"error\":\"Missing required parameter 'state'\"}"),
        ("GET /dashboard/save/x", "405 - "),
        ("POST /dashboard/save/two state=1", "200 ..."),
        ("GET /dashboard/find/?query=ONE+big", "200 application/json {\"dashboards\":[{\"name\":\"Big One\"}]}"),
        (
            "POST /dashboard/find query=",
            "200 application/json {\"dashboards\":[{\"name\":\"Big One\"},{\"name\":\"two\"}]}",
        ),
        ("GET /dashboard/find", "400 ..."),
        ("POST /dashboard/create-temporary/ state=2", "200 application/json {\"name\":\"temporary-0\"}"),
        ("GET /dashboard/load/temporary-0", "200 application/json {\"state\": 2}"),
        ("GET /dashboard/delete/two", "200 application/json {\"success\":true}"),
        ("GET /dashboard/delete/two", missing("Dashboard", "two").as_str()),
        ("GET /dashboard/load/two", missing("Dashboard", "two").as_str()),
        (
            "POST /dashboard/save_template/t/k.a state={\"graphs\":[[\"k.a\",{\"target\":[\"k.a.x\"]},\"/r\"]]}",
            "200 application/json {\"success\":true}",
        ),
        (
            "GET /dashboard/load/t/v",
            r#"200 application/json {"state": {"graphs":[["v",{"target":["v.x"]},"/r"]],"name":"t/v"}}"#,
        ),
        ("GET /dashboard/load_template/u/v", missing("Template", "u").as_str()),
        ("GET /dashboard/find_template?query=t", "200 application/json {\"templates\":[{\"name\":\"t\"}]}"),
        ("GET /dashboard/delete_template/t", "200 application/json {\"success\":true}"),
        ("GET /dashboard/delete_template/t", missing("Template", "t").as_str()),
    ] {
        server.check(request, want).await;
    }
}

#[tokio::test]
async fn paths_have_short_links() {
    let server = server();
    server.check("GET /s/render/?target=a&_salt=1.5", "200 text/plain /S/B").await;
    server.check("GET /s/render/?target=a", "200 text/plain /S/B").await;
    server.check("GET /s//evil.example/%0d", "200 text/plain /S/C").await;
    for (link, want) in [("/S/B", "/render/?target=a"), ("/S/C/", "/evil.example/%0d")] {
        let response = server.send(Request::get(link).body(Body::empty()).unwrap()).await;
        assert_eq!((response.status().as_u16(), response.headers()["location"].to_str().unwrap()), (301, want));
    }
    server.check("GET /S/Q", "404 application/json {\"error\":\"there is no such link\"}").await;
    server.check("GET /S/!", "404 ...").await;
}

#[tokio::test]
async fn metadata_are_set() {
    let server = server();
    for (request, want) in [
        (
            "GET /metrics/set-metadata?metric=a.b&key=aggregationMethod&value=sum",
            r#"200 application/json {"a.b":{"new_value":"sum","old_value":"max"}}"#,
        ),
        (
            "POST /metrics/set-metadata operations=[{\"metric\":\"a.d\",\"key\":\"aggregationMethod\",\"value\":\"x\"},\
             {\"metric\":\"no\",\"key\":\"aggregationMethod\",\"value\":\"min\"},{}]",
            r#"200 application/json {"a.d":{"error":"no such aggregation method"},"no":{"error":"no series \"no\""}}"#,
        ),
        ("POST /metrics/set-metadata operations=x", "400 ..."),
        ("GET /metrics/set-metadata?metric=a.b", "400 ..."),
        (
            "GET /metrics/get-metadata?metric=a.b&key=aggregationMethod",
            r#"200 application/json {"a.b":{"value":"sum"}}"#,
        ),
    ] {
        server.check(request, want).await;
    }
}

#[tokio::test]
async fn carbonapi_may_stand_in_front() {
    use rhythmite_graphite::carbonapi::CONTENT_TYPE as PROTOCOL;
    let server = server();
    let ask = async |uri: &str, message: &[u8]| {
        let request = Request::post(uri).header(CONTENT_TYPE, PROTOCOL).body(Body::from(message.to_vec())).unwrap();
        let response = server.send(request).await;
        let head = (response.status().as_u16(), response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned());
        (head, to_bytes(response.into_body(), 1 << 20).await.unwrap())
    };
    let fine = (200, PROTOCOL.to_owned());
    let find = "/metrics/find/?format=carbonapi_v3_pb";
    let (head, body) = ask(find, b"\x0a\x03a.*").await;
    assert_eq!(head, fine);
    assert_eq!(
        &body[..],
        b"\x0a\x1e\x0a\x03a.*\x12\x07\x0a\x03a.b\x10\x01\x12\x07\x0a\x03a.d\x10\x01\x12\x05\x0a\x03a.b"
    );
    // The range of the pattern: the last minute.
    let (from, until) = (NOW_S - 60, NOW_S);
    let mut fetch = b"\x0a\x03a.d\x2a\x01p".to_vec();
    for (key, time) in [(0x10, from), (0x18, until)] {
        fetch.push(key);
        let mut rest = time as u64;
        while rest >= 0x80 {
            fetch.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        fetch.push(rest as u8);
    }
    let message = [&[0x0a, u8::try_from(fetch.len()).unwrap()][..], &fetch].concat();
    let (head, body) = ask("/render/?format=carbonapi_v3_pb", &message).await;
    assert_eq!(head, fine);
    let holds = |part: &[u8]| body.windows(part.len()).any(|w| w == part);
    assert!(holds(b"\x0a\x03a.d\x12\x01p") && holds(&3.0_f64.to_le_bytes()), "{body:?}");
    assert_eq!(ask("/render/?format=carbonapi_v3_pb", b"\x0a\xff").await.0.0, 400);
    assert_eq!(ask(find, &b"\x0a\x01*".repeat(10_001)).await.0.0, 400);
    server.check("GET /_internal/capabilities/", "200 application/x-carbonapi-v3-pb ...").await;
    server
        .check("GET /render?target=a.d&format=carbonapi_v3_pb&from=-1min", "200 application/x-carbonapi-v3-pb ...")
        .await;
}
