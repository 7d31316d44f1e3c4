//! Templates of dashboards: a dashboard in which part of each target is a place for a value.
//!
//! Nothing else about a dashboard is looked at: what its page keeps in it is the page's own.

use rhythmite_model::{Error, Result};
use serde_json::Value;

/// What stands for the value in a template.
const PLACE: &str = "__VALUE__";

/// Makes a template of a dashboard: `key` becomes the place for a value in each graph's name, targets and address.
///
/// # Errors
/// `Invalid` when `state` is not JSON with `graphs`, each `[name, {"target": [...]}, address]`, or `key` is empty.
pub fn template_of(state: &str, key: &str) -> Result<String> {
    if key.is_empty() {
        return Err(Error::invalid("a template needs a key to replace"));
    }
    let mut state: Value = parse(state)?;
    let bad = || Error::invalid("a template needs \"graphs\": a list of [name, {\"target\": [...]}, address]");
    let graphs = state.get_mut("graphs").and_then(Value::as_array_mut).ok_or_else(bad)?;
    for graph in graphs {
        let [name, options, address, ..] = graph.as_array_mut().ok_or_else(bad)?.as_mut_slice() else {
            return Err(bad());
        };
        let targets = options.get_mut("target").and_then(Value::as_array_mut).ok_or_else(bad)?;
        for text in targets.iter_mut().chain([name, address]) {
            if let Value::String(text) = text {
                *text = text.replace(key, PLACE);
            }
        }
    }
    Ok(state.to_string())
}

/// Puts a value into a template's places; the dashboard is called `name/value`.
///
/// # Errors
/// `Invalid` when the template is not a JSON object.
pub fn with_value(template: &str, name: &str, value: &str) -> Result<String> {
    let mut state = parse(template)?;
    fill(&mut state, value);
    let object = state.as_object_mut().ok_or_else(|| Error::invalid("the template is not a JSON object"))?;
    object.insert("name".to_owned(), Value::String(format!("{name}/{value}")));
    Ok(state.to_string())
}

fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|e| Error::invalid(format!("state is not JSON: {e}")))
}

/// As deep as the value, which the JSON parser limits.
fn fill(state: &mut Value, value: &str) {
    match state {
        Value::String(text) if text.contains(PLACE) => *text = text.replace(PLACE, value),
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, value)),
        Value::Object(members) => members.values_mut().for_each(|member| fill(member, value)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_have_places() {
        let state =
            r#"{"name":"x","graphs":[["g.a",{"target":["g.a.cpu","scale(g.a.x,2)"],"w":1},"/render?target=g.a.cpu"]]}"#;
        let template = template_of(state, "g.a").expect("a dashboard");
        assert!(template.contains("scale(__VALUE__.x,2)"), "{template}");
        let filled: Value =
            serde_json::from_str(&with_value(&template, "t", "s\"1").expect("a template")).expect("JSON");
        let want = serde_json::json!({
            "name": "t/s\"1",
            "graphs": [["s\"1", {"target": ["s\"1.cpu", "scale(s\"1.x,2)"], "w": 1}, "/render?target=s\"1.cpu"]],
        });
        assert_eq!(filled, want);
        for bad in ["{}", "1", "{\"graphs\":[1]}", "{\"graphs\":[[\"a\",{},\"b\"]]}", "{\"graphs\":[[\"a\"]]}", "x"] {
            assert!(template_of(bad, "k").is_err(), "{bad}");
        }
        assert!(template_of(state, "").is_err());
        assert!(with_value("[1]", "t", "v").is_err());
    }
}
