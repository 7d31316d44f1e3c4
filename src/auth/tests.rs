use std::collections::BTreeMap;

use rhythmite_env::{CpuPool, ManualClock, SeededRandom};

use super::*;
use crate::catalog::{NewPolicy, NewToken, NewUser, Rights};

const NOW_S: i64 = 1_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Users `ada` (an administrator), `bob` (reads `d`), `eve` (nothing), all with the password `p<name>`; tokens `root`,
/// `reader` (of all), `writer` (of `d`), `old` (expired), which are `<name>-token`.
pub(crate) struct World {
    pub(crate) auth: Arc<Auth>,
    pub(crate) catalog: Catalog,
    pub(crate) counters: Arc<Counters>,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn token(name: &str) -> String {
    format!("{name}-token")
}

impl World {
    pub(crate) async fn new() -> Self {
        let world = Self::empty().await;
        let passwords = world.passwords();
        for (name, is_admin) in [("ada", true), ("bob", false), ("eve", false)] {
            let password = passwords.hash(&format!("p{name}")).await.unwrap();
            let new = NewUser { name: name.to_owned(), password, is_admin, only_first: false };
            world.catalog.create_user(new).await.unwrap();
        }
        world.catalog.set_rights("bob", "d", Rights::READ).await.unwrap();
        for (name, is_admin, everywhere, d, expires_at_s) in [
            ("root", true, Rights::default(), Rights::default(), None),
            ("reader", false, Rights::READ, Rights::default(), Some(NOW_S + 1)),
            ("writer", false, Rights::default(), Rights::WRITE, None),
            ("old", true, Rights::ALL, Rights::default(), Some(NOW_S)),
        ] {
            let new = NewToken {
                digest: tokens::digest(&token(name)),
                is_admin,
                everywhere,
                grants: BTreeMap::from([("d".to_owned(), d)]),
                created_at_s: 0,
                expires_at_s,
                ..NewToken::named(name)
            };
            world.catalog.create_token(new).await.unwrap();
        }
        world
    }

    pub(crate) async fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&dir.path().join("catalog.sqlite")).unwrap();
        catalog.create_database("d", NewPolicy::autogen()).await.unwrap();
        let counters = Arc::new(Counters::default());
        let cpu = Arc::new(CpuPool::start(2, 100).unwrap());
        let checks = Checks {
            catalog: catalog.clone(),
            passwords: Arc::new(Passwords::new(cpu, Arc::new(SeededRandom::new(1)), counters.clone(), 1)),
            jwt: Some(JwtKey::new(SECRET).unwrap()),
            clock: Arc::new(ManualClock::new(NOW_S * 1_000_000_000)),
            counters: counters.clone(),
        };
        Self { auth: Arc::new(Auth::on(checks)), catalog, counters, dir }
    }

    pub(crate) fn passwords(&self) -> Arc<Passwords> {
        self.auth.checks.as_ref().unwrap().passwords.clone()
    }

    async fn name(&self, credentials: Option<Credentials>) -> Result<String, String> {
        match self.auth.caller(credentials).await {
            Ok(Caller::Nobody) => Ok("nobody".to_owned()),
            Ok(caller) => Ok(caller.name().to_owned()),
            Err(Denied::Credentials(text)) => Err(text),
            Err(Denied::Unchecked(e)) => Err(e.to_string()),
        }
    }
}

fn basic(pair: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(pair))
}

#[tokio::test]
async fn credentials_say_who_asks() {
    let world = World::new().await;
    let none = "unable to parse authentication credentials";
    let wrong = "authorization failed";
    for (header, u, p, expected) in [
        // As 1.x has them: parameters before the header.
        ("", "ada", "pada", Ok("ada")),
        ("", "bob", "pbob", Ok("bob")),
        ("", "bob", "pada", Err(wrong)),
        ("", "who", "pada", Err(wrong)),
        ("", "ADA", "pada", Err(wrong)),
        ("", "", "", Err(none)),
        ("", "ada", "", Err(none)),
        (&basic("ada:pada"), "", "", Ok("ada")),
        (&basic("ada:pada"), "bob", "pbob", Ok("bob")),
        (&basic("ada:pada"), "bob", "", Ok("ada")),
        (&basic("ada:pbob"), "", "", Err(wrong)),
        (&basic("ada"), "", "", Err(none)),
        (&basic(":"), "", "", Err("username required")),
        ("basic YWRhOnBhZGE", "", "", Ok("ada")),
        ("Basic !!!", "", "", Err(none)),
        ("Basic", "", "", Err(none)),
        ("Digest x", "", "", Err(none)),
        // 1.8.
        ("Token ada:pada", "", "", Ok("ada")),
        ("Token ada:wrong", "", "", Err(wrong)),
        ("Token :pada", "", "", Err("username required")),
        // Tokens, wherever a client has room for one.
        ("Token root-token", "", "", Ok("root")),
        ("Bearer root-token", "", "", Ok("root")),
        ("bearer  writer-token ", "", "", Ok("writer")),
        (&basic("whoever:reader-token"), "", "", Ok("reader")),
        (&basic(":reader-token"), "", "", Ok("reader")),
        ("", "whoever", "reader-token", Ok("reader")),
        ("", "", "reader-token", Ok("reader")),
        ("Token old-token", "", "", Err("the token has expired")),
        ("Token root-token x", "", "", Err(none)),
        ("Token rooT-token", "", "", Err(wrong)),
        ("Bearer a.b.c", "", "", Err("signature is invalid")),
        ("Bearer x", "", "", Err(wrong)),
    ] {
        let header = Some(header).filter(|h| !h.is_empty()).map(str::as_bytes);
        let found = world.name(Credentials::of_http(header, u, p)).await;
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{header:?} {u} {p}");
    }
    assert!(world.counters.auth_failed.get() > 10);
}

