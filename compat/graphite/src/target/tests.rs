use super::{DEPTH_MAX, Expr, Literal, parse, parse_prefix};

/// Writes an expression back in a canonical form.
fn show(expr: &Expr) -> String {
    let literal = |l: &Literal| match l {
        Literal::Str(s) => format!("{s:?}"),
        other => format!("{other:?}"),
    };
    match expr {
        Expr::Path(p) => p.clone(),
        Expr::Literal(l) => literal(l),
        Expr::Call(c) => {
            let mut args: Vec<String> = c.args.iter().map(show).collect();
            args.extend(c.kwargs.iter().map(|(k, v)| format!("{k}={}", show(v))));
            format!("{}({})", c.name, args.join(", "))
        }
        Expr::Template { body, params } => {
            let params: Vec<_> = params.iter().map(|(k, v)| format!("{k}={}", literal(v))).collect();
            format!("template[{}; {}]", show(body), params.join(", "))
        }
    }
}

#[test]
fn expressions() {
    for (text, want) in [
        ("a.b.c", "a.b.c"),
        (" a.{b,c*}.[x-z]?.d ", "a.{b,c*}.[x-z]?.d"),
        ("a.{b,{c,d}e}", "a.{b,{c,d}e}"),
        ("a.**.b", "a.**.b"),
        (r"a.b\(c\)\.d", "a.b(c).d"),
        ("10.foo", "10.foo"),
        ("true.foo", "true.foo"),
        ("names.pct%20x.v", "names.pct%20x.v"),
        ("ünï.cödé", "ünï.cödé"),
        ("f( a.b , 1,-2, 2.5e-1,1E2, 007 )", "f(a.b, Int(1), Int(-2), Float(0.25), Float(100.0), Int(7))"),
        ("f(99999999999999999999)", "f(Float(1e20))"),
        ("f(TRUE,False,None,INF)", "f(Bool(true), Bool(false), None, Float(inf))"),
        ("f(true.x,none1,1x)", "f(true.x, none1, 1x)"),
        (r#"f("a 'b' \d", 'c"d')"#, r#"f("a 'b' \\d", "c\"d")"#),
        (r#"f("","a""b")"#, r#"f("", "a\"\"b")"#),
        ("f(a,b=1,c=g(d))", "f(a, b=Int(1), c=g(d))"),
        ("sumSeries(disk;dc=1;rack=a,disk;dc=2)", "sumSeries(disk;dc=1;rack=a, disk;dc=2)"),
        ("f()", "f()"),
        ("a|f(1)| g()", "g(f(a, Int(1)))"),
        ("f(a|g(2))", "f(g(a, Int(2)))"),
        ("template(a.$h,h=\"x\")", "template[a.$h; h=\"x\"]"),
        ("template(f(a.$1,$2),\"x\",3)|g()", "g(template[f(a.$1, $2); 1=\"x\", 2=Int(3)])"),
        ("template.x", "template.x"),
    ] {
        assert_eq!(parse(text).map(|e| show(&e)).map_err(|e| e.to_string()), Ok(want.to_owned()), "{text}");
    }
}

#[test]
fn errors_have_positions() {
    for (text, position) in [
        ("", 0),
        ("scale(a.b", 9),
        ("scale(a.b,2", 11),
        ("a.b,c.d", 3),
        ("f(a)x", 4),
        ("f(a,b=1,c)", 8),
        ("f(a b)", 4),
        ("f(\"abc)", 2),
        ("\"str\"", 0),
        ("a.{b", 4),
        ("a..b", 2),
        ("a\\b", 1),
        ("f(,)", 2),
        ("a|b", 3),
        ("template(a,b)", 11),
    ] {
        let message = parse(text).expect_err(text).to_string();
        assert!(message.ends_with(&format!("at position {position}")), "{text}: {message}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |n: usize| format!("{}a{}", "f(".repeat(n), ")".repeat(n));
    assert!(parse(&nested(DEPTH_MAX - 1)).is_ok());
    for hostile in
        [nested(100_000), format!("a{}", "|f()".repeat(100_000)), "{".repeat(100_000), "template(".repeat(50_000)]
    {
        assert!(parse(&hostile).is_err());
    }
}

#[test]
fn the_call_keeps_its_text() {
    let Ok(Expr::Call(call)) = parse(" seriesByTag( 'name=x' ) ") else { panic!("a call") };
    assert_eq!(call.raw, "seriesByTag( 'name=x' )");
}

#[test]
fn names_of_derived_series_are_taken_apart() {
    for (name, want) in [
        ("scale(a.b,2)", Some("a.b")),
        ("summarize(f(a.b), \"1min\", \"sum\") (avg: 2)", Some("a.b")),
        ("sumSeries(seriesByTag('name=x'))", None),
        ("a.b (max: 3)", Some("a.b")),
        ("scale(a b,2)", Some("scale")),
    ] {
        assert_eq!(parse_prefix(name).expect(name).first_path(), want, "{name}");
    }
}
