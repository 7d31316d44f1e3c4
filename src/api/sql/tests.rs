use std::time::Duration;

use axum::body::to_bytes;
use axum::http::{Method, header};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tower::ServiceExt;

use super::*;
use crate::api::guard::Guard;
use crate::query::sql::tests::World;

const FORM: &str = "application/x-www-form-urlencoded";

struct Reply {
    status: u16,
    content_type: String,
    body: Bytes,
}

impl Reply {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

fn bodies(bytes_max: usize) -> Arc<Bodies> {
    Arc::new(Bodies::new(bytes_max, Duration::from_millis(50), Arc::default()))
}

async fn send(world: &World, request: Request) -> Reply {
    let response = router(world.sql.clone(), bodies(8 << 20)).guarded(&Guard::open()).oneshot(request).await.unwrap();
    let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let status = response.status().as_u16();
    Reply { status, content_type, body: to_bytes(response.into_body(), usize::MAX).await.unwrap() }
}

async fn get(world: &World, query: &str, accept: &str) -> Reply {
    let uri = format!("/api/v3/query_sql?{query}");
    send(world, Request::get(uri).header(header::ACCEPT, accept).body(Body::empty()).unwrap()).await
}

async fn post(world: &World, query: &str, content_type: &str, body: &str) -> Reply {
    let request = Request::builder().method(Method::POST).uri(format!("/api/v3/query_sql?{query}"));
    send(world, request.header(header::CONTENT_TYPE, content_type).body(Body::from(body.to_owned())).unwrap()).await
}

async fn world() -> World {
    let world = World::new(|_| {}).await;
    world.write("d", "cpu,host=a f=1.5,i=2i,u=18446744073709551615u,b=true,s=\"x,\\\"y\" 0\ncpu,host=b f=2 1704067200");
    world
}

const Q: &str = "db=d&q=SELECT+*+FROM+cpu+ORDER+BY+host";

#[tokio::test]
async fn rows_come_in_five_formats() {
    let world = world().await;
    let json = r#"[{"time":"1970-01-01T00:00:00","host":"a","b":true,"f":1.5,"i":2,"s":"x,\"y","u":18446744073709551615},{"time":"2024-01-01T00:00:00","host":"b","f":2.0}]"#;
    let lines = json[1..json.len() - 1].replace("},{", "}\n{") + "\n";
    let csv = "time,host,b,f,i,s,u\n1970-01-01T00:00:00,a,true,1.5,2,\"x,\"\"y\",18446744073709551615\n2024-01-01T00:00:00,b,,2.0,,,\n";
    let pretty = "\
+---------------------+------+------+-----+---+------+----------------------+
| time                | host | b    | f   | i | s    | u                    |
+---------------------+------+------+-----+---+------+----------------------+
| 1970-01-01T00:00:00 | a    | true | 1.5 | 2 | x,\"y | 18446744073709551615 |
| 2024-01-01T00:00:00 | b    |      | 2.0 |   |      |                      |
+---------------------+------+------+-----+---+------+----------------------+
";
    let cases = [
        ("json", "application/json", "application/json", json),
        ("jsonl", "application/jsonl", "application/jsonl", lines.as_str()),
        ("csv", "text/csv", "text/csv", csv),
        ("pretty", "text/plain", "text/plain; charset=utf-8", pretty),
    ];
    for (name, accept, content_type, body) in cases {
        for reply in [
            get(&world, &format!("{Q}&format={name}"), "application/vnd.apache.parquet").await,
            get(&world, Q, accept).await,
            get(&world, Q, &format!("{accept};q=0.9, image/png")).await,
        ] {
            assert_eq!((reply.status, reply.content_type.as_str(), reply.text()), (200, content_type, body), "{name}");
        }
    }
    let reply = get(&world, &format!("{Q}&format=parquet"), "*/*").await;
    assert_eq!(reply.content_type, "application/vnd.apache.parquet");
    let batches = ParquetRecordBatchReaderBuilder::try_new(reply.body).unwrap().build().unwrap();
    let rows: Vec<_> = batches.map(Result::unwrap).collect();
    assert_eq!(rows.iter().map(|b| (b.num_rows(), b.num_columns())).collect::<Vec<_>>(), [(2, 7)]);
}

#[tokio::test]
async fn no_rows_are_an_answer_too() {
    let world = world().await;
    let none = "db=d&q=SELECT+host,f+FROM+cpu+WHERE+f%3E9&format=";
    for (format, body) in [("json", "[]"), ("jsonl", ""), ("csv", "host,f\n")] {
        let reply = get(&world, &format!("{none}{format}"), "").await;
        assert_eq!((reply.status, reply.text()), (200, body), "{format}");
    }
    assert!(get(&world, &format!("{none}pretty"), "").await.text().contains("| host | f |"));
    let reply = get(&world, &format!("{none}parquet"), "").await;
    assert_eq!(ParquetRecordBatchReaderBuilder::try_new(reply.body).unwrap().schema().fields().len(), 2);
}

#[tokio::test]
async fn questions_come_in_query_string_form_or_json() {
    let world = world().await;
    let expected = r#"[{"f":2.0}]"#;
    let sql = "SELECT f FROM cpu WHERE host = $h AND f > $n";
    let json = serde_json::json!({"db": "d", "q": sql, "params": {"h": "b", "n": 1}}).to_string();
    let encoded = "SELECT+f+FROM+cpu+WHERE+host+%3D+%24h+AND+f+%3E+%24n&params=%7B%22h%22%3A%22b%22%2C%22n%22%3A1%7D";
    for reply in [
        get(&world, &format!("db=d&q={encoded}&extra=1"), "*/*").await,
        post(&world, "", FORM, &format!("db=d&q={encoded}")).await,
        post(&world, "db=d", FORM, &format!("q={encoded}")).await,
        post(&world, "db=elsewhere", "application/json", &json).await,
        post(&world, "", FORM, &json).await,
        post(&world, "", "text/plain", &json).await,
    ] {
        assert_eq!((reply.status, reply.text()), (200, expected));
    }
}

#[tokio::test]
async fn errors_are_json_and_name_the_place() {
    let world = world().await;
    let cases = [
        ("q=SELECT+1", 400, "missing parameter \"db\""),
        ("db=d", 400, "missing parameter \"q\""),
        ("db=nowhere&q=SELECT+1", 404, "database not found: nowhere"),
        ("db=d&q=SELECT+*+FROM+nothing", 400, "table 'd.autogen.nothing' not found"),
        ("db=d&q=SELECT+1+1+FROM", 400, "Line: 1, Column:"),
        ("db=d&q=DROP+TABLE+cpu", 400, "DROP TABLE is not allowed"),
        ("db=d&q=SELECT+1&format=xml", 400, "unknown format \"xml\""),
        ("db=d&q=SELECT+1&params=[1]", 400, "params must be a JSON object"),
        ("db=d&q=SELECT+1&params=x", 400, "params: expected value at line 1"),
        ("db=d&q=SELECT+1%2F0", 400, "Divide by zero"),
        ("db=d&q=%FF", 400, "not UTF-8"),
    ];
    for (query, status, text) in cases {
        let reply = get(&world, query, "").await;
        assert_eq!((reply.status, reply.content_type.as_str()), (status, "application/json"), "{query}");
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert!(body["error"].as_str().unwrap().contains(text), "{query}: {}", reply.text());
    }
    assert_eq!(get(&world, "db=d&q=SELECT+1", "image/png").await.status, 400);
    assert_eq!(post(&world, "", "application/json", "{\"db\":1}").await.status, 400);
    assert_eq!(post(&world, "", "application/json", "{\"database\":\"d\"}").await.status, 400);
    assert_eq!(post(&world, "", "application/json", &"x".repeat(5 << 20)).await.status, 413);
}

#[tokio::test]
async fn a_deadline_is_408_and_a_full_house_503() {
    let timeout = std::time::Duration::from_millis(100);
    let world = World::new(|o| (o.timeout, o.running_max, o.waiting_max) = (timeout, 1, 0)).await;
    let slow =
        "db=d&q=SELECT+sum(a.value%2Bb.value)+FROM+generate_series(1,100000)+a+CROSS+JOIN+generate_series(1,100000)+b";
    let second = async {
        tokio::time::sleep(timeout / 4).await;
        get(&world, "db=d&q=SELECT+1", "").await.status
    };
    let (first, second) = tokio::join!(get(&world, slow, ""), second);
    assert_eq!((first.status, second), (408, 503));
    assert!(first.text().contains("[query] timeout"), "{}", first.text());
}

#[tokio::test]
async fn bodies_have_limits() {
    let world = world().await;
    let first = stream::once(std::future::ready(Ok::<_, std::io::Error>("{\"db\":")));
    let stalled = Body::from_stream(first.chain(stream::pending()));
    for (body, status) in [
        (stalled, 408),
        (Body::from("x".repeat(request::BODY_BYTES_MAX + 1)), 413),
        (Body::from("x".repeat(200_000)), 503),
        (Body::from(r#"{"db":"d","q":"SELECT 1"}"#), 200),
    ] {
        let request = Request::post("/api/v3/query_sql").body(body).unwrap();
        let response =
            router(world.sql.clone(), bodies(100_000)).guarded(&Guard::open()).oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
    }
}

#[tokio::test]
async fn what_the_caller_may_not_read_is_not_there() {
    let world = world().await;
    let request = Request::get("/api/v3/query_sql?db=d&q=SELECT+1").body(Body::empty()).unwrap();
    let state = State((world.sql.clone(), bodies(8 << 20)));
    assert_eq!(query(state, Caller::Nobody, request).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn compaction_leaves_one_file_and_the_same_rows() {
    let world = world().await;
    let before = get(&world, Q, "").await.body;
    world.engine.flush().unwrap();
    world.write("d", "cpu,host=c f=3 5");
    let request = Request::post("/api/v1/compact").body(Body::empty()).unwrap();
    let response =
        crate::api::admin::router(world.engine.clone()).guarded(&Guard::open()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let report: serde_json::Value =
        serde_json::from_slice(&to_bytes(response.into_body(), 10_000).await.unwrap()).unwrap();
    // Two weeks of points: two partitions.
    assert_eq!((&report["files_before"], &report["files_after"]), (&1.into(), &2.into()), "{report}");
    let after = get(&world, "db=d&q=SELECT+*+FROM+cpu+WHERE+host!='c'+ORDER+BY+host", "").await.body;
    assert_eq!(after, before);
}
