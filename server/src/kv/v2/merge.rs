//! JSON merge patch (RFC 7396).

use serde_json::Value;

use crate::logical::Object;

/// Applies a patch to an object: null removes, objects merge, anything else replaces.
pub(super) fn merge(target: &mut Object, patch: &Object) {
    for (key, change) in patch {
        match change {
            Value::Null => {
                // Order of the remaining keys is kept.
                target.shift_remove(key);
            }
            Value::Object(changes) => {
                let slot = target.entry(key.clone()).or_insert_with(|| Value::Object(Object::new()));
                if !slot.is_object() {
                    *slot = Value::Object(Object::new());
                }
                if let Value::Object(inner) = slot {
                    merge(inner, changes);
                }
            }
            other => {
                target.insert(key.clone(), other.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn merged(target: Value, patch: &Value) -> Value {
        let Value::Object(mut target) = target else {
            panic!("not an object");
        };
        merge(&mut target, patch.as_object().unwrap());
        Value::Object(target)
    }

    /// The cases of RFC 7396, appendix A, whose target and patch are objects.
    #[test]
    fn the_cases_of_the_rfc() {
        for (target, patch, want) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            assert_eq!(merged(target, &patch), want);
        }
    }

    proptest! {
        #[test]
        fn merging_twice_changes_nothing_more(
            keys in proptest::collection::vec(("[a-c]", proptest::option::of("[x-z]")), 0..5)
        ) {
            let patch: Object = keys.into_iter().map(|(key, value)| (key, json!(value))).collect();
            let once = merged(json!({"a": 1, "b": {"c": 2}}), &Value::Object(patch.clone()));
            let twice = merged(once.clone(), &Value::Object(patch));
            prop_assert_eq!(once, twice);
        }
    }
}
