//! Plans of statements that differ only in the values they compare with.
//!
//! Dashboards ask the same again with other times and hosts. A statement becomes a shape: its tokens, with the texts
//! that `WHERE` compares something with taken out (`= 'a'`, `IN ('a', 'b')`, `>= TIMESTAMP '..'`, `BETWEEN`). When a shape is seen for the second time, its plan is made with
//! parameters in the places of the values. If it is one of ours ([`TsQuery`](crate::query::scan::TsQuery)) and the parameters are
//! where they may be (conditions on time, and equality of tags), the plan is kept; from then on a statement of
//! the shape needs no parser and no optimiser.
//!
//! A kept plan holds no table: that is looked up for each query, so that databases, policies and what the asker may see are as
//! for any other query, and a table whose columns have changed since makes the plan void. Functions whose value
//! changes (`now()`) are never kept.
//!
//! Limits: [`SHAPES_MAX`] shapes, of [`SHAPE_BYTES_MAX`] at most; the one that was longest out of use goes.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;
use parking_lot::Mutex;

use crate::query::scan::TsShape;

/// Statements that are remembered.
const SHAPES_MAX: usize = 512;
/// Longest text of a shape, in bytes.
const SHAPE_BYTES_MAX: usize = 8 << 10;
/// Values that one statement may have taken out.
const VALUES_MAX: usize = 256;
/// What the names of the parameters in the places of values begin with.
const PARAMETER: &str = "rhythmite_value_";
/// What those of `TIMESTAMP '..'` end with.
const TYPED: &str = "t";

/// A statement without the values it compares with.
pub(super) struct Statement {
    /// Equal for statements of one shape; with parameters in the places of the values.
    pub shape: String,
    /// What the parameters stand for, see [`number`].
    pub values: Vec<String>,
}

/// Which value the parameter called `id` stands for.
pub(super) fn number(id: &str) -> Option<usize> {
    id.strip_prefix('$')?.strip_prefix(PARAMETER)?.trim_end_matches(TYPED).parse().ok()
}

impl Statement {
    /// Takes the values out of a statement; `None` if it is none whose plan is ever kept.
    pub fn new(tokens: &[Token]) -> Option<Self> {
        let mut shape = String::with_capacity(256);
        let mut values = Vec::new();
        let mut place = Place::default();
        let mut tokens = tokens.iter().filter(|t| !matches!(t, Token::Whitespace(_) | Token::EOF)).peekable();
        if !matches!(tokens.peek()?, Token::Word(word) if word.keyword == Keyword::SELECT) {
            return None;
        }
        while let Some(token) = tokens.next() {
            let is_typed = place.takes_value()
                && matches!(token, Token::Word(w) if w.keyword == Keyword::TIMESTAMP)
                && matches!(tokens.peek(), Some(Token::SingleQuotedString(_)));
            let token = if is_typed { tokens.next()? } else { token };
            match token {
                Token::SingleQuotedString(text) if place.takes_value() => {
                    // A time that is said to be one and a text that is compared with one may be read differently.
                    let typed = if is_typed { TYPED } else { "" };
                    write!(shape, "${PARAMETER}{}{typed} ", values.len()).ok()?;
                    values.push(text.clone());
                }
                Token::SingleQuotedString(text) => write!(shape, "'{}' ", text.replace('\'', "''")).ok()?,
                Token::Word(word) if word.value.contains(['"', '`']) => return None,
                Token::Word(_)
                | Token::Number(..)
                | Token::Comma
                | Token::Period
                | Token::LParen
                | Token::RParen
                | Token::Eq
                | Token::Neq
                | Token::Lt
                | Token::LtEq
                | Token::Gt
                | Token::GtEq
                | Token::Plus
                | Token::Minus
                | Token::Mul
                | Token::Div
                | Token::DoubleColon => write!(shape, "{token} ").ok()?,
                // Other kinds of texts, parameters of the asker's, and what is rare.
                _ => return None,
            }
            place.pass(token);
            if shape.len() > SHAPE_BYTES_MAX || values.len() > VALUES_MAX {
                return None;
            }
        }
        Some(Self { shape, values })
    }
}

/// Where in a statement a token stands.
#[derive(Default)]
struct Place {
    depth: usize,
    /// Depth of the WHERE that the token belongs to.
    within: Option<usize>,
    /// Depth of the list of an IN.
    list: Option<usize>,
    compares: bool,
    between: bool,
}

impl Place {
    /// Whether a text here is a value that is compared with.
    fn takes_value(&self) -> bool {
        self.within.is_some() && (self.compares || self.list == Some(self.depth))
    }

    fn pass(&mut self, token: &Token) {
        self.compares = false;
        match token {
            Token::LParen => {
                self.depth += 1;
                if self.list == Some(usize::MAX) {
                    self.list = Some(self.depth);
                }
                return;
            }
            Token::RParen => {
                if self.list == Some(self.depth) {
                    self.list = None;
                }
                self.depth = self.depth.saturating_sub(1);
                if self.within.is_some_and(|depth| depth > self.depth) {
                    self.within = None;
                }
            }
            Token::Eq | Token::Lt | Token::LtEq | Token::Gt | Token::GtEq => self.compares = true,
            Token::Word(word) => match word.keyword {
                Keyword::WHERE => self.within = Some(self.depth),
                Keyword::GROUP | Keyword::ORDER | Keyword::LIMIT | Keyword::HAVING | Keyword::UNION
                    if self.within == Some(self.depth) =>
                {
                    self.within = None;
                }
                Keyword::BETWEEN => (self.compares, self.between) = (true, true),
                Keyword::AND if self.between => (self.compares, self.between) = (true, false),
                Keyword::IN => {
                    // The list opens with the next token.
                    self.list = Some(usize::MAX);
                    return;
                }
                _ => {}
            },
            _ => {}
        }
        if self.list == Some(usize::MAX) {
            self.list = None;
        }
    }
}

