use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request as HttpRequest, StatusCode};
use flate2::Compression;
use flate2::write::GzEncoder;
use rhythmite_engine::{Options, Snapshot};
use rhythmite_env::{Env, ManualClock, SeededRandom};
use rhythmite_influx::answer::{Cell, Message, SeriesHead};
use rhythmite_influx::influxql::{Show, Statement};
use rhythmite_model::Tier;
use tower::ServiceExt;

use super::*;
use crate::api::guard::Guard;
use crate::catalog::NewPolicy;

const NOW_S: i64 = 1_700_000_000;

/// Answers `SHOW MEASUREMENTS` with two rows, a SELECT with `rows` rows, the rest with an error.
struct Fake {
    rows: usize,
    requests: Mutex<Vec<(Request, String)>>,
    /// Rows that were given out before the executor was told to stop.
    given: AtomicUsize,
}

impl Executor for Fake {
    fn execute(&self, request: &Request, query: &Query, out: &mut dyn ResultSink) {
        for (id, statement) in (0..).zip(&query.statements) {
            self.requests.lock().unwrap().push((request.clone(), statement.to_string()));
            out.begin_statement(id, false);
            let rows = match statement {
                Statement::Show(Show::Measurements(_)) => 2,
                Statement::Select(_) => self.rows,
                Statement::DropDatabase(name) if name == "panic" => panic!("as asked for"),
                _ => {
                    out.message(Message { level: "warning".into(), text: "careful".into() });
                    out.error("no such thing");
                    out.end_statement();
                    continue;
                }
            };
            let columns = vec!["time".into(), "v".into()];
            out.begin_series(&SeriesHead { name: "m".into(), tags: Vec::new(), columns });
            for row in 0..rows {
                if request.interrupt.cancelled.load(Ordering::Relaxed) {
                    out.error("query interrupted");
                    break;
                }
                out.row(&[Cell::Time(row as i64 * 1_000_000_000), Cell::Int(row as i64)]);
                self.given.fetch_add(1, Ordering::Relaxed);
            }
            out.end_series(false);
            out.end_statement();
        }
    }
}

struct World {
    api: Arc<InfluxApi>,
    router: Router,
    fake: Arc<Fake>,
    _dir: tempfile::TempDir,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

async fn world_with(rows: usize, change: impl FnOnce(&mut Limits, &mut Options)) -> World {
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::open(&dir.path().join("catalog.sqlite")).unwrap();
    catalog.create_database("d", NewPolicy::autogen()).await.unwrap();
    catalog.create_policy("d", NewPolicy::raw("hour", 3_600_000_000_000)).await.unwrap();
    let clock = Arc::new(ManualClock::new(NOW_S * 1_000_000_000));
    let env = Env { clock: clock.clone(), ..Env::real() };
    let (mut limits, mut options) = (Limits::default(), Options::new(dir.path()));
    change(&mut limits, &mut options);
    let policies = catalog.databases().policies().map(|p| p.policy.clone()).collect();
    let (engine, _) = Engine::open(env, options, Arc::new(catalog.manifest()), policies).unwrap();
    let told = engine.clone();
    catalog.tell(move |policy| told.put_policy(policy.clone()));
    let fake = Arc::new(Fake { rows, requests: Mutex::default(), given: AtomicUsize::new(0) });
    let random = Arc::new(SeededRandom::new(7));
    let (executor, counters, durability) = (fake.clone(), Arc::default(), Durability::Sync);
    let parts = Parts { engine, catalog, executor, clock, random, counters, limits, durability };
    let api = Arc::new(InfluxApi::new(parts));
    World { router: router(api.clone()).guarded(&Guard::open()).fallback(not_found), api, fake, _dir: dir }
}

async fn world() -> World {
    world_with(3, |_, _| ()).await
}

impl World {
    async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = HttpRequest::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
    }

    async fn write(&self, target: &str, body: impl Into<Body>) -> (u16, String) {
        self.send("POST", target, &[], body).await.told()
    }

    async fn query(&self, target: &str) -> (u16, String) {
        self.send("GET", target, &[], "").await.told()
    }

