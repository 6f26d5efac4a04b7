//! Adds readable times to described records.

use serde_json::Value;

use crate::keys::{Family, Time, Timestamp};

/// The names of fields with hybrid timestamps.
const HYBRID: [&str; 9] = [
    "create_time",
    "created_time",
    "dropped_at",
    "last_expire_time",
    "partition_created_timestamp",
    "partition_created_timestamps",
    "timestamp",
    "timestamp_from",
    "timestamp_to",
];

/// Adds a field `<name>_utc` for each timestamp, at any depth.
pub(super) fn add(family: Family, value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(|value| add(family, value));
            for name in HYBRID {
                if let Some(time) = members.get(name).and_then(|value| time(family, value)) {
                    members.insert(format!("{name}_utc"), time);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|value| add(family, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn time(family: Family, value: &Value) -> Option<Value> {
    if let Value::Array(items) = value {
        let times = items.iter().map(|item| time(family, item));
        return times.collect::<Option<Vec<_>>>().map(Value::Array);
    }
    let number: u64 = match value {
        Value::String(text) => text.parse().ok()?,
        Value::Number(number) => number.as_u64()?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let is_nanoseconds = matches!(family, Family::Database | Family::DatabaseSnapshot);
    let time = match is_nanoseconds {
        true => Time::of_nanoseconds(number),
        false => Time::of(Timestamp(number)),
    };
    time.map(|time| Value::String(time.to_string()))
}
