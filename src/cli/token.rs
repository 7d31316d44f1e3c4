//! `rhythmite token`: tokens in the data directory of a stopped server. A running one has `/api/v3/configure/token`.

use std::collections::BTreeMap;
use std::io::Read;

use clap::{Args, Subcommand};
use rhythmite_env::Env;
use rhythmite_model::{Error, Result};

use super::Source;
use crate::auth::tokens;
use crate::catalog::{Catalog, NewPolicy, NewToken, Rights, Token};
use crate::config::Span;
use crate::server::Lock;

/// Bytes that are read of a token from elsewhere.
const STDIN_BYTES_MAX: u64 = 64 << 10;
/// For every database.
const EVERY: &str = "*";

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it, once: only its digest is kept.
    Create(Create),
    /// Print every token's name, rights and end.
    List(Source),
    /// Forget a token; it is refused from now on.
    Revoke {
        /// The token's name.
        name: String,
        #[command(flatten)]
        source: Source,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// What you call it.
    name: String,
    /// May do everything.
    #[arg(long, conflicts_with_all = ["read", "write"])]
    admin: bool,
    /// May read this database; '*' is all. It is made if it is not there.
    #[arg(long, value_name = "DATABASE")]
    read: Vec<String>,
    /// May write this database; '*' is all. It is made if it is not there.
    #[arg(long, value_name = "DATABASE")]
    write: Vec<String>,
    /// Refused after this time (12h, 365d); never without it.
    #[arg(long, value_name = "TIME")]
    expires: Option<Span>,
    /// Take a token that another system made, from standard input, instead of a new one.
    #[arg(long)]
    stdin: bool,
    #[command(flatten)]
    source: Source,
}

impl TokenCommand {
    pub(super) fn run(&self) -> Result<()> {
        let source = match self {
            Self::Create(create) => &create.source,
            Self::List(source) | Self::Revoke { source, .. } => source,
        };
        let config = source.load()?;
        let _lock = Lock::take(&config.data_dir)
            .map_err(|e| e.at("a running server's tokens are those of /api/v3/configure/token"))?;
        let catalog = Catalog::open_in(&rhythmite_env::Env::real(), &config.data_dir)?;
        let runtime = super::runtime()?;
        match self {
            Self::Create(create) => {
                super::say(format_args!("{}\n", runtime.block_on(create.run(&Env::real(), &catalog))?))
            }
            Self::Revoke { name, .. } => runtime.block_on(catalog.revoke_token(name))?,
            Self::List(_) => catalog.accounts().tokens().into_iter().for_each(|token| super::say(line(token))),
        }
        runtime.block_on(catalog.checkpoint())
    }
}

impl Create {
    /// Returns the token.
    async fn run(&self, env: &Env, catalog: &Catalog) -> Result<String> {
        if !self.admin && self.read.is_empty() && self.write.is_empty() {
            return Err(Error::invalid("a token needs rights: --admin, --read DATABASE or --write DATABASE"));
        }
        let (mut everywhere, mut grants) = (Rights::default(), BTreeMap::<String, Rights>::new());
        for (names, rights) in [(&self.read, Rights::READ), (&self.write, Rights::WRITE)] {
            for name in names {
                let held = if name == EVERY { &mut everywhere } else { grants.entry(name.clone()).or_default() };
                *held = held.or(rights);
            }
        }
        for name in grants.keys() {
            // Tokens are made before a server is started for the first time, too.
            catalog.create_database(name, NewPolicy::autogen()).await?;
        }
        let token = if self.stdin { read_token()? } else { tokens::generate(&*env.random) };
        let now_s = env.clock.now_s();
        let lasts_s = self.expires.and_then(Span::limit).map(|span| i64::try_from(span.as_secs()).unwrap_or(i64::MAX));
        let new = NewToken {
            digest: tokens::digest(&token),
            is_admin: self.admin,
            everywhere,
            grants,
            created_at_s: now_s,
            expires_at_s: lasts_s.map(|s| now_s.saturating_add(s)),
            ..NewToken::named(&self.name)
        };
        catalog.create_token(new).await?;
        Ok(token)
    }
}

fn read_token() -> Result<String> {
    let mut text = String::new();
    let read = std::io::stdin().take(STDIN_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|e| Error::from(e).at("standard input"))?;
    let token = text.trim();
    tokens::check_foreign(token)?;
    Ok(token.to_owned())
}

/// Name, rights and end, with tabs between.
fn line(token: &Token) -> String {
    let rights = |name: &str, rights: Rights| match (rights.read, rights.write) {
        (true, true) => Some(format!("{name}:read+write")),
        (true, false) => Some(format!("{name}:read")),
        (false, true) => Some(format!("{name}:write")),
        (false, false) => None,
    };
    let all: Vec<_> = match token.is_admin {
        true => vec!["admin".to_owned()],
        false => {
            let grants = token.grants.iter().filter_map(|(name, held)| rights(name, *held));
            rights(EVERY, token.everywhere).into_iter().chain(grants).collect()
        }
    };
    let stamp = |at_s| jiff::Timestamp::from_second(at_s).map_or_else(|_| format!("{at_s}"), |stamp| stamp.to_string());
    let end = token.expires_at_s.map_or_else(|| "never".to_owned(), stamp);
    format!("{}\t{}\t{end}\n", token.name, all.join(" "))
}