    /// Counters that are not zero.
    fn counted(&self) -> Vec<String> {
        let samples = self.api.counters.samples();
        let counted = samples.iter().filter(|sample| sample.value > 0);
        counted.filter_map(|s| Some(format!("{} {}", s.path.strip_prefix("influx.")?, s.value))).collect()
    }

    /// Points of all tables: `table policy rows`.
    fn stored(&self) -> Vec<String> {
        let tables: Vec<_> = {
            let names = self.api.engine.registry().read();
            names.all_tables().map(|t| (t.id(), t.name().to_owned(), t.policy())).collect()
        };
        let count = |table| {
            let all = Snapshot::all_series(table);
            let scan = self.api.engine.snapshot().scan(table, Tier::RAW, all, None, i64::MIN..=i64::MAX).unwrap();
            scan.map(|points| points.unwrap().streams.iter().map(|s| s.times_ns.len()).sum::<usize>()).sum::<usize>()
        };
        let policy = |id| self.api.engine.policy(id).unwrap();
        let line = |(id, name, p)| format!("{}.{}.{name} {}", policy(p).database, policy(p).name, count(id));
        tables.into_iter().map(line).collect()
    }
}

impl Answer {
    fn told(self) -> (u16, String) {
        (self.status.as_u16(), self.body)
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn error(text: &str) -> String {
    format!("{}\n", serde_json::json!({ "error": text }))
}

#[tokio::test]
async fn a_write_says_what_1_x_says() {
    let world = world().await;
    for (target, body, status, text) in [
        ("/write?db=d", "m f=1 1000", 204, ""),
        ("/write?db=d", "", 204, ""),
        ("/write?db=d", "# only\n\n", 204, ""),
        ("/write?db=d&rp=autogen&consistency=ALL&precision=ns&u=x&p=y&foo=bar", "m f=1 1001", 204, ""),
        ("/write", "m f=1", 400, "database is required"),
        ("/write?db=", "m f=1", 400, "database is required"),
        ("/write?db=no", "m f=1", 404, "database not found: \"no\""),
        ("/write?db=d&rp=no", "m f=1", 404, "retention policy not found: no"),
        ("/write?db=d&precision=d", "m f=1", 400, "invalid precision \"d\" (use n, u, ms, s, m or h)"),
        ("/write?db=d&consistency=bogus", "m f=1", 400, "invalid consistency level"),
        ("/write?db=d", "bad", 400, "unable to parse 'bad': missing fields"),
        ("/write?db=d", "m f=1 1002\nbad", 400, "partial write: unable to parse 'bad': missing fields dropped=0"),
        ("/write?db=d&rp=hour", "m f=1 1", 400, "partial write: points beyond retention policy dropped=1"),
        (
            "/write?db=d",
            "m f=1i 1003\nm f=1 1003",
            400,
            "partial write: field type conflict: input field \"f\" on measurement \"m\" is type integer, already exists as \
             type float dropped=1",
        ),
    ] {
        let expected = if text.is_empty() { String::new() } else { error(text) };
        assert_eq!(world.write(target, body).await, (status, expected), "{target} {body}");
    }
    assert_eq!(world.stored(), ["d.autogen.m 4"]);
    assert_eq!(world.counted(), ["points 4", "values 4", "refused.syntax 2", "refused.rule 1", "refused.old 1"]);
}

#[tokio::test]
async fn errors_are_repeated_in_a_header_on_one_line() {
    let world = world().await;
    let answer = world.send("POST", "/write?db=d", &[], "bad1\nbad2").await;
    let text = "unable to parse 'bad1': missing fields unable to parse 'bad2': missing fields";
    assert_eq!((answer.header("x-influxdb-error"), answer.header("content-type")), (text, "application/json"));
    let long = world.send("POST", "/write?db=d", &[], format!("{}\n", "ü".repeat(5_000))).await;
    let bytes = long.headers["x-influxdb-error"].as_bytes();
    assert!((1_000..=1_024).contains(&bytes.len()) && std::str::from_utf8(bytes).is_ok());
}

#[tokio::test]
async fn every_answer_has_the_headers_of_influxdb() {
    let world = world().await;
    for (method, target, status) in [
        ("GET", "/ping", 204),
        ("HEAD", "/ping", 204),
        ("GET", "/ping?verbose=0", 204),
        ("GET", "/ping?verbose=true", 200),
        ("POST", "/ping", 405),
        ("GET", "/write?db=d", 405),
        ("HEAD", "/write?db=d", 405),
        ("PUT", "/write?db=d", 405),
        ("DELETE", "/write?db=d", 405),
        ("OPTIONS", "/write?db=d", 200),
        ("OPTIONS", "/query", 200),
        ("HEAD", "/query?q=SHOW+MEASUREMENTS", 405),
        ("DELETE", "/query", 405),
        ("GET", "/query?q=SHOW+MEASUREMENTS", 200),
    ] {
        let answer = world.send(method, target, &[("Origin", "http://x.example")], "").await;
        assert_eq!(answer.status.as_u16(), status, "{method} {target}");
        assert_eq!((answer.header("x-influxdb-version"), answer.header("x-influxdb-build")), ("1.8.10", "OSS"));
        assert_eq!(answer.header("request-id").len(), 36);
        assert_eq!(answer.header("request-id"), answer.header("x-request-id"));
        assert_eq!(answer.header("access-control-allow-origin"), "http://x.example");
        let body = match (method, status) {
            ("HEAD" | "OPTIONS", _) | (_, 204) => "",
            (_, 405) => "Method Not Allowed\n",
            _ => &answer.body,
        };
        assert_eq!(answer.body, body, "{method} {target}");
    }
    let echo = world.send("GET", "/ping", &[("X-Request-Id", "abc-123")], "").await;
    assert_eq!((echo.header("request-id"), echo.header("x-request-id")), ("abc-123", "abc-123"));
    assert_eq!(echo.header("access-control-allow-origin"), "");
    assert_eq!(world.query("/write/").await, (404, "404 page not found\n".to_owned()));
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn gzip_is_taken_off() {
    let world = world_with(0, |limits, _| limits.unpacked_bytes_max = 1_000).await;
    let whole = gzip("m f=1 1\n");
    let members = [whole.clone(), gzip("m f=1 2\n")].concat();
    let truncated = whole[..whole.len() - 12].to_vec();
    let mut bad_checksum = whole.clone();
    let at = bad_checksum.len() - 8;
    bad_checksum[at] ^= 1;
    let mut corrupt = whole.clone();
    corrupt[10..14].fill(0xff);
    let bomb = gzip(&"#".repeat(100_000));
    for (body, encoding, status, text) in [
        (whole.clone(), "gzip", 204, ""),
        (whole.clone(), "GZIP", 204, ""),
        (whole, "identity", 204, ""),
        (members, "gzip", 204, ""),
        (b"m f=1 1000".to_vec(), "gzip", 400, "gzip: invalid header"),
        (truncated, "gzip", 400, "unexpected EOF"),
        (bad_checksum, "gzip", 400, "gzip: invalid checksum"),
        (bomb, "gzip", 413, "Request Entity Too Large"),
        (b"m f=1".to_vec(), "deflate", 415, "Content-Encoding \"deflate\" is not supported (use gzip)"),
    ] {
        let shown = format!("{encoding} {body:?}");
        let answer = world.send("POST", "/write?db=d", &[("Content-Encoding", encoding)], body).await;
        let expected = if text.is_empty() { String::new() } else { error(text) };
        assert_eq!(answer.told(), (status, expected), "{shown}");
    }
    let (status, text) = world.send("POST", "/write?db=d", &[("Content-Encoding", "gzip")], corrupt).await.told();
    assert!(status == 400 && text.contains("flate: corrupt input"), "{status} {text}");
    assert_eq!(world.stored(), ["d.autogen.m 2"]);
    assert_eq!(world.api.bodies.held(), 0);
}

#[tokio::test]
async fn bodies_have_limits() {
    let world = world_with(0, |limits, _| (limits.body_bytes_max, limits.bodies_bytes_max) = (200_000, 100_000)).await;
    let too_large = (413, error("Request Entity Too Large"));
    assert_eq!(world.write("/write?db=d", "#".repeat(200_001)).await, too_large);
    // Without a length, as chunked bodies come.
    let pieces = (0..4).map(|_| Ok::<_, std::io::Error>("#".repeat(60_000)));
    let world2 = world_with(0, |limits, _| limits.body_bytes_max = 200_000).await;
    assert_eq!(world2.write("/write?db=d", Body::from_stream(futures::stream::iter(pieces))).await, too_large);
    let answer = world.send("POST", "/write?db=d", &[], "#".repeat(150_000)).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
    assert_eq!(world.api.counters.http_busy_bodies.get(), 1);
    assert_eq!(world.write("/write?db=d", "m f=1").await.0, 204);
    assert_eq!(world.api.bodies.held(), 0);
}

#[tokio::test]
async fn a_body_that_stops_is_given_up() {
    let world = world_with(0, |limits, _| limits.body_pause = Duration::from_millis(20)).await;
    let first = futures::stream::once(std::future::ready(Ok::<_, std::io::Error>("m f=1 1\n")));
    let body = Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending()));
    let text = "the rest of the body did not come in time";
    assert_eq!(world.write("/write?db=d", body).await, (408, error(text)));
    assert_eq!(world.api.counters.http_body_timeouts.get(), 1);
    assert_eq!((world.stored().len(), world.api.bodies.held()), (0, 0));
}

#[tokio::test]
async fn a_full_engine_is_503_and_nothing_is_written() {
    let world = world_with(0, |_, options| options.memtable_bytes = 0).await;
    assert_eq!(world.write("/write?db=d", "m f=1 1").await.0, 204);
    let answer = world.send("POST", "/write?db=d", &[], "m f=2 2").await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
    assert_eq!(world.stored(), ["d.autogen.m 1"]);
}

#[tokio::test]
async fn version_2_writes_to_buckets() {
    let world = world().await;
    let refused =
        |code: &str, text: &str| serde_json::json!({ "code": code, "message": text, "error": text }).to_string();
    for (target, status, body) in [
        ("/api/v2/write?bucket=d&org=x", 204, String::new()),
        ("/api/v2/write?bucket=d/&precision=us", 204, String::new()),
        ("/api/v2/write?bucket=d%2Fhour&precision=s", 204, String::new()),
        ("/api/v2/write?bucket=no", 404, refused("not found", "database not found: \"no\"")),
        ("/api/v2/write?bucket=d/no", 404, refused("not found", "retention policy not found: no")),
        (
            "/api/v2/write?bucket=/hour",
            404,
            refused("not found", "bucket name \"/hour\" is in db/rp form but has an empty database"),
        ),
        (
            "/api/v2/write?bucket=d&precision=h",
            400,
            refused("invalid", "invalid precision \"h\" (use ns, us, ms or s)"),
        ),
    ] {
        assert_eq!(world.write(target, "m f=1").await, (status, body), "{target}");
    }
    assert_eq!(world.stored(), ["d.autogen.m 1", "d.hour.m 1"]);
}

#[tokio::test]
async fn version_3_names_each_bad_line() {
    let world = world().await;
    assert_eq!(world.write("/api/v3/write_lp?db=new", "m f=1 1600000000\n").await, (204, String::new()));
    let body = "m f=2 1600000001\n\nbad\nm f=3i 1600000002";
    let (status, answer) = world.write("/api/v3/write_lp?db=new&no_sync=true", body).await;
    let conflict =
        "field type conflict: input field \"f\" on measurement \"m\" is type integer, already exists as type float";
    let expected = serde_json::json!({ "error": "partial write of line protocol occurred", "data": [
        { "original_line": "bad", "line_number": 3, "error_message": "missing fields" },
        { "original_line": "m f=3i 1600000002", "line_number": 4, "error_message": conflict },
    ] });
    assert_eq!((status, serde_json::from_str::<serde_json::Value>(&answer).unwrap()), (400, expected));
    let (status, answer) = world.write("/api/v3/write_lp?db=new&accept_partial=false", "m f=4 1600000004\nbad").await;
    let expected = serde_json::json!({ "error": "parsing failed for write_lp endpoint",
        "data": { "original_line": "bad", "line_number": 2, "error_message": "missing fields" } });
    assert_eq!((status, serde_json::from_str::<serde_json::Value>(&answer).unwrap()), (400, expected));
    assert_eq!(world.write("/api/v3/write_lp", "m f=1").await, (400, error("database is required")));
    assert_eq!(
        world.write("/api/v3/write_lp?db=d&precision=h", "m f=1").await,
        (400, error("unknown precision \"h\""))
    );
    assert_eq!(world.stored(), ["new.autogen.m 2"]);
}

const TWO_ROWS: &str = "{\"results\":[{\"statement_id\":0,\"series\":[{\"name\":\"m\",\"columns\":[\"time\",\"v\"],\
                        \"values\":[[\"1970-01-01T00:00:00Z\",0],[\"1970-01-01T00:00:01Z\",1]]}]}]}\n";

#[tokio::test]
async fn a_query_is_found_wherever_it_is() {
    let world = world().await;
    let multipart =
        "--XX\r\nContent-Disposition: form-data; name=\"q\"; filename=\"q\"\r\n\r\nSHOW MEASUREMENTS\r\n--XX--\r\n";
    for (method, target, content_type, body) in [
        ("GET", "/query?db=d&q=SHOW+MEASUREMENTS", "", ""),
        ("POST", "/query?db=d&q=SHOW%20MEASUREMENTS", "", ""),
        ("POST", "/query?db=no", "application/x-www-form-urlencoded; charset=utf-8", "q=SHOW+MEASUREMENTS&db=d"),
        ("POST", "/query?db=d", "multipart/form-data; boundary=XX", multipart),
        ("POST", "/query?db=d", "application/vnd.influxql", "SHOW MEASUREMENTS"),
    ] {
        let headers = [("Content-Type", content_type)];
        let answer = world.send(method, target, &headers[..usize::from(!content_type.is_empty())], body).await;
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.told(), (200, TWO_ROWS.to_owned()), "{method} {target} {content_type}");
        let (request, statement) = world.fake.requests.lock().unwrap().pop().unwrap();
        assert_eq!((request.database.as_deref(), statement.as_str()), (Some("d"), "SHOW MEASUREMENTS"));
    }
}

