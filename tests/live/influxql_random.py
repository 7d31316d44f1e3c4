"""Random data and random statements of InfluxQL, for influxql_differential.py.

Everything follows from the seed of the given random.Random. Statements are bounded: windows are only filled between two
bounds of time, so no answer has more than some thousand rows.
"""

T0 = 1577836800  # 2020-01-01T00:00:00Z
SPRING, AUTUMN = 1616803200, 1635552000  # the days around which clocks in Europe change, 2021

DAY_OF_DATA = "time >= '2020-01-01T00:00:00Z' AND time < '2020-01-01T00:05:00Z'"

# Measurements: fields by kind, tags, and the bounds of time that hold their points.
TABLES = {
    "cpu": dict(float=["idle"], int=["cnt"], bool=["up"], str=["state"], tags=["host", "region"]),
    "net": dict(float=["rate"], int=["bytes"], bool=[], str=[], tags=['"if"']),
    "tie": dict(float=["v"], int=["n"], bool=["b"], str=["s"], tags=["k", "j"]),
}


def data(rng):
    """Lines of line protocol: gaps, points at the same time, missing tags, a counter that begins again, two changes of the clock."""
    lines = []
    for at, (host, region) in enumerate([("a", ",region=eu"), ("b", ",region=us"), ("c", "")]):
        for i in range(28):
            if host == "c" and i % 3 == 1:
                continue
            t = T0 + i * 10 + (3 if host == "c" and i % 2 else 0)
            fields = []
            if rng.random() < 0.95:
                fields.append("idle=%s" % (round(rng.uniform(0, 100) * 4) / 4))
            if rng.random() < 0.9:
                fields.append("cnt=%di" % rng.randint(-5, 20))
            if rng.random() < 0.4:
                fields.append("up=%s" % rng.choice(["true", "false"]))
            if rng.random() < 0.4:
                fields.append('state="%s"' % rng.choice(["ok", "warn", "crit"]))
            if fields:
                lines.append("cpu,host=%s%s %s %d" % (host, region, ",".join(fields), t * 10**9))
        del at
    for name, step, value in [("eth0", 15, 0), ("eth1", 30, 1000)]:
        for i in range(300 // step + 1):
            value = max(0, value + rng.randint(-30, 40)) if i % 9 else rng.randint(0, 50)
            lines.append('net,if=%s bytes=%di,rate=%s %d' % (name, value, value / 8, (T0 + i * step) * 10**9))
    for k in "abcde":
        for j in "xy":
            for i in range(6):
                fields = "v=%s,n=%di,b=%s,s=\"%s\"" % (
                    rng.choice([1, 2.5, -3, 1e9, 0.1]), rng.choice([1, 2, 3, 3000000001]), rng.choice(["true", "false"]),
                    rng.choice("pqr"))
                lines.append("tie,j=%s,k=%s %s %d" % (j, k, fields, (T0 + i * 40) * 10**9))
    for start in (SPRING, AUTUMN):
        for i in range(76):
            lines.append("power,site=x kw=%s,n=%di %d" % ((i * 7) % 25, i % 5, (start + i * 3600) * 10**9))
    lines += [
        'odd,tag\\ one=a\\,b,quo"te=x value=1,field\\ two=2 %d' % (T0 * 10**9),
        "odd,tag\\ one=c value=-3.5 %d" % ((T0 + 1) * 10**9),
        "select,from=where group=1,by=2i %d" % (T0 * 10**9),
        "m1,k=x v=1,w=1i %d" % (T0 * 10**9), "m1,k=y v=2 %d" % ((T0 + 20) * 10**9), "m2,k=x,j=1 v=3 %d" % ((T0 + 10) * 10**9),
        'n1,j=2 v=4,z="t" %d' % ((T0 + 5) * 10**9), "neg v=1 -5000000000",
    ]
    return lines


class Statements:
    """Makes statements."""

    def __init__(self, rng):
        self.rng = rng

    def one_of(self, *options):
        return self.rng.choice(options)

    def chance(self, p):
        return self.rng.random() < p

    # --- SELECT -------------------------------------------------------------------------------------------------

    def select(self):
        if self.chance(0.06):
            return self.zoned()
        if self.chance(0.05):
            return self.several()
        return self.over(self.one_of("cpu", "cpu", "cpu", "net", "tie"), self.rng.choice([0, 0, 0, 0, 1, 1, 2]))

    def zoned(self):
        call = self.one_of("count(kw), sum(kw)", "mean(kw)", "max(n)", "first(kw), last(kw)", "derivative(max(kw))", "integral(kw)", "elapsed(sum(n))")
        start, end = self.one_of(("2021-03-27", "2021-03-30"), ("2021-10-30", "2021-11-02"), ("2021-03-28", "2021-03-29"))
        every = self.one_of("1d", "1d", "12h", "6h", "1h", "3h", "7h", "1w", "1d, 6h", "12h, -1h", "2d", "1d, -25h", "90m")
        zone = self.one_of("Europe/Prague", "America/New_York", "Asia/Kolkata", "UTC", "Australia/Lord_Howe", "Pacific/Apia", "")
        clock = self.one_of("", "T00:00:00Z", " 03:00:00", "T02:30:00Z")
        text = "SELECT %s FROM power WHERE time >= '%s%s' AND time < '%s%s' GROUP BY time(%s)" % (call, start, clock, end, clock, every)
        text += self.fill() if self.chance(0.4) else ""
        text += " ORDER BY time DESC" if self.chance(0.2) else ""
        return text + (" tz('%s')" % zone if zone else "")

    def several(self):
        source = self.one_of("m1, m2", "/^m/", "/./", "m1, m2, n1", "m1, m1", '"select", m1', "/^[mn]/", "neg, m1", "db_d..m1, m2", "odd")
        what = self.one_of("*", "v", "count(v)", "mean(v)", "v, k", "max(v), k", "sum(*)", "*::field", "*::tag", "first(*)", "/v|w/", "v, w", "last(v), j",
                           "top(v, 1)", "top(v, k, 1)", "distinct(v)", "v + 1", "sum(v) / count(v)", "derivative(v)", '"field two"', "value", '"group", "by"')
        text = "SELECT %s FROM %s" % (what, source)
        text += self.one_of("", "", " WHERE k = 'x'", " WHERE v > 1", " WHERE k != ''", " WHERE j =~ /1|2/", " WHERE time > 0")
        text += self.one_of("", "", " GROUP BY k", " GROUP BY *", " GROUP BY j, k", " GROUP BY /k/")
        return text + self.tail(False)

    def over(self, name, depth):
        """A SELECT over a measurement, `depth` subqueries deep."""
        table = TABLES[name]
        if depth == 0:
            return self.build(name, table)[0]
        inner, columns = self.build(name, table, inside=True)
        for _ in range(depth - 1):
            inner, columns = self.build("(%s)" % inner, columns, inside=True)
        return self.build("(%s)" % inner, columns)[0]

    def build(self, source, table, inside=False):
        """The text, and its columns as a table for a statement around it."""
        kind = self.rng.choice(["raw", "aggregate", "aggregate", "aggregate", "selector", "transform", "transform", "nested", "nested", "math", "top", "several", "wild"])
        if not (table["float"] or table["int"]):
            kind = "raw"
        windows = kind in ("nested",) or (kind not in ("raw", "transform", "wild") and self.chance(0.5)) or (kind == "wild" and self.chance(0.3))
        fields, kinds = getattr(self, "fields_" + kind)(table)
        out = dict(float=[], int=[], bool=[], str=[], tags=[])
        shown = []
        for at, (text, of) in enumerate(zip(fields, kinds)):
            if inside and of is not None:
                alias = "%s%d" % (self.one_of("x", "y"), at)
                out[of].append(alias)
                shown.append("%s AS %s" % (text, alias))
            else:
                shown.append(text + (" AS z%d" % at if self.chance(0.1) and of is not None else ""))
                if of is not None and text.isidentifier():
                    out[of].append(text)
        wild_raw = kind == "wild" and not windows and shown and "(" not in shown[0]
        clauses = []
        conditions = []
        bounded = self.chance(0.6) or windows
        if bounded:
            conditions.append(self.times())
        while self.chance(0.3):
            conditions.append(self.condition(table))
        if conditions:
            clauses.append("WHERE " + " AND ".join(conditions))
        groups = []
        if windows:
            groups.append(self.window())
        if table["tags"] and self.chance(0.45):
            groups.append(self.one_of("*", *table["tags"], *table["tags"], ", ".join(table["tags"]), "/%s/" % self.one_of("o", "h", "k|j", "reg", ".")))
        if self.chance(0.02):
            groups.append("missing")
        if groups:
            if self.chance(0.15):
                groups.reverse()
            clauses.append("GROUP BY " + ", ".join(groups))
            for group in groups:
                if group == "*":
                    out["tags"] += [t for t in table["tags"] if t not in out["tags"]]
                elif not group.startswith(("time", "/", "missing")):
                    out["tags"] += [t for t in group.split(", ") if t not in out["tags"]]
        text = "SELECT %s FROM %s" % (", ".join(shown), source)
        text += "".join(" " + clause for clause in clauses)
        if windows and self.chance(0.6) or self.chance(0.03) and not wild_raw:
            text += self.fill()
        return text + self.tail(inside), out

    def tail(self, inside):
        text = ""
        if not inside and self.chance(0.2):
            text += self.one_of(" ORDER BY time DESC", " ORDER BY time DESC", " ORDER BY time ASC", " ORDER BY time")
        if self.chance(0.25 if not inside else 0.1):
            text += " LIMIT %d" % self.one_of(1, 2, 3, 5, 10)
            if self.chance(0.4):
                text += " OFFSET %d" % self.one_of(1, 2, 7)
        elif self.chance(0.04):
            text += " OFFSET %d" % self.one_of(1, 3, 30)
        if self.chance(0.1):
            text += " SLIMIT %d" % self.one_of(1, 2)
            if self.chance(0.5):
                text += " SOFFSET 1"
        elif self.chance(0.02):
            text += " SOFFSET 1"
        return text

    def fill(self):
        return " fill(%s)" % self.one_of("null", "none", "none", "previous", "linear", "0", "-7", "3.5", "100")

    def window(self):
        every = self.one_of("10s", "15s", "20s", "30s", "30s", "1m", "1m", "1m", "2m", "7s", "5m", "1h", "1d")
        return "time(%s%s)" % (every, self.one_of("", "", "", "", ", 5s", ", -30s", ", 1m", ", now()") if False else self.one_of("", "", "", "", "", ", 5s", ", -30s", ", 1m"))

    def times(self):
        return self.one_of(
            DAY_OF_DATA, DAY_OF_DATA, DAY_OF_DATA,
            "time >= '2020-01-01T00:00:30Z' AND time <= '2020-01-01T00:03:20Z'",
            "time > %d AND time < %d" % ((T0 + 33) * 10**9, (T0 + 201) * 10**9),
            "time >= '2020-01-01 00:01:00' AND time < '2020-01-01 00:02:30.5'",
            "time >= %ds AND time <= %ds" % (T0 - 60, T0 + 100),
            "time > '2020-01-01' - 1m AND time <= '2020-01-01' + 4m",
            "time >= %dms AND time < %ds + 2m" % (T0 * 1000, T0),
        )

    def condition(self, table):
        options = []
        for tag in table["tags"]:
            options += [
                "%s = '%s'" % (tag, self.one_of("a", "b", "eth0", "x", "")), "%s != '%s'" % (tag, self.one_of("a", "c", "", "eth1", "y")),
                "%s =~ /%s/" % (tag, self.one_of("a|c", "^[ab]$", ".", "^$", "eth.", "e", "(?i)EU")), "%s !~ /%s/" % (tag, self.one_of("a", ".", "^$", "us", "1")),
            ]
            options.append("(%s = 'a' OR %s = 'b')" % (tag, tag))
        numbers = table["float"] + table["int"]
        for field in numbers:
            options += ["%s %s %s" % (field, self.one_of(">", "<", ">=", "<=", "=", "!=", "<>"), self.one_of("0", "5", "50.5", "-1", "2", "20"))]
        if numbers:
            a, b = self.rng.choice(numbers), self.rng.choice(numbers)
            options += ["%s > %s" % (a, b), "%s + %s > %d" % (a, b, self.rng.randint(0, 60)), "%s %% 2 = 0" % a, "%s * 2 >= 10" % a, "%s / 2 < 20" % a, "(%s > 10 OR %s < 3)" % (a, b),
                        "%s - 1 != %s" % (a, b), "%d < %s" % (self.rng.randint(0, 10), a), "abs(%s) > 3" % a, "%s & 1 = 1" % a]
        for field in table["bool"]:
            options += ["%s = true" % field, "%s != true" % field, "%s = false" % field, field]
        for field in table["str"]:
            options += ["%s = '%s'" % (field, self.one_of("ok", "p", "")), "%s =~ /%s/" % (field, self.one_of("ok|warn", "^$", "p")), "%s != 'ok'" % field, "%s !~ /w/" % field]
        if table["tags"] and numbers:
            options.append("(%s = 'a' AND %s > 5 OR %s < 2)" % (table["tags"][0], numbers[0], numbers[-1]))
        options += ["missing = ''", "missing != 'x'", "missing > 1", "1 = 1", "true"]
        return self.rng.choice(options)

    # --- fields: texts and their kinds (None: no column that a statement around it could name) --------------------

    def number(self, table):
        kind = self.one_of(*[k for k in ("float", "int") if table[k]])
        return self.rng.choice(table[kind]), kind

    def any_field(self, table):
        kind = self.one_of(*[k for k in ("float", "float", "int", "int", "bool", "str") if table[k]])
        return self.rng.choice(table[kind]), kind

    def fields_raw(self, table):
        fields, kinds = [], []
        for _ in range(self.rng.randint(1, 3)):
            roll = self.rng.random()
            everything = [(f, k) for k in ("float", "int", "bool", "str") for f in table[k]] or [("missing", None)]
            field, kind = self.rng.choice(everything)
            if roll < 0.45:
                pass
            elif roll < 0.55 and table["tags"]:
                field, kind = self.rng.choice(table["tags"]), None
            elif roll < 0.8 and (table["float"] or table["int"]):
                field, kind = self.arithmetic(table)
            elif roll < 0.84:
                field, kind = field + self.one_of("::float", "::integer", "::field", "::string", "::tag", "::boolean"), None
            elif roll < 0.86:
                field, kind = "missing", None
            fields.append(field)
            kinds.append(kind)
        return fields, kinds

    def arithmetic(self, table):
        a, of_a = self.number(table)
        b, of_b = self.number(table)
        roll = self.rng.random()
        if roll < 0.35:
            return self.math_call(a, of_a)
        op = self.one_of("+", "-", "*", "/", "%")
        right, of_right = self.rng.choice([(b, of_b), ("2", "int"), ("1.5", "float"), ("0", "int"), ("-3", "int")])
        kind = "float" if op == "/" or "float" in (of_a, of_right) else "int"
        left = a
        if self.chance(0.2) and right == b:
            left, right = "(%s + 1)" % a, b
        if self.chance(0.1):
            left, right = right, left
        if self.chance(0.1) and of_a == "int":
            return "%s %s %s" % (a, self.one_of("&", "|", "^"), self.one_of("1", "6")), "int"
        return "%s %s %s" % (left, op, right), kind

    def math_call(self, a, kind):
        name = self.one_of("abs", "sin", "cos", "tan", "asin", "acos", "atan", "exp", "ln", "log2", "log10", "sqrt", "floor", "ceil", "round", "pow", "atan2", "log")
        if name in ("pow", "log"):
            return "%s(%s, %s)" % (name, a, self.one_of("2", "0.5", "3")), "float"
        if name == "atan2":
            return "%s(%s, %s)" % (name, a, self.one_of("2", a)), "float"
        return "%s(%s)" % (name, a), kind if name in ("abs", "floor", "ceil", "round") else "float"

    def aggregate(self, table, any_type=0.25):
        name = self.one_of("count", "sum", "mean", "median", "mode", "spread", "stddev", "distinct", "integral", "first", "last", "min", "max", "percentile")
        takes_all = name in ("count", "mode", "distinct", "first", "last") or self.chance(0.04)
        field, kind = self.any_field(table) if takes_all and self.chance(any_type * 2) else self.number(table)
        if name == "percentile":
            return "percentile(%s, %s)" % (field, self.one_of("50", "90", "1", "25", "99.9", "100", "0")), kind
        if name == "integral":
            return "integral(%s%s)" % (field, self.one_of("", ", 1m", ", 10s")), "float"
        if name == "count":
            return ("count(distinct(%s))" % field if self.chance(0.2) else "count(%s)" % field), "int"
        return "%s(%s)" % (name, field), "float" if name in ("mean", "median", "stddev") else kind

    def fields_aggregate(self, table):
        field, kind = self.aggregate(table)
        return [field], [kind]

    def fields_several(self, table):
        pairs = [self.aggregate(table) for _ in range(self.rng.randint(2, 3))]
        if self.chance(0.4):
            (a, _), (b, _) = pairs[0], pairs[1]
            if "distinct" not in a + b:
                pairs = pairs[2:] + [("%s %s %s" % (a, self.one_of("+", "-", "*", "/", "%"), b), "float")]
        return [p[0] for p in pairs], [p[1] for p in pairs]

    def fields_selector(self, table):
        field, kind = self.number(table)
        call = self.one_of("min(%s)", "max(%s)", "first(%s)", "last(%s)", "percentile(%s, 50)") % field
        fields, kinds = [call], [kind]
        for _ in range(self.rng.randint(0, 2)):
            everything = [(f, k) for k in ("float", "int", "bool", "str") for f in table[k]] + [(t, None) for t in table["tags"]]
            other, of = self.rng.choice(everything)
            fields.append(other)
            kinds.append(of)
        return fields, kinds

    def fields_top(self, table):
        field, kind = self.number(table)
        name = self.one_of("top", "bottom")
        tags = ", ".join(self.rng.sample(table["tags"], self.rng.randint(0, len(table["tags"])))) if self.chance(0.5) else ""
        call = "%s(%s, %s%d)" % (name, field, tags + ", " if tags else "", self.one_of(1, 2, 3, 5))
        fields, kinds = [call], [kind]
        if self.chance(0.3):
            other, of = self.any_field(table)
            fields.append(other)
            kinds.append(of)
        return fields, kinds

    def transform(self, inner, kind):
        name = self.one_of("derivative", "non_negative_derivative", "difference", "non_negative_difference", "moving_average", "cumulative_sum", "elapsed", "derivative", "difference")
        if name.endswith("derivative"):
            return "%s(%s%s)" % (name, inner, self.one_of("", "", ", 1s", ", 1m", ", 250ms")), "float"
        if name == "moving_average":
            return "moving_average(%s, %d)" % (inner, self.one_of(2, 2, 3, 5)), "float"
        if name == "elapsed":
            return "elapsed(%s%s)" % (inner, self.one_of("", ", 1s", ", 1m")), "int"
        return "%s(%s)" % (name, inner), kind

    def fields_transform(self, table):
        pairs = [self.transform(*self.number(table))]
        if self.chance(0.25):
            pairs.append(self.transform(*self.number(table)))
        if self.chance(0.15):
            pairs[0] = ("%s %s 2" % (pairs[0][0], self.one_of("*", "/", "+")), "float")
        return [p[0] for p in pairs], [p[1] for p in pairs]

    def fields_nested(self, table):
        pairs = []
        for _ in range(1 if self.chance(0.75) else 2):
            inner, kind = self.aggregate(table, 0)
            pairs.append(self.transform(inner, kind) if self.chance(0.97) else ("holt_winters(%s, 2, %d)" % (inner, self.one_of(0, 2)), "float"))
        return [p[0] for p in pairs], [p[1] for p in pairs]

    def fields_math(self, table):
        inner, kind = self.aggregate(table, 0)
        while inner.startswith("distinct"):
            inner, kind = self.aggregate(table, 0)
        roll = self.rng.random()
        if roll < 0.5:
            field, kind = self.math_call(inner, kind)
        elif roll < 0.8:
            field = "%s %s %s" % (inner, self.one_of("*", "/", "+", "-", "%"), self.one_of("2", "0.5", "0", "100"))
            kind = "float" if "/" in field or "." in field else kind
        else:
            field = "(%s + 1) * %s" % (inner, self.one_of("2", inner))
        return [field], [kind]

    def fields_wild(self, table):
        what = self.one_of("*", "*", "*::field", "*::tag", "/%s/", "f(*)", "f(*)", "f(/%s/)", "f(*)", "f(*::field)")
        pattern = self.one_of("i", "^(idle|cnt)$", "t", ".", "v|n", "x")
        what = what.replace("%s", pattern)
        if what.startswith("f"):
            name = self.one_of("count", "sum", "mean", "max", "first", "last", "median", "stddev", "derivative", "difference", "cumulative_sum", "mode", "min", "spread")
            what = name + what[1:]
        fields = [what]
        if self.chance(0.2) and "(" not in what:
            fields.append(self.any_field(table)[0])
        return fields, [None] * len(fields)

    # --- SHOW ---------------------------------------------------------------------------------------------------

    def show(self):
        roll = self.rng.random()
        on = self.one_of("", "", " ON db_d", " ON nodb") if self.chance(0.5) else ""
        source = self.one_of("", "", " FROM cpu", " FROM /^m/", " FROM m1, m2", " FROM nope", " FROM db_d..cpu", " FROM autogen.cpu", " FROM /./", ' FROM "select"', ' FROM "odd"')
        where = self.one_of("", "", " WHERE host = 'a'", " WHERE k =~ /x|a/", " WHERE region != ''", " WHERE k != 'x'", " WHERE host !~ /a/", " WHERE k = 'x' OR j = 'y'",
                            " WHERE \"tag one\" = 'a,b'", " WHERE missing = ''", " WHERE (k = 'a' AND j = 'x')", " WHERE host = 'a' AND region = 'us'", " WHERE idle > 5", " WHERE k =~ /^$/")
        limit = self.tail_of_show()
        if roll < 0.2:
            measurement = self.one_of("", "", " WITH MEASUREMENT = cpu", " WITH MEASUREMENT =~ /^m/", " WITH MEASUREMENT = nope", ' WITH MEASUREMENT = "select"', " WITH MEASUREMENT =~ /p/")
            return "SHOW MEASUREMENTS%s%s%s%s" % (on, measurement, where, limit)
        if roll < 0.4:
            return "SHOW SERIES%s%s%s%s" % (on, source, where, limit)
        if roll < 0.55:
            return "SHOW TAG KEYS%s%s%s%s" % (on, source, where, limit)
        if roll < 0.8:
            key = self.one_of("= host", "= k", "IN (k, host)", "=~ /k|j/", "!= host", "!~ /o/", "= nope", "IN (region)", '= "tag one"', "=~ /./", "IN (j, \"if\")")
            return "SHOW TAG VALUES%s%s WITH KEY %s%s%s" % (on, source, key, where, limit)
        if roll < 0.9:
            return "SHOW FIELD KEYS%s%s%s" % (on, source, limit)
        exact = self.one_of("", " EXACT")
        what = self.one_of("SERIES", "MEASUREMENT", "TAG KEY", "FIELD KEY", "TAG VALUES")
        key = " WITH KEY %s" % self.one_of("= host", "= k", "=~ /k/", "IN (k, j)") if what == "TAG VALUES" else ""
        return "SHOW %s%s CARDINALITY%s%s%s%s" % (what, exact, on, source, key, where if exact else "")

    def tail_of_show(self):
        text = ""
        if self.chance(0.1):
            text += self.one_of(" ORDER BY time DESC", " ORDER BY key", "")
        if self.chance(0.25):
            text += " LIMIT %d" % self.one_of(1, 2, 3)
        if self.chance(0.12):
            text += " OFFSET %d" % self.one_of(1, 2, 100)
        return text

    # --- statements that are wrong ------------------------------------------------------------------------------

    def wrong(self):
        """A statement with a token taken out, doubled, exchanged or put in: mostly an error."""
        text = self.select() if self.chance(0.7) else self.show() if self.chance(0.6) else self.administration()
        tokens = split(text)
        for _ in range(self.one_of(1, 1, 1, 2)):
            at = self.rng.randrange(len(tokens))
            roll = self.rng.random()
            if roll < 0.3:
                del tokens[at]
            elif roll < 0.45:
                tokens.insert(at, tokens[at])
            elif roll < 0.65:
                other = self.rng.randrange(len(tokens))
                tokens[at], tokens[other] = tokens[other], tokens[at]
            else:
                tokens[at] = self.one_of(
                    "(", ")", ",", "'x'", '"y"', "1", "-1", "1.5", "10s", "*", "/r/", "=", "=~", "AND", "OR", "SELECT", "FROM", "WHERE", "GROUP BY", "LIMIT", "now()", "time", "true", "x",
                    "count(x)", "::float", ";", "fill(5)", "tz('UTC')", "$a", "<", "''", "ORDER BY time", "mean", ".", "..", "9223372036854775808", "1e5", "0x", "!", "\"", "'", "/", "--c", "/*", "DURATION",
                    "derivative(idle)", "top(idle, 2)", "distinct(idle)", "1w", "nan", "INTO t", "by", "é", "1d2", "1dd", "10.5s")
            if not tokens:
                tokens = ["SELECT"]
        return join(tokens)

    def rules(self):
        """A well-formed SELECT that breaks a rule of functions, or is near to it."""
        name = self.one_of("count", "sum", "mean", "median", "mode", "spread", "stddev", "distinct", "integral", "first", "last", "min", "max", "percentile", "top", "bottom", "sample",
                           "derivative", "non_negative_derivative", "difference", "non_negative_difference", "moving_average", "cumulative_sum", "elapsed", "holt_winters", "abs", "pow", "log", "atan2",
                           "sqrt", "nope", "now", "time", "holt_winters_with_fit", "round")
        pool = ("idle", "cnt", "up", "state", "host", "missing", "*", "/i/", "1", "0", "-1", "2.5", "'x'", "10s", "0s", "-10s", "true", "mean(idle)", "count(cnt)", "distinct(idle)", "idle + 1",
                "max(idle)", "now()", "time", "idle::integer", "difference(idle)", "(idle)", "top(idle, 2)", "DISTINCT idle", "abs(idle)", "1000000000000000000000", "last(state)", "sum(up)", "*::tag")
        args = [self.one_of(*pool) if self.chance(0.5) else self.one_of("idle", "cnt", "mean(idle)", "2", "idle", "up")]
        while self.chance(0.4):
            args.append(self.one_of(*pool) if self.chance(0.6) else self.one_of("2", "host", "10s"))
        if self.chance(0.04):
            args = []
        field = "%s(%s)" % (name, ", ".join(args))
        fields = [field]
        while self.chance(0.25):
            fields.append(self.one_of("idle", "mean(idle)", "host", "max(cnt)", "time", "1", "idle + cnt", "top(idle, 1)", "distinct(cnt)", field, "*", "mean(idle) + idle", "sample(idle, 2)", "'a'", "up + 1", "state + 1"))
        text = "SELECT %s FROM cpu" % ", ".join(fields)
        if self.chance(0.4):
            text += " WHERE " + self.one_of(DAY_OF_DATA, "time > now()", "idle", "mean(idle) > 1", "time > 'x'", "host > 'a'", "idle = 'x'", "state = 1", "up > 1", "time = 5 OR host = 'a'", "host =~ 'a'", "idle =~ /1/",
                                            "time != 5", "'a' = host", "time > idle", "host = 1", "time > '2020-01-01T00:00:00Z' AND time < '2020-13-01'", "state", "host", "1", "now() > time", "up = 'true'", "cnt = 3.0",
                                            "cnt + 'a' = 1", "-cnt > 2", "cnt = true", "host + 'x' = 'ax'", "time > 1 + 1", "time > 10 * 1s", "(time > 5)", "time > 5s - 1", "not_there = 1", "cnt & 1.5 = 1")
        if self.chance(0.5):
            text += " GROUP BY " + self.one_of("time(1m)", "host", "*", "time", "time(0s)", "time(1m), time(2m)", "time(x)", "time(-1m)", "idle", "count(x)", "1", "'host'", "time(1m, 5)", "time(1m, now())", "time(1m, '2020-01-01')",
                                               "time(1.5)", "host, host", "time(1m), host", "/h/", "HOST", "time(1m, 1m, 1m)", "time()", "Time(1m)", "TIME(1m), *")
            if self.chance(0.3):
                text += " fill(%s)" % self.one_of("none", "null", "previous", "linear", "0", "x", "1.5", "-1", "'a'", "", "1s", "true", "99999999999999999999")
        if self.chance(0.2):
            text += self.one_of(" LIMIT 0", " LIMIT -1", " LIMIT 1.5", " OFFSET 1", " SLIMIT 0", " ORDER BY host", " ORDER BY time DESC, host", " ORDER BY DESC", " LIMIT x", " tz('Nowhere/X')", " tz('utc')", " tz()",
                                " LIMIT 1 LIMIT 2", " SLIMIT 1 LIMIT 1", " LIMIT 18446744073709551616", " tz('')", " tz('Local')")
        if "time(" in text and "WHERE time >=" not in text and "WHERE" not in text:
            text = text.replace(" GROUP BY", " WHERE " + DAY_OF_DATA + " GROUP BY", 1)
        return text

    def administration(self):
        return self.one_of(
            "CREATE DATABASE x", "DROP DATABASE x", 'CREATE RETENTION POLICY "r" ON x DURATION 1d REPLICATION 1', "ALTER RETENTION POLICY r ON x DURATION 2d", "DROP MEASUREMENT zz", "DELETE FROM zz",
            "CREATE CONTINUOUS QUERY c ON x BEGIN SELECT mean(v) INTO t FROM m GROUP BY time(1m) END", "DROP CONTINUOUS QUERY c ON x", "CREATE USER u WITH PASSWORD 'p'", "GRANT READ ON x TO u",
            "REVOKE ALL ON x FROM u", "SET PASSWORD FOR u = 'q'", "SHOW GRANTS FOR u", "DROP USER u", "KILL QUERY 5", "SHOW RETENTION POLICIES ON x", "DROP SERIES FROM zz WHERE a = 'b'", "EXPLAIN SELECT v FROM m",
            'CREATE SUBSCRIPTION s ON x.autogen DESTINATIONS ALL \'udp://h:1\'', "DROP RETENTION POLICY r ON x", "DROP SHARD 3")


class Writes:
    """Makes bodies of line protocol, mostly with something wrong in them."""

    PIECES = ("m", "cpu", ",", " ", "=", "k=v", "k=", "=v", "f=1", "f=1i", "f=t", "f=\"x\"", "f=1.5e3", "f=nan", "f=-", "f=1u", "f=TRUE", "f=tru", "1577836800000000000", "-1", "1x", "\\", "\\,", "\\ ", "\\=",
              "\"", "#", "é", "time=1", "f=9223372036854775808i", "f=1e400", "f=.5", "f=5.", "f=+1", "f=0x1", "f=", "f", ",,", "  ", "f=\"a b,c=d\"", "f=\"\\\"\"", "f=i", "f=1e", "f=1ii", "99999999999999999999", "1.5",
              "f=1,f=2", "k=v,k=w", "f=-0", "f=inf", "f=00012i", "f=T", "f=False", "f=\"", "a\\=b=1", "time=x", "_f=1", "f=1 ", "\t")

    def __init__(self, rng):
        self.rng = rng

    def line(self):
        rng = self.rng
        key = "w%d" % rng.randint(0, 3) + "".join(",%s=%s" % (rng.choice("abc"), rng.choice(["x", "y z".replace(" ", "\\ "), "1", "é"])) for _ in range(rng.randint(0, 2)))
        fields = ",".join("%s=%s" % (name, {"f": "%s", "i": "%di", "s": '"%s"', "t": "%s"}[name[0]] % {"f": rng.choice([1, 1.5, -2e5]), "i": rng.randint(-9, 9), "s": rng.choice(["", "x y", "a\\\\b"]),
                          "t": rng.choice(["t", "f", "true", "False"])}[name[0]]) for name in rng.sample(["f1", "i1", "s1", "t1"], rng.randint(1, 3)))
        line = "%s %s" % (key, fields) + (" %d" % rng.choice([0, 1577836800, 1577836800000, 1577836800000000000, -5, 9223372036854775806]) if rng.random() < 0.8 else " 7")
        if rng.random() < 0.6:
            for _ in range(rng.randint(1, 2)):
                at = rng.randrange(len(line) + 1)
                line = line[:at] + (rng.choice(self.PIECES) if rng.random() < 0.7 else "") + line[at + (rng.random() < 0.5):]
        return line

    def write(self):
        """Parameters and body."""
        rng = self.rng
        params = rng.choice([{}, {}, {}, {"precision": "s"}, {"precision": "ms"}, {"precision": "u"}, {"precision": "n"}, {"precision": "m"}, {"precision": "h"}, {"precision": "x"}, {"consistency": "one"},
                             {"consistency": "x"}, {"rp": "autogen"}, {"rp": "nope"}, {"db": "nodb"}, {"db": ""}])
        return params, "\n".join(self.line() for _ in range(rng.choice([1, 1, 1, 2, 3])))


def split(text):
    """Tokens, roughly."""
    import re
    return re.findall(r"'[^']*'|\"[^\"]*\"|/[^/ ]*/|[A-Za-z_]\w*|\d[\w.]*|=~|!~|<>|<=|>=|!=|::|\S", text)


def join(tokens):
    text = ""
    for token in tokens:
        glue = not text or token in "(),;" or text.endswith(("(", "::")) or token == "::"
        text += token if glue else " " + token
    return text
