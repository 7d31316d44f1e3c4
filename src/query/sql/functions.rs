//! Functions of our own: `graphite_glob`, `graphite_node`, `database`, `version`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, StringArray};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use rhythmite_graphite::glob::{SegmentPattern, matches_path, split_pattern};

/// `graphite_glob(path, 'servers.*.cpu')`: whether an untagged path matches the whole of a Graphite pattern.
pub const GRAPHITE_GLOB: &str = "graphite_glob";
/// `graphite_node(path, n)`: node `n` of a path, from 0; from the end for a negative number.
const GRAPHITE_NODE: &str = "graphite_node";

/// `database()` of a session.
pub(super) fn database(name: &str) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Constant::new("database", name)))
}

/// The functions that are the same in every session.
pub(super) fn shared() -> Vec<Arc<ScalarUDF>> {
    let version = format!("rhythmite {}", env!("CARGO_PKG_VERSION"));
    vec![
        Arc::new(ScalarUDF::from(Glob::new())),
        Arc::new(ScalarUDF::from(Node::new())),
        Arc::new(ScalarUDF::from(Constant::new("version", &version))),
    ]
}

/// The texts of an argument, and for each row which of them it has.
struct Texts {
    texts: StringArray,
    /// `None`: row `i` has text `i`.
    keys: Option<ArrayRef>,
}

impl Texts {
    fn of(array: &ArrayRef) -> Result<Self> {
        if let Some(dictionary) = array.as_any().downcast_ref::<DictionaryArray<Int32Type>>() {
            let texts = cast(dictionary.values(), &DataType::Utf8)?;
            let keys: ArrayRef = Arc::new(dictionary.keys().clone());
            return Ok(Self { texts: texts.as_string::<i32>().clone(), keys: Some(keys) });
        }
        Ok(Self { texts: cast(array, &DataType::Utf8)?.as_string::<i32>().clone(), keys: None })
    }

    /// Spreads what was computed for each text over the rows.
    fn spread(&self, values: ArrayRef) -> Result<ArrayRef> {
        match &self.keys {
            Some(keys) => Ok(take(&values, keys, None)?),
            None => Ok(values),
        }
    }
}

/// A function of a text column and a constant or column.
fn two_arguments(second: Vec<DataType>) -> Signature {
    let texts =
        [DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), DataType::Utf8, DataType::Utf8View];
    let pairs = texts.iter().flat_map(|text| second.iter().map(|other| vec![text.clone(), other.clone()]));
    Signature::one_of(pairs.map(TypeSignature::Exact).collect(), Volatility::Immutable)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Glob {
    signature: Signature,
}

impl Glob {
    fn new() -> Self {
        Self { signature: two_arguments(vec![DataType::Utf8]) }
    }
}

impl ScalarUDFImpl for Glob {
    fn name(&self) -> &str {
        GRAPHITE_GLOB
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [path, pattern] = args.args.as_slice() else { return plan_err!("{GRAPHITE_GLOB} takes a path and a glob") };
        let ColumnarValue::Scalar(pattern) = pattern else {
            return exec_err!("{GRAPHITE_GLOB}: the glob must be a constant");
        };
        let Some(pattern) = pattern.try_as_str().flatten() else {
            return Ok(ColumnarValue::Scalar(ScalarValue::Boolean(None)));
        };
        let pattern = match split_pattern(pattern) {
            Ok(pattern) => pattern,
            Err(e) => return plan_err!("{GRAPHITE_GLOB}: {e}"),
        };
        let texts = Texts::of(&path.to_array(args.number_rows)?)?;
        let matched: BooleanArray = texts.texts.iter().map(|path| path.map(|p| glob_matches(&pattern, p))).collect();
        Ok(ColumnarValue::Array(texts.spread(Arc::new(matched))?))
    }
}

/// A glob means untagged paths, as in Graphite's find.
fn glob_matches(pattern: &[SegmentPattern], path: &str) -> bool {
    !path.contains(';') && matches_path(pattern, path)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Node {
    signature: Signature,
}

impl Node {
    fn new() -> Self {
        Self { signature: two_arguments(vec![DataType::Int64]) }
    }
}

impl ScalarUDFImpl for Node {
    fn name(&self) -> &str {
        GRAPHITE_NODE
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [path, n] = args.args.as_slice() else { return plan_err!("{GRAPHITE_NODE} takes a path and a number") };
        let ColumnarValue::Scalar(n) = n else { return exec_err!("{GRAPHITE_NODE}: the number must be a constant") };
        let ScalarValue::Int64(Some(n)) = n else { return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None))) };
        let texts = Texts::of(&path.to_array(args.number_rows)?)?;
        let nodes: StringArray = texts.texts.iter().map(|path| path.and_then(|p| node(p, *n))).collect();
        Ok(ColumnarValue::Array(texts.spread(Arc::new(nodes))?))
    }
}

/// Node `n` of the path without its tags.
fn node(path: &str, n: i64) -> Option<&str> {
    let bare = path.split_once(';').map_or(path, |(bare, _)| bare);
    match usize::try_from(n) {
        Ok(n) => bare.split('.').nth(n),
        Err(_) => bare.rsplit('.').nth(usize::try_from(n.unsigned_abs()).ok()? - 1),
    }
}

/// A function without arguments that always gives the same text.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    name: &'static str,
    text: String,
    signature: Signature,
}

impl Constant {
    fn new(name: &'static str, text: &str) -> Self {
        Self { name, text: text.to_owned(), signature: Signature::nullary(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(self.text.clone()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_count_from_both_ends() {
        let cases = [
            ("a.b.c", 0, Some("a")),
            ("a.b.c", 2, Some("c")),
            ("a.b.c", 3, None),
            ("a.b.c", -1, Some("c")),
            ("a.b.c", -3, Some("a")),
            ("a.b.c", -4, None),
            ("a.b.c", i64::MIN, None),
            ("disk.used;host=web.1", -1, Some("used")),
        ];
        for (path, n, expected) in cases {
            assert_eq!(node(path, n), expected, "{path} {n}");
        }
    }
}