#[tokio::test]
async fn a_form_has_limits() {
    let world = world().await;
    let post = async |body: Vec<u8>| {
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        world.send("POST", "/query?q=SHOW+MEASUREMENTS", &headers, body).await.told()
    };
    let too_large = (413, error("Request Entity Too Large"));
    assert_eq!(post(gzip(&"a&".repeat(10_000))).await, (200, TWO_ROWS.to_owned()));
    let too_many = (400, error("the form has more than 10000 parameters"));
    assert_eq!(post(gzip(&"a&".repeat(10_001))).await, too_many);
    assert_eq!(post(gzip(&"a".repeat(4 << 20))).await.0, 200);
    assert_eq!(post(gzip(&"a".repeat((4 << 20) + 1))).await, too_large);
    assert_eq!(post("a".repeat((4 << 20) + 1).into_bytes()).await, too_large);
}

#[tokio::test]
async fn parameters_shape_the_answer() {
    let world = world().await;
    let select = "/query?q=SELECT+v+FROM+m";
    for (target, accept, expected) in [
        (
            "&epoch=s",
            "text/html",
            "{\"results\":[{\"statement_id\":0,\"series\":[{\"name\":\"m\",\"columns\":[\"time\",\"v\"],\"values\":[[0,0],[1,1],[2,2]]}]}]}\n",
        ),
        ("", "application/csv", "name,tags,time,v\nm,,0,0\nm,,1000000000,1\nm,,2000000000,2\n"),
        (
            "&epoch=ms&chunked=true&chunk_size=2",
            "*/*",
            "{\"results\":[{\"statement_id\":0,\"series\":[{\"name\":\"m\",\"columns\":[\"time\",\"v\"],\"values\":[[0,0],[1000,1]],\"partial\":true}],\"partial\":true}]}\n{\"results\":[{\"statement_id\":0,\"series\":[{\"name\":\"m\",\"columns\":[\"time\",\"v\"],\"values\":[[2000,2]]}]}]}\n",
        ),
    ] {
        let answer = world.send("GET", &format!("{select}{target}"), &[("Accept", accept)], "").await;
        assert_eq!(answer.told(), (200, expected.to_owned()), "{target}");
    }
    assert!(world.query("/query?q=SHOW+MEASUREMENTS&pretty=true").await.1.starts_with("{\n    \"results\""));
    let (_, answer) = world.query("/query?q=SHOW+USERS&rp=hour").await;
    assert_eq!(
        answer,
        "{\"results\":[{\"statement_id\":0,\"messages\":[{\"level\":\"warning\",\"text\":\"careful\"}],\"error\":\"no such thing\"}]}\n"
    );
    assert_eq!(world.fake.requests.lock().unwrap().last().unwrap().0.policy.as_deref(), Some("hour"));
    let bound = "/query?q=SELECT+v+FROM+m+WHERE+h=$h&params=%7B%22h%22:%22x%22%7D";
    assert_eq!(world.query(bound).await.0, 200);
    assert_eq!(world.fake.requests.lock().unwrap().last().unwrap().1, "SELECT v FROM m WHERE h = 'x'");
    assert_eq!(world.query("/query?q=;").await, (200, "{}\n".to_owned()));
}

