//! A catalog that is updated by deltas (draft-ietf-moq-msf-00 §5.2): tracks that are added, cloned and removed.

use serde_json::{Map, Value};

use super::{read, value};
use crate::media::catalog::error::check_size;
use crate::media::catalog::{Catalog, CatalogError, MAX_JSON_LEN, MAX_RENDITIONS, Skipped};

/// More than any delta needs: every track removed, added, and cloned.
const MAX_OPERATIONS: usize = 4 * MAX_RENDITIONS;

/// The catalog of a track as its frames arrive: the first frame of a group is a whole catalog, each further one a delta to
/// it, or a whole one again.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    current: Option<Value>,
    next_frame: u64,
}

impl Snapshot {
    /// Takes one frame and returns the catalog as it now stands. `frame_index` counts from 0 within the frame's group.
    ///
    /// # Errors
    /// [`CatalogError`]; after one, deltas of the same group fail too, and the next group starts afresh.
    pub fn apply(
        &mut self,
        frame_index: u64,
        json: &[u8],
    ) -> Result<(Catalog, Vec<Skipped>), CatalogError> {
        let before = self.current.take();
        let frame = value(json)?;
        let now = if !is_delta(&frame) {
            frame
        } else {
            match before {
                Some(mut target) if frame_index > 0 && frame_index == self.next_frame => {
                    apply_delta(&mut target, &frame)?;
                    target
                }
                _ => return Err(CatalogError::MissingFrame(frame_index)),
            }
        };
        let catalog = read::read(&now)?;
        self.current = Some(now);
        self.next_frame = frame_index.saturating_add(1);
        Ok(catalog)
    }
}

/// It has to say so; one that only has operations is meant as one, too.
fn is_delta(frame: &Value) -> bool {
    let has = |key: &str| frame.get(key).is_some();
    frame.get("deltaUpdate") == Some(&Value::Bool(true))
        || (!has("tracks") && (has("addTracks") || has("cloneTracks") || has("removeTracks")))
}

/// Operations apply in the order in which they are declared. That order is lost in a map of JSON: a track has to be there
/// before it is cloned, so clones follow additions, and removals, which no sensible delta refers to, come last.
fn apply_delta(target: &mut Value, delta: &Value) -> Result<(), CatalogError> {
    let operations = |key: &str| {
        let list = delta.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_object)
    };
    let count = ["addTracks", "cloneTracks", "removeTracks"].map(|key| operations(key).count());
    let count = count.iter().sum();
    if count > MAX_OPERATIONS {
        return Err(CatalogError::TooManyRenditions(count));
    }
    if let Some(init_data) = delta.get("initDataList").and_then(Value::as_array) {
        list(target, "initDataList")?.extend(init_data.iter().cloned());
    }
    let tracks = list(target, "tracks")?;
    for track in operations("addTracks") {
        put(tracks, track.clone());
    }
    for clone in operations("cloneTracks") {
        let parent = tracks
            .iter()
            .find(|track| track.get("name") == clone.get("parentName"));
        let Some(parent) = parent else { continue };
        // Otherwise a few bytes could copy much, over and over.
        check_size(parent, MAX_JSON_LEN / MAX_OPERATIONS)?;
        let mut track = parent.as_object().cloned().unwrap_or_default();
        let changed = clone.iter().filter(|(key, _)| *key != "parentName");
        track.extend(changed.map(|(key, value)| (key.clone(), value.clone())));
        put(tracks, track);
    }
    for removed in operations("removeTracks") {
        tracks.retain(|track| track.get("name") != removed.get("name"));
    }
    check_size(target, MAX_JSON_LEN)
}

/// Names are unique: a track that is there already is replaced.
fn put(tracks: &mut Vec<Value>, track: Map<String, Value>) {
    tracks.retain(|known| known.get("name") != track.get("name"));
    tracks.push(Value::Object(track));
}

