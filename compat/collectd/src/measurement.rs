//! Value lists as measurements, tags and fields: what InfluxDB's collectd input makes of them.
//!
//! The measurement is the plugin with one field for each value ([`MultiValue::Join`]), or `plugin_source` with the one
//! field `value` for each value ([`MultiValue::Split`]). Tags are `host`, `instance` (the plugin's), `type` and
//! `type_instance`; empty ones are left out. Numbers are raw, not rates: `non_negative_derivative` makes rates. Unlike
//! InfluxDB's, an ABSOLUTE is stored too, and an unknown value does not take its neighbours with it.

use serde::Deserialize;
use smallvec::SmallVec;

use crate::types_db::Source;
use crate::value::{Identifier, ValueList};

/// What becomes of a list with several values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MultiValue {
    /// One point with as many fields.
    #[default]
    Join,
    /// As many points of measurements of their own, InfluxDB 1.x's default.
    Split,
}

/// Name and value of a field.
type Field<'a> = (&'a str, f64);

/// Tags in the order of their names.
pub type Tags<'a> = SmallVec<[(&'static str, &'a str); 4]>;

/// Gives measurement, tags and fields of each point in `list` to `point`, and says how many values are no number.
pub fn points(
    list: &ValueList<'_>,
    sources: &[Source],
    multi: MultiValue,
    mut point: impl FnMut(&str, &Tags<'_>, &[Field<'_>]),
) -> usize {
    let tags = tags(&list.id);
    let numbers = sources.iter().zip(&list.values).map(|(source, value)| (source.name.as_str(), value.to_f64()));
    let known: SmallVec<[Field<'_>; 4]> = numbers.filter(|(_, value)| value.is_finite()).collect();
    match multi {
        MultiValue::Join if known.is_empty() => {}
        MultiValue::Join => point(&list.id.plugin, &tags, &known),
        MultiValue::Split => {
            for (source, value) in &known {
                point(&format!("{}_{source}", list.id.plugin), &tags, &[("value", *value)]);
            }
        }
    }
    list.values.len() - known.len()
}

fn tags<'a>(id: &'a Identifier<'_>) -> Tags<'a> {
    let all: [(&'static str, &str); 4] = [
        ("host", &id.host),
        ("instance", &id.plugin_instance),
        ("type", &id.type_name),
        ("type_instance", &id.type_instance),
    ];
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Kind, Time, Value};

    fn check(multi: MultiValue, plugin_instance: &str, values: &[(&str, Value)], want: &[&str]) {
        let id = Identifier {
            host: "h".into(),
            plugin: "net".into(),
            plugin_instance: plugin_instance.into(),
            type_name: "if".into(),
            type_instance: "".into(),
        };
        let values_of_list = values.iter().map(|(_, value)| *value).collect();
        let list = ValueList { id, time: Time(0), interval: Time(0), values: values_of_list };
        let source = |(name, value): &(&str, Value)| Source {
            name: (*name).to_owned(),
            kind: value.kind(),
            min: f64::NEG_INFINITY,
            max: f64::INFINITY,
        };
        let sources: Vec<Source> = values.iter().map(source).collect();
        let mut got = Vec::new();
        let unknown = points(&list, &sources, multi, |measurement, tags, fields| {
            let tags: Vec<String> = tags.iter().map(|(k, v)| format!(",{k}={v}")).collect();
            let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
            got.push(format!("{measurement}{} {}", tags.concat(), fields.join(",")));
        });
        assert_eq!(got, want);
        let nan = |(_, value): &&(&str, Value)| value.kind() == Kind::Gauge && value.to_f64().is_nan();
        assert_eq!(unknown, values.iter().filter(nan).count());
    }

    #[test]
    fn points_are_named_as_influxdb_names_them() {
        let both = [("rx", Value::Derive(-1)), ("tx", Value::Counter(2))];
        check(MultiValue::Join, "eth0", &both, &["net,host=h,instance=eth0,type=if rx=-1,tx=2"]);
        check(MultiValue::Split, "", &both, &["net_rx,host=h,type=if value=-1", "net_tx,host=h,type=if value=2"]);
        let one = [("value", Value::Absolute(3))];
        check(MultiValue::Join, "", &one, &["net,host=h,type=if value=3"]);
        check(MultiValue::Split, "", &one, &["net_value,host=h,type=if value=3"]);
    }

    #[test]
    fn an_unknown_value_is_left_out_alone() {
        let half = [("a", Value::Gauge(f64::NAN)), ("b", Value::Gauge(1.5))];
        check(MultiValue::Join, "", &half, &["net,host=h,type=if b=1.5"]);
        check(MultiValue::Split, "", &half, &["net_b,host=h,type=if value=1.5"]);
        check(MultiValue::Join, "", &half[..1], &[]);
    }
}