#[tokio::test]
async fn what_is_no_query_is_400() {
    let world = world().await;
    let expected = "SELECT, DELETE, SHOW, CREATE, DROP, EXPLAIN, GRANT, REVOKE, ALTER, SET, KILL";
    let nonsense = format!("error parsing query: found NOT, expected {expected} at line 1, char 1");
    for (target, text) in [
        ("/query?db=d", "missing required parameter \"q\""),
        ("/query?q=++", "missing required parameter \"q\""),
        ("/query?q=+NOT+A+QUERY", nonsense.as_str()),
        (
            "/query?q=SHOW+USERS&params=%7Bnot",
            "error parsing query parameters: invalid character 'n' looking for beginning of object key string",
        ),
        (
            "/query?q=SHOW+USERS;CREATE+DATABASE+x",
            "use of 'CREATE DATABASE x' in a read only context, please use a POST request instead",
        ),
    ] {
        assert_eq!(world.query(target).await, (400, error(text)), "{target}");
    }
    let csv = world.send("GET", "/query?q=NOT", &[("Accept", "text/csv")], "").await;
    assert_eq!((csv.header("content-type"), csv.header("x-influxdb-error")), ("text/csv", nonsense.as_str()));
    assert_eq!(csv.body, format!("error\n\"{nonsense}\"\n"));
    assert_eq!(world.fake.requests.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn an_asynchronous_query_goes_on_alone() {
    let world = world().await;
    assert_eq!(world.write("/query?q=SELECT+v+INTO+x+FROM+m&async=true", "").await, (204, String::new()));
    while world.fake.given.load(Ordering::Relaxed) < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.write("/query?q=NONSENSE&async=true", "").await.0, 400);
}

#[tokio::test]
async fn a_long_answer_is_sent_while_it_is_made() {
    const ROWS: usize = 200_000;
    let world = world_with(ROWS, |_, _| ()).await;
    let request = HttpRequest::get("/query?q=SELECT+v+FROM+m&epoch=s").body(Body::empty()).unwrap();
    let response = world.router.clone().oneshot(request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Nobody has read: the executor waits.
    let given = world.fake.given.load(Ordering::Relaxed);
    assert!(given > 0 && given < ROWS / 4, "{given}");
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert_eq!(body.iter().filter(|byte| **byte == b'[').count(), ROWS + 4);
    assert!(body.ends_with(b"]}]}]}\n"));
}

#[tokio::test]
async fn a_client_that_leaves_stops_its_query() {
    const ROWS: usize = 2_000_000;
    let world = world_with(ROWS, |limits, _| limits.queries_max = 1).await;
    let request = HttpRequest::get("/query?q=SELECT+v+FROM+m").body(Body::empty()).unwrap();
    drop(world.router.clone().oneshot(request).await.unwrap());
    // The next query gets the turn.
    assert_eq!(world.query("/query?q=SHOW+MEASUREMENTS").await.1, TWO_ROWS);
    assert!(world.fake.given.load(Ordering::Relaxed) < ROWS / 4);
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_query() {
    const ROWS: usize = 2_000_000;
    let pause = Duration::from_millis(50);
    let hour = Duration::from_secs(3_600);
    // The pause ends it, or the deadline before the pause.
    for (timeout, answer_pause) in [(None, pause), (Some(hour), pause), (Some(pause), hour)] {
        let world = world_with(ROWS, |limits, _| {
            (limits.queries_max, limits.query_timeout, limits.answer_pause) = (1, timeout, answer_pause);
        })
        .await;
        let request = HttpRequest::get("/query?q=SELECT+v+FROM+m").body(Body::empty()).unwrap();
        let unread = world.router.clone().oneshot(request).await.unwrap();
        // The next query gets the turn though the answer is still held.
        assert_eq!(world.query("/query?q=SHOW+MEASUREMENTS").await.1, TWO_ROWS);
        assert_eq!(world.counted(), ["queries 2", "stalled 1"]);
        assert!(world.fake.given.load(Ordering::Relaxed) < ROWS / 4);
        // What was made is there, and then a cut: not an answer that looks whole.
        assert!(to_bytes(unread.into_body(), usize::MAX).await.is_err());
    }
}

#[tokio::test]
async fn too_many_queries_are_503() {
    let world = world_with(2_000_000, |limits, _| {
        (limits.queries_max, limits.query_wait) = (1, Duration::from_millis(20));
    })
    .await;
    let request = HttpRequest::get("/query?q=SELECT+v+FROM+m").body(Body::empty()).unwrap();
    let busy = world.router.clone().oneshot(request).await.unwrap();
    let answer = world.send("GET", "/query?q=SHOW+MEASUREMENTS", &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
    assert_eq!(world.counted(), ["busy.queries 1", "queries 1"]);
    drop(busy);
}

#[tokio::test]
async fn a_messagepack_document_has_a_limit() {
    let world = world_with(100_000, |limits, _| limits.document_bytes_max = 100_000).await;
    let accept = [("Accept", "application/x-msgpack")];
    let answer = world.send("GET", "/query?q=SELECT+v+FROM+m", &accept, "").await;
    assert_eq!(answer.header("content-type"), "application/x-msgpack");
    assert!(answer.body.contains("too long for one MessagePack document"), "{}", answer.body.len());
    assert!(world.fake.given.load(Ordering::Relaxed) < 10_000);
    assert_eq!(world.counted(), ["queries 1", "cut_documents 1"]);
    let answer = world.send("GET", "/query?q=SHOW+MEASUREMENTS", &accept, "").await;
    assert!(answer.status == 200 && answer.body.contains("columns"));
}

#[tokio::test]
async fn a_panic_is_an_error_and_not_half_an_answer() {
    let world = world().await;
    assert_eq!(world.write("/query?q=DROP+DATABASE+panic", "").await, (500, error("the query has panicked")));
    assert_eq!(world.query("/query?q=SHOW+MEASUREMENTS").await.0, 200);
}

#[tokio::test]
async fn deleting_in_a_bucket_means_its_policy() {
    let world = world().await;
    let body = r#"{"start":"1970-01-01T00:00:00Z","stop":"1970-01-01T00:00:01Z","predicate":"_measurement=m"}"#;
    for (bucket, policy) in [("d", Some("autogen")), ("d/autogen", Some("autogen")), ("d/hour", Some("hour"))] {
        world.send("POST", &format!("/api/v2/delete?bucket={bucket}"), &[], body).await;
        let (request, statement) = world.fake.requests.lock().unwrap().pop().unwrap();
        assert_eq!(request.only_policy.as_deref(), policy, "{bucket}");
        assert!(statement.starts_with("DELETE FROM m WHERE"), "{statement}");
    }
    let answer = world.send("POST", "/api/v2/delete?bucket=d/none", &[], body).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.body);
    assert!(world.fake.requests.lock().unwrap().is_empty());
}