/// A list of the root, made if it is not there.
fn list<'a>(root: &'a mut Value, key: &'static str) -> Result<&'a mut Vec<Value>, CatalogError> {
    let root = root
        .as_object_mut()
        .ok_or(CatalogError::Shape("the root"))?;
    let list = root.entry(key).or_insert(Value::Null);
    if list.is_null() {
        *list = Value::Array(Vec::new());
    }
    list.as_array_mut().ok_or(CatalogError::Shape(key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn whole() -> String {
        let track = json!({ "name": "hd", "packaging": "loc", "role": "video", "codec": "vp8", "width": 1920, "height": 1080 });
        json!({ "version": 1, "tracks": [track] }).to_string()
    }

    fn names(catalog: &Catalog) -> Vec<&str> {
        catalog.video.keys().map(String::as_str).collect()
    }

    #[test]
    fn deltas_of_a_group_build_on_its_first_frame() {
        let mut snapshot = Snapshot::default();
        snapshot.apply(0, whole().as_bytes()).unwrap();
        let more = json!({
            "deltaUpdate": true,
            "addTracks": [{ "name": "slides", "packaging": "loc", "role": "video", "codec": "vp8", "initRef": "i" }],
            "cloneTracks": [
                { "parentName": "hd", "name": "sd", "width": 640 },
                { "parentName": "nobody", "name": "x" },
            ],
            "initDataList": [{ "id": "i", "type": "inline", "data": "AQ==" }],
        });
        let (catalog, skipped) = snapshot.apply(1, more.to_string().as_bytes()).unwrap();
        assert_eq!(
            (names(&catalog), skipped),
            (vec!["hd", "sd", "slides"], Vec::new())
        );
        assert_eq!(
            (
                catalog.video["sd"].coded_width,
                catalog.video["sd"].coded_height
            ),
            (Some(640), Some(1080))
        );
        assert!(catalog.video["slides"].description.is_some());
        let fewer = json!({ "removeTracks": [{ "name": "hd" }, { "name": "slides" }] });
        let (catalog, _) = snapshot.apply(2, fewer.to_string().as_bytes()).unwrap();
        assert_eq!(names(&catalog), ["sd"]);
        let (catalog, _) = snapshot.apply(3, whole().as_bytes()).unwrap();
        assert_eq!(names(&catalog), ["hd"]);
    }

    #[test]
    fn a_delta_without_its_predecessor_is_refused_until_the_next_group() {
        let delta = br#"{"deltaUpdate":true}"#;
        let mut snapshot = Snapshot::default();
        assert_eq!(snapshot.apply(0, delta), Err(CatalogError::MissingFrame(0)));
        assert_eq!(snapshot.apply(1, delta), Err(CatalogError::MissingFrame(1)));
        snapshot.apply(0, whole().as_bytes()).unwrap();
        assert_eq!(snapshot.apply(2, delta), Err(CatalogError::MissingFrame(2)));
        assert_eq!(snapshot.apply(1, delta), Err(CatalogError::MissingFrame(1)));
        snapshot.apply(0, whole().as_bytes()).unwrap();
        assert_eq!(snapshot.apply(1, delta).unwrap().0.len(), 1);
    }

    #[test]
    fn deltas_cannot_grow_a_catalog_beyond_its_limit() {
        let mut snapshot = Snapshot::default();
        snapshot.apply(0, b"{}").unwrap();
        let filler = "x".repeat(MAX_JSON_LEN / 2);
        let delta =
            |name: &str| json!({ "addTracks": [{ "name": name, "filler": filler }] }).to_string();
        snapshot.apply(1, delta("a").as_bytes()).unwrap();
        assert_eq!(
            snapshot.apply(2, delta("b").as_bytes()),
            Err(CatalogError::TooLarge)
        );
    }

    proptest! {
        #[test]
        fn hostile_deltas_are_survived(
            operations in proptest::collection::vec(
                (proptest::sample::select(vec!["addTracks", "cloneTracks", "removeTracks", "tracks", "initDataList"]),
                 proptest::sample::select(vec![
                     json!([]), json!(null), json!([null]), json!([{ "name": "a" }]), json!([{ "parentName": "a", "name": "b" }]),
                     json!([{ "parentName": null }]), json!({}),
                 ])),
                0..12,
            ),
        ) {
            let mut snapshot = Snapshot::default();
            let _ = snapshot.apply(0, whole().as_bytes());
            for (index, (key, value)) in (1..).zip(operations) {
                let _ = snapshot.apply(index, json!({ key: value }).to_string().as_bytes());
            }
        }
    }
}
