"""One client of InfluxDB writes, reads the same back and meets a clear error; see influx-clients.sh."""

import json
import os
import sys
import urllib.parse
import urllib.request

URL, HOST, PORT = os.environ["URL"], os.environ["HOST"], int(os.environ["PORT"])
ROOT, READER = os.environ["ROOT"], os.environ["READER"]


def equal(found, wanted):
    assert found == wanted, f"{found!r} is not {wanted!r}"


def fails(work, *words):
    try:
        work()
    except Exception as error:
        text = str(error)
        assert all(word in text for word in words), text
        return
    raise AssertionError(f"no error with {words}")


def ask(path, token=READER, **params):
    request = urllib.request.Request(f"{URL}{path}?{urllib.parse.urlencode(params)}")
    request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def influxdb():
    from influxdb import InfluxDBClient

    ada = InfluxDBClient(HOST, PORT, "ada", "pada", "live")
    points = [
        {"measurement": "one", "tags": {"host": "a b"}, "time": 10, "fields": {"v": 1.5, "n": 2, "s": 'x"y', "b": True}},
        {"measurement": "one", "tags": {"host": "ü,="}, "time": 20, "fields": {"v": -0.25}},
    ]
    assert ada.write_points(points, time_precision="s")
    bob = InfluxDBClient(HOST, PORT, "bob", "pbob", "live")
    rows = list(bob.query("SELECT * FROM one", epoch="s").get_points())
    equal(rows, [
        {"time": 10, "b": True, "host": "a b", "n": 2, "s": 'x"y', "v": 1.5},
        {"time": 20, "b": None, "host": "ü,=", "n": None, "s": None, "v": -0.25},
    ])
    equal([d["name"] for d in bob.get_list_database()], ["live"])
    fails(lambda: bob.write_points(points), "403", "not authorized to write to database")
    fails(lambda: bob.create_database("x"), "requires admin privilege")
    fails(lambda: ada.write_points([{"measurement": "one", "fields": {"v": "text"}}]), "field type conflict")
    fails(InfluxDBClient(HOST, PORT, "bob", "wrong", "live").get_list_database, "401", "authorization failed")
    fails(lambda: bob.query("SELECT nonsense("), "error parsing query")


def influxdb_client():
    from influxdb_client import InfluxDBClient, Point, WritePrecision
    from influxdb_client.client.write_api import SYNCHRONOUS

    with InfluxDBClient(url=URL, token=ROOT, org="-") as root:
        assert root.ping()
        equal(root.health().status, "pass")
        buckets = root.buckets_api()
        made = buckets.create_bucket(bucket_name="made", org="-")
        equal((made.name, buckets.find_bucket_by_name("made").id), ("made", made.id))
        point = Point("two").tag("host", "a").field("v", 2.5).field("n", 7).time(10, WritePrecision.S)
        root.write_api(write_options=SYNCHRONOUS).write(bucket="made", record=point, write_precision=WritePrecision.S)
        rows = ask("/query", token=ROOT, db="made", q="SELECT * FROM two", epoch="s")
        equal(rows["results"][0]["series"][0]["values"], [[10, "a", 7, 2.5]])
        fails(lambda: root.query_api().query('from(bucket:"made") |> range(start: 0)'), "403", "Flux is not supported")
        buckets.delete_bucket(made)
        equal(buckets.find_bucket_by_name("made"), None)
    with InfluxDBClient(url=URL, token=READER, org="-") as reader:
        write = reader.write_api(write_options=SYNCHRONOUS).write
        fails(lambda: write(bucket="live", record="two v=1"), "403", "not authorized to write")
    with InfluxDBClient(url=URL, token="wrong", org="-") as nobody:
        write = nobody.write_api(write_options=SYNCHRONOUS).write
        fails(lambda: write(bucket="live", record="two v=1"), "401", "authorization failed")


def influxdb3():
    from influxdb_client_3 import InfluxDBClient3, Point, WriteOptions, write_client_options
    from influxdb_client_3.write_client.client.write_api import SYNCHRONOUS, WriteType

    options = write_client_options(write_options=WriteOptions(write_type=WriteType.synchronous))
    with InfluxDBClient3(host=URL, token=ROOT, database="live", write_client_options=options) as root:
        root.write(Point("three").tag("host", "a").field("v", 3.5).time(10 * 10**9))
    # Reading is by Flight in this client; the same by HTTP.
    rows = ask("/api/v3/query_sql", db="live", q="SELECT host, v FROM three")
    equal(rows, [{"host": "a", "v": 3.5}])
    rows = ask("/api/v3/query_influxql", db="live", q="SELECT host, v FROM three")
    equal(rows, [{"iox::measurement": "three", "time": "1970-01-01T00:00:10", "host": "a", "v": 3.5}])
    with InfluxDBClient3(host=URL, token=READER, database="live", write_client_options=options) as reader:
        fails(lambda: reader.write("three v=1"), "not authorized to write")


if __name__ == "__main__":
    {"influxdb": influxdb, "influxdb_client": influxdb_client, "influxdb3": influxdb3}[sys.argv[1]]()
