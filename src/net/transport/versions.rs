//! Which protocol versions are offered.

use moq_net::{Version, Versions};

use crate::net::error::{Cause, Error, Result};

/// What the URL's scheme allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    All,
    /// moq-transport drafts.
    Ietf,
    /// moq-lite drafts.
    Lite,
}

/// Promised and tested, in default order of preference.
pub const NAMES: [&str; 13] = [
    "moq-lite-06",
    "moq-lite-05",
    "moq-lite-04",
    "moq-lite-03",
    "moq-transport-22",
    "moq-transport-21",
    "moq-transport-20",
    "moq-transport-19",
    "moq-transport-18",
    "moq-transport-17",
    "moq-transport-16",
    "moq-transport-15",
    "moq-transport-14",
];

/// The versions to offer, in the order given; no names mean all of [`NAMES`] that the family allows.
///
/// Fails with [`Cause::Settings`] for a name that is not in [`NAMES`] or when the family leaves none.
pub fn select(names: &[String], family: Family) -> Result<Versions> {
    if let Some(unknown) = names.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(Error::new(
            Cause::Settings,
            format!(
                "unknown protocol version '{unknown}'; valid are {}",
                NAMES.join(", ")
            ),
        ));
    }
    let given = names.iter().map(String::as_str);
    let wanted: Vec<&str> = match names.is_empty() {
        true => NAMES.to_vec(),
        false => given.collect(),
    };
    let versions: Vec<Version> = wanted
        .iter()
        .filter_map(|name| name.parse().ok())
        .filter(|version: &Version| match family {
            Family::All => true,
            Family::Ietf => version.is_ietf(),
            Family::Lite => version.is_lite(),
        })
        .collect();
    if versions.is_empty() {
        let scheme = match family {
            Family::Ietf => "moqt:// offers only moq-transport versions",
            _ => "moql:// offers only moq-lite versions",
        };
        return Err(Error::new(
            Cause::Settings,
            format!("{scheme}; none of {} is one", wanted.join(", ")),
        ));
    }
    Ok(versions.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(versions: &Versions) -> Vec<&str> {
        versions.iter().map(Version::as_str).collect()
    }

    #[test]
    fn every_promised_name_is_known_to_the_library() {
        assert_eq!(names(&select(&[], Family::All).unwrap()), NAMES);
    }

    #[test]
    fn the_scheme_limits_and_the_property_orders() {
        let wanted = ["moq-transport-16", "moq-lite-03", "moq-lite-05"].map(str::to_owned);
        assert_eq!(names(&select(&wanted, Family::All).unwrap()), wanted);
        assert_eq!(
            names(&select(&wanted, Family::Lite).unwrap()),
            ["moq-lite-03", "moq-lite-05"]
        );
        assert_eq!(
            names(&select(&wanted, Family::Ietf).unwrap()),
            ["moq-transport-16"]
        );
        assert_eq!(select(&[], Family::Ietf).unwrap().iter().count(), 9);
        assert_eq!(select(&[], Family::Lite).unwrap().iter().count(), 4);
    }

    #[test]
    fn unpromised_versions_are_refused_by_name() {
        for name in ["moq-lite-07-wip", "moq-lite-01", "moq-lite-6", ""] {
            let error = select(&[name.to_owned()], Family::All).unwrap_err();
            assert_eq!(error.cause, Cause::Settings);
            assert!(error.message.contains("moq-transport-14"), "{error}");
        }
        let error = select(&["moq-lite-06".to_owned()], Family::Ietf).unwrap_err();
        assert!(error.message.contains("moqt://"), "{error}");
    }
}
