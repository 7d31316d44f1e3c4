//! How deep the tree of a statement can be, bounded before there is one.
//!
//! The parser limits the depth of parentheses, but `1 + 1 + 1 ...`, `a OR b OR c ...` and `SELECT .. UNION SELECT ..` are
//! loops to it that give a tree as deep as the text is long; and a list of tables in FROM becomes as deep a plan. Such
//! trees are walked, printed and dropped by recursion, and a stack that overflows ends the process. What is bounded here
//! fits the stack of the query threads.

use std::ops::ControlFlow;

use datafusion::common::config::Dialect;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::visit_relations;
use datafusion::sql::sqlparser::dialect::dialect_from_str;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use rhythmite_model::{Error, Result};

/// Operators and key words in one statement.
pub(super) const OPERATORS_MAX: usize = 2_000;

/// Tables that one statement names, each as often as it does.
pub(super) const TABLES_MAX: usize = 500;

/// Refuses a text with more than [`OPERATORS_MAX`] operators and key words. Lists of values or columns may be longer.
/// Returns the tokens, none if the text cannot be cut into any.
///
/// # Errors
/// `Invalid`, with the limit.
pub(super) fn check_text(sql: &str, dialect: Dialect) -> Result<Vec<Token>> {
    // What the parser would not know either is for the parser to say.
    let Some(dialect) = dialect_from_str(dialect) else { return Ok(Vec::new()) };
    let Ok(tokens) = Tokenizer::new(&*dialect, sql).tokenize() else { return Ok(Vec::new()) };
    let operators = tokens.iter().filter(|token| may_nest(token)).count();
    if operators > OPERATORS_MAX {
        return Err(Error::invalid(format!(
            "the query has {operators} operators and key words, the limit is {OPERATORS_MAX}: for many values of one \
             column use IN (..)"
        )));
    }
    Ok(tokens)
}

/// Whether a token may make the tree deeper without the parser going deeper.
fn may_nest(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.keyword != Keyword::NoKeyword,
        Token::Whitespace(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::EscapedStringLiteral(_)
        | Token::Placeholder(_)
        | Token::Comma
        | Token::Period
        | Token::LParen
        | Token::RParen
        | Token::SemiColon
        | Token::EOF => false,
        _ => true,
    }
}

/// Refuses a statement that names more than [`TABLES_MAX`] tables.
///
/// # Errors
/// `Invalid`, with the limit.
pub(super) fn check_tables(statement: &DfStatement) -> Result<()> {
    match statement {
        DfStatement::Explain(explain) => check_tables(&explain.statement),
        DfStatement::Statement(inner) => {
            let mut tables = 0;
            let flow = visit_relations(inner, |_| {
                tables += 1;
                if tables > TABLES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            match flow {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => {
                    Err(Error::invalid(format!("the query names more than {TABLES_MAX} tables, which is the limit")))
                }
            }
        }
        _ => Ok(()),
    }
}