/// What is known of a shape.
enum Known {
    /// It was seen once.
    Seen,
    /// Its plan is none that can be kept.
    Unfit,
    Plan(Arc<TsShape>),
}

/// What is to be done with a statement.
pub(super) enum Advice {
    /// Plan it as any other.
    Plan,
    /// Try to make a plan of its shape.
    Learn,
    /// Use this plan.
    Use(Arc<TsShape>),
}

/// Plans kept for statements to come.
#[derive(Default)]
pub(super) struct Shapes {
    known: Mutex<HashMap<String, (Known, u64)>>,
    /// Counts look-ups, to tell which shape was longest out of use.
    turn: AtomicU64,
    reused: AtomicU64,
}

impl Shapes {
    /// Shapes with a plan, and queries that used one.
    pub fn stats(&self) -> (u64, u64) {
        let plans = self.known.lock().values().filter(|(known, _)| matches!(known, Known::Plan(_))).count();
        (plans as u64, self.reused.load(Ordering::Relaxed))
    }

    /// Counts a query that has used a plan.
    pub fn used(&self) {
        self.reused.fetch_add(1, Ordering::Relaxed);
    }

    /// What to do with a statement of a shape; remembers that it was seen.
    pub fn advice(&self, shape: &str) -> Advice {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut known = self.known.lock();
        let Some((found, last)) = known.get_mut(shape) else {
            Self::put(&mut known, shape, Known::Seen, turn);
            return Advice::Plan;
        };
        *last = turn;
        match found {
            Known::Seen => Advice::Learn,
            Known::Unfit => Advice::Plan,
            Known::Plan(plan) => Advice::Use(plan.clone()),
        }
    }

    /// Keeps what came of [`Advice::Learn`].
    pub fn learned(&self, shape: &str, plan: Option<Arc<TsShape>>) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        Self::put(&mut self.known.lock(), shape, plan.map_or(Known::Unfit, Known::Plan), turn);
    }

    /// Gives up a plan that does not fit any more.
    pub fn forget(&self, shape: &str) {
        self.known.lock().remove(shape);
    }

    fn put(known: &mut HashMap<String, (Known, u64)>, shape: &str, what: Known, turn: u64) {
        if known.len() >= SHAPES_MAX
            && !known.contains_key(shape)
            && let Some(oldest) = known.iter().min_by_key(|(_, (_, turn))| *turn).map(|(shape, _)| shape.clone())
        {
            known.remove(&oldest);
        }
        known.insert(shape.to_owned(), (what, turn));
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;

    fn statement(sql: &str) -> Option<(String, Vec<String>)> {
        let tokens = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize().unwrap();
        Statement::new(&tokens).map(|s| (s.shape.replace(PARAMETER, ""), s.values))
    }

    fn check(sql: &str, shape: &str, values: &[&str]) {
        let found = statement(sql).unwrap();
        assert_eq!((found.0.trim(), found.1), (shape, values.iter().map(|v| (*v).to_owned()).collect()), "{sql}");
    }

    #[test]
    fn values_are_taken_out_of_conditions_alone() {
        check(
            "SELECT date_trunc('minute', time) FROM cpu -- why\n WHERE host='it''s' AND n > 5 GROUP BY 1",
            "SELECT date_trunc ( 'minute' , time ) FROM cpu WHERE host = $0 AND n > 5 GROUP BY 1",
            &["it's"],
        );
        check(
            "SELECT 'a' WHERE time >= TIMESTAMP '2020' AND time < '2021' AND f(x, '4') = 'y' ORDER BY a = 'z'",
            "SELECT 'a' WHERE time >= $0t AND time < $1 AND f ( x , '4' ) = $2 ORDER BY a = 'z'",
            &["2020", "2021", "y"],
        );
        check(
            "SELECT 1 WHERE h IN ('a', 'b', f('c')) AND t BETWEEN 'd' AND TIMESTAMP 'e' AND h LIKE 'i'",
            "SELECT 1 WHERE h IN ( $0 , $1 , f ( 'c' ) ) AND t BETWEEN $2 AND $3t AND h LIKE 'i'",
            &["a", "b", "d", "e"],
        );
        check(
            "SELECT 1 FROM (SELECT 2 WHERE a = 'x') WHERE b = INTERVAL '1 day' AND x != 'it''s'",
            "SELECT 1 FROM ( SELECT 2 WHERE a = $0 ) WHERE b = INTERVAL '1 day' AND x <> 'it''s'",
            &["x"],
        );
        for other in ["EXPLAIN SELECT 1", "SELECT $1", "SELECT E'a'", "SELECT \"a\"\"b\"", "SELECT $$a$$", ""] {
            assert_eq!(statement(other), None, "{other}");
        }
    }

    #[test]
    fn the_shape_longest_out_of_use_goes() {
        let shapes = Shapes::default();
        for n in 0..SHAPES_MAX {
            assert!(matches!(shapes.advice(&n.to_string()), Advice::Plan));
        }
        assert!(matches!(shapes.advice("0"), Advice::Learn));
        assert!(matches!(shapes.advice("new"), Advice::Plan));
        assert!(matches!(shapes.advice("0"), Advice::Learn), "used meanwhile");
        assert!(matches!(shapes.advice("1"), Advice::Plan), "gone");
        assert_eq!(shapes.known.lock().len(), SHAPES_MAX);
        shapes.learned("0", None);
        assert!(matches!(shapes.advice("0"), Advice::Plan));
    }
}
