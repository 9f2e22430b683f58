//! A catalog that is updated by JSON merge patches (RFC 7396).

use serde_json::{Map, Value};

use super::{Catalog, CatalogError, MAX_JSON_LEN, Skipped, value, wire};
use crate::media::catalog::error::check_size;

/// The catalog of a track as its frames arrive: the first frame of a group is a whole catalog, each further one a merge
/// patch to it.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    current: Option<Value>,
    next_frame: u64,
}

impl Snapshot {
    /// Takes one frame and returns the catalog as it now stands. `frame_index` counts from 0 within the frame's group.
    ///
    /// # Errors
    /// [`CatalogError`]; after one, patches of the same group fail too, and the next group starts afresh.
    pub fn apply(
        &mut self,
        frame_index: u64,
        json: &[u8],
    ) -> Result<(Catalog, Vec<Skipped>), CatalogError> {
        let before = self.current.take();
        let now = match before {
            _ if frame_index == 0 => value(json)?,
            Some(mut target) if frame_index == self.next_frame => {
                merge(&mut target, value(json)?);
                check_size(&target, MAX_JSON_LEN)?;
                target
            }
            _ => return Err(CatalogError::MissingFrame(frame_index)),
        };
        let catalog = wire::read(&now)?;
        self.current = Some(now);
        self.next_frame = frame_index.saturating_add(1);
        Ok(catalog)
    }
}

