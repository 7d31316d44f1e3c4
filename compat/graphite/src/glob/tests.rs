use super::{SegmentPattern, VARIANTS_MAX, matches_path, split_pattern};

#[test]
fn segments() {
    for (pattern, hits, misses) in [
        ("web01", vec!["web01"], vec!["web0", "web011", "Web01"]),
        ("*", vec!["", "x", "ü"], vec![]),
        ("web*1", vec!["web1", "web01", "web11"], vec!["web10", "xweb1"]),
        ("*a*b*", vec!["ab", "xaxbx", "aabb"], vec!["ba", "a"]),
        ("w?b", vec!["web", "wüb"], vec!["wb", "weeb"]),
        ("r[abc]k", vec!["rak", "rck"], vec!["rdk", "rk"]),
        ("n[0-35]", vec!["n0", "n3", "n5"], vec!["n4", "n"]),
        ("n[!0-3]", vec!["n4", "nx"], vec!["n0", "n"]),
        ("[]x]", vec!["]", "x"], vec!["a"]),
        ("[!]x]", vec!["a"], vec!["]", "x"]),
        ("[a-]", vec!["a", "-"], vec!["b"]),
        ("[z-a]", vec![], vec!["a", "m", "z", ""]),
        ("a[b", vec!["a[b"], vec!["ab"]),
        ("{a,b*}c", vec!["ac", "bc", "bxc"], vec!["c", "axc"]),
        ("{a,{b,c}d}e", vec!["ae", "bde", "cde"], vec!["be", "de"]),
        ("x{,y}", vec!["x", "xy"], vec!["y"]),
        ("{a", vec!["{a"], vec!["a"]),
        ("a}", vec!["a}"], vec!["a"]),
    ] {
        let compiled = SegmentPattern::new(pattern).expect(pattern);
        for hit in hits {
            assert!(compiled.matches(hit), "{pattern} should match {hit:?}");
            assert!(hit.starts_with(compiled.prefix()), "{pattern} prefix {:?}", compiled.prefix());
        }
        for miss in misses {
            assert!(!compiled.matches(miss), "{pattern} should not match {miss:?}");
        }
    }
}

#[test]
fn what_an_index_asks() {
    let segment = |p: &str| SegmentPattern::new(p).expect(p);
    assert_eq!(segment("web").literal(), Some("web"));
    assert_eq!(segment("{b,a}").literals().map(<[_]>::len), Some(2));
    assert_eq!(segment("{b,a}").literal(), None);
    assert_eq!(segment("web{1,2}x*").prefix(), "web");
    assert_eq!(segment("wüb*").prefix(), "wüb");
    assert_eq!(segment("{ü,ä}*").prefix(), "");
    assert!(segment("**").is_globstar());
}

#[test]
fn paths() {
    for (pattern, path, want) in [
        ("a.*.c", "a.b.c", true),
        ("a.*", "a.b.c", false),
        ("a.**", "a.b.c", true),
        ("a.**", "a", false),
        ("**", "a", true),
        ("a.**.c", "a.c", true),
        ("**.c", "a.b.c", true),
        ("**.b", "a.b.c", false),
        ("a**.c", "ab.c", true),
        ("a**.c", "a.b.c", false),
    ] {
        assert_eq!(matches_path(&split_pattern(pattern).expect(pattern), path), want, "{pattern} {path}");
    }
}

#[test]
fn expansion_is_bounded() {
    assert!(SegmentPattern::new(&"{a,b}".repeat(13)).is_ok());
    assert!(SegmentPattern::new(&"{a,b}".repeat(40)).is_err());
    assert!(SegmentPattern::new(&format!("{{{}}}", ",".repeat(VARIANTS_MAX + 1))).is_err());
}