#[tokio::test]
async fn rights_are_those_granted() {
    let world = World::new().await;
    let (none, all) = (Rights::default(), Rights::ALL);
    for (secret, is_admin, on_d, on_others) in [
        ("root", true, all, all),
        ("reader", false, Rights::READ, Rights::READ),
        ("writer", false, Rights::WRITE, none),
    ] {
        let caller = world.auth.caller(Some(Credentials::Token(token(secret)))).await.unwrap();
        assert_eq!(
            (caller.is_admin(), caller.rights("d"), caller.rights("x")),
            (is_admin, on_d, on_others),
            "{secret}"
        );
        assert_eq!((caller.sees("d"), caller.sees("x")), (true, on_others != none), "{secret}");
    }
    let bob = Credentials::Password { user: "bob".to_owned(), password: "pbob".to_owned() };
    let caller = world.auth.caller(Some(bob.clone())).await.unwrap();
    assert_eq!(caller.readable(), Readable::Only(["d".to_owned()].into()));
    // What is revoked is gone with the next request.
    world.catalog.set_rights("bob", "d", Rights::default()).await.unwrap();
    let caller = world.auth.caller(Some(bob)).await.unwrap();
    assert_eq!((caller.readable(), caller.sees("d")), (Readable::Only(Default::default()), false));
    world.catalog.revoke_token("root").await.unwrap();
    assert!(world.auth.caller(Some(Credentials::Token(token("root")))).await.is_err());
}

#[tokio::test]
async fn a_password_that_was_right_is_not_compared_again_until_it_changes() {
    let world = World::new().await;
    let login = |password: &str| world.name(Some(password_of("bob", password)));
    for _ in 0..3 {
        assert_eq!(login("pbob").await.as_deref(), Ok("bob"));
    }
    assert_eq!(world.counters.auth_compared.get(), 1);
    // What was wrong is compared each time, and an unknown user's is too.
    for user in ["bob", "bob", "who"] {
        assert!(world.name(Some(password_of(user, "x"))).await.is_err());
    }
    assert_eq!(world.counters.auth_compared.get(), 4);
    let passwords = world.passwords();
    let other = passwords.hash("other").await.unwrap();
    world.catalog.set_password("bob", other).await.unwrap();
    assert!(login("pbob").await.is_err());
    assert_eq!(login("other").await.as_deref(), Ok("bob"));
    // The same password again has another salt.
    let again = passwords.hash("other").await.unwrap();
    world.catalog.set_password("bob", again).await.unwrap();
    assert_eq!(login("other").await.as_deref(), Ok("bob"));
    assert_eq!(world.counters.auth_compared.get(), 7);
}

fn password_of(user: &str, password: &str) -> Credentials {
    Credentials::Password { user: user.to_owned(), password: password.to_owned() }
}

#[tokio::test]
async fn too_many_log_ins_are_refused_and_known_ones_go_on() {
    let world = World::new().await;
    assert!(world.name(Some(password_of("ada", "pada"))).await.is_ok());
    let flood: Vec<_> = (0..400).map(|n| world.name(Some(password_of("ada", &format!("wrong {n}"))))).collect();
    let known = world.name(Some(password_of("ada", "pada")));
    let (outcomes, known) = futures::join!(futures::future::join_all(flood), known);
    assert_eq!(known.as_deref(), Ok("ada"));
    let busy = outcomes.iter().filter(|o| o.as_ref().is_err_and(|e| e.contains("too many passwords"))).count();
    assert!(busy >= 100 && busy as u64 == world.counters.auth_busy.get(), "{busy}");
}

#[tokio::test]
async fn without_an_administrator_whoever_comes_is_nobody() {
    let world = World::empty().await;
    for credentials in [None, Some(password_of("ada", "pada")), Some(Credentials::Token("x".to_owned()))] {
        assert_eq!(world.auth.caller(credentials).await, Ok(Caller::Nobody));
    }
    let nobody = Caller::Nobody;
    assert!(!nobody.is_admin() && !nobody.sees("d") && nobody.readable() == Readable::Only(Default::default()));
    let new = |name: &str, only_first| NewUser {
        name: name.to_owned(),
        password: crate::catalog::PasswordHash("x".to_owned()),
        is_admin: true,
        only_first,
    };
    world.catalog.create_user(new("ada", true)).await.unwrap();
    assert!(world.auth.caller(None).await.is_err());
    assert!(world.catalog.create_user(new("eve", true)).await.is_err());
    world.catalog.create_user(new("eve", false)).await.unwrap();
}

#[tokio::test]
async fn nothing_that_is_printed_holds_a_secret() {
    let world = World::new().await;
    let secrets = ["pbob", "root-token", "$argon2id$", SECRET];
    let mut printed = format!("{:?} {:?}", password_of("bob", "pbob"), Credentials::Token(token("root")));
    printed += &format!("{:?}", world.catalog.accounts());
    printed += &format!("{:?}", world.auth.caller(Some(password_of("bob", "pbob"))).await);
    printed += &format!("{:?}", crate::config::Secret(SECRET.to_owned()));
    for secret in secrets {
        assert!(!printed.contains(secret), "{secret}");
    }
}

#[test]
fn tokens_are_long_and_told_apart() {
    let random = SeededRandom::new(3);
    let (one, two) = (tokens::generate(&random), tokens::generate(&random));
    assert!(one.starts_with("rhythmite_") && one.len() == 53 && one != two);
    assert!(tokens::check_foreign(&one).is_ok());
    for foreign in ["", "short", &"x".repeat(31), &"x ".repeat(20), &"é".repeat(40), &"x".repeat(10_000)] {
        assert!(tokens::check_foreign(foreign).is_err(), "{foreign}");
    }
}