/// RFC 7396 §2. The depth of both values is bounded by their parser.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        for (key, value) in patch {
            if value.is_null() {
                target.remove(&key);
            } else {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::{tests::any_catalog, write};
    use super::*;

    fn merged(mut target: Value, patch: Value) -> Value {
        merge(&mut target, patch);
        target
    }

    /// RFC 7396, Appendix A.
    #[test]
    fn the_examples_of_the_rfc_hold() {
        for (original, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (
                json!({"a":"b","b":"c"}),
                json!({"a":null}),
                json!({"b":"c"}),
            ),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (
                json!({}),
                json!({"a":{"bb":{"ccc":null}}}),
                json!({"a":{"bb":{}}}),
            ),
        ] {
            assert_eq!(
                merged(original.clone(), patch.clone()),
                result,
                "{original} + {patch}"
            );
        }
    }

    const WHOLE: &[u8] = br#"{"audio":{"renditions":{"a":{"codec":"opus","sampleRate":48000,"numberOfChannels":2}}}}"#;

    #[test]
    fn patches_of_a_group_build_on_its_first_frame() {
        let mut snapshot = Snapshot::default();
        assert_eq!(snapshot.apply(0, WHOLE).unwrap().0.len(), 1);
        let patch = br#"{"audio":{"renditions":{"b":{"codec":"opus","sampleRate":24000,"numberOfChannels":1}}}}"#;
        let (catalog, _) = snapshot.apply(1, patch).unwrap();
        assert_eq!(catalog.audio.keys().collect::<Vec<_>>(), ["a", "b"]);
        let (catalog, _) = snapshot
            .apply(2, br#"{"audio":{"renditions":{"a":null}}}"#)
            .unwrap();
        assert_eq!(catalog.audio.keys().collect::<Vec<_>>(), ["b"]);
        let (catalog, _) = snapshot.apply(0, WHOLE).unwrap();
        assert_eq!(catalog.audio.keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_patch_without_its_predecessor_is_refused_until_the_next_group() {
        let mut snapshot = Snapshot::default();
        assert_eq!(snapshot.apply(1, b"{}"), Err(CatalogError::MissingFrame(1)));
        snapshot.apply(0, WHOLE).unwrap();
        assert_eq!(snapshot.apply(2, b"{}"), Err(CatalogError::MissingFrame(2)));
        assert_eq!(snapshot.apply(1, b"{}"), Err(CatalogError::MissingFrame(1)));
        snapshot.apply(0, WHOLE).unwrap();
        assert!(matches!(
            snapshot.apply(1, b"{"),
            Err(CatalogError::Json(_))
        ));
        assert_eq!(snapshot.apply(2, b"{}"), Err(CatalogError::MissingFrame(2)));
        assert_eq!(snapshot.apply(0, WHOLE).unwrap().0.len(), 1);
    }

    #[test]
    fn patches_cannot_grow_a_catalog_beyond_its_limit() {
        let mut snapshot = Snapshot::default();
        snapshot.apply(0, b"{}").unwrap();
        let filler = "x".repeat(MAX_JSON_LEN / 2);
        let patch = |key: &str| json!({ key: filler }).to_string();
        snapshot.apply(1, patch("a").as_bytes()).unwrap();
        assert_eq!(
            snapshot.apply(2, patch("b").as_bytes()),
            Err(CatalogError::TooLarge)
        );
    }

    #[test]
    fn deep_patches_are_refused_and_do_not_exhaust_the_stack() {
        let mut snapshot = Snapshot::default();
        snapshot.apply(0, b"{}").unwrap();
        let deep = r#"{"a":"#.repeat(50_000) + "1" + &"}".repeat(50_000);
        assert!(matches!(
            snapshot.apply(1, deep.as_bytes()),
            Err(CatalogError::Json(_))
        ));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The members of objects that are null, at any depth that a patch reaches.
    fn has_null_member(value: &Value) -> bool {
        match value {
            Value::Object(map) => map
                .values()
                .any(|value| value.is_null() || has_null_member(value)),
            _ => false,
        }
    }

    /// RFC 7396 cannot say that a member is to be null.
    fn patch(from: &Value, to: &Value) -> Value {
        let (Value::Object(from), Value::Object(to)) = (from, to) else {
            return to.clone();
        };
        let gone = from.keys().filter(|key| !to.contains_key(*key));
        let gone = gone.map(|key| (key.clone(), Value::Null));
        let changed = to
            .iter()
            .filter(|(key, value)| from.get(*key) != Some(value));
        let changed = changed.map(|(key, value)| match from.get(key) {
            Some(before) => (key.clone(), patch(before, value)),
            None => (key.clone(), value.clone()),
        });
        Value::Object(gone.chain(changed).collect())
    }

    proptest! {
        #[test]
        fn a_patch_turns_one_document_into_another(from in any_json(), to in any_json()) {
            let to = merged(Value::Null, to);
            let patch = patch(&from, &to);
            prop_assert_eq!(merged(from, patch), to);
        }

        #[test]
        fn a_patch_turns_one_catalog_into_another(from in any_catalog(), to in any_catalog()) {
            let [first, second] = [&from, &to].map(write);
            let read = |json: &[u8]| serde_json::from_slice::<Value>(json).unwrap();
            let patch = patch(&read(&first), &read(&second)).to_string();
            let mut snapshot = Snapshot::default();
            prop_assert_eq!(snapshot.apply(0, &first).unwrap(), (from, Vec::new()));
            prop_assert_eq!(snapshot.apply(1, patch.as_bytes()).unwrap(), (to, Vec::new()));
        }

        #[test]
        fn merging_twice_is_merging_once(target in any_json(), patch in any_json()) {
            let once = merged(target, patch.clone());
            prop_assert_eq!(merged(once.clone(), patch), once);
        }

        #[test]
        fn what_a_patch_brings_has_no_null_members(patch in any_json()) {
            prop_assert!(!has_null_member(&merged(Value::Null, patch)));
        }

        #[test]
        fn an_empty_patch_changes_no_object(target in any_json()) {
            if target.is_object() {
                prop_assert_eq!(merged(target.clone(), json!({})), target);
            }
        }

        #[test]
        fn hostile_patches_never_panic(frames in proptest::collection::vec(any_json(), 1..6)) {
            let mut snapshot = Snapshot::default();
            for (index, frame) in frames.iter().enumerate() {
                let _ = snapshot.apply(index as u64, frame.to_string().as_bytes());
            }
        }
    }
}
