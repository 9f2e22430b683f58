//! Takes our token out of what a peer says: one that refuses us may echo the URL that we dialled.

use std::sync::Arc;

use url::form_urlencoded;

use crate::net::config::Secret;

const MASK: &str = "***";
/// A shorter value of a query keeps nothing secret, and is part of many a word.
const SHORTEST: usize = 4;
/// Names of what is secret whoever it belongs to.
const NAMES: [&str; 2] = ["jwt=", "token="];

/// What must not be shown of one session. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Secrets(Arc<[Secret]>);

impl Secrets {
    /// The values of the query of what was dialled, as they stand there and decoded.
    pub fn of_target(target: &Secret) -> Self {
        let Some((_, query)) = target.0.split_once('?') else {
            return Self::default();
        };
        let mut values: Vec<String> = Vec::new();
        for pair in query.split('&') {
            values.extend(pair.split_once('=').map(|(_, value)| value.to_owned()));
            let decoded = form_urlencoded::parse(pair.as_bytes());
            values.extend(decoded.map(|(_, value)| value.into_owned()));
        }
        values.retain(|value| value.len() >= SHORTEST);
        // The longest first: one may be part of another.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values.dedup();
        Self(values.into_iter().map(Secret).collect())
    }

    /// The text without them, and without any other token that is named as one.
    pub fn scrub(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.0.iter() {
            text = text.replace(&secret.0, MASK);
        }
        NAMES
            .iter()
            .fold(text, |text, name| mask_value(&text, name))
    }
}

/// Masks whatever stands behind `name`, in upper or lower case.
fn mask_value(text: &str, name: &str) -> String {
    let ends = |c: char| c.is_whitespace() || "&#\"'<>(),;".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    // ASCII case keeps every position.
    while let Some(at) = rest.to_ascii_lowercase().find(name) {
        let (before, value) = rest.split_at(at + name.len());
        out.push_str(before);
        out.push_str(MASK);
        rest = &value[value.find(ends).unwrap_or(value.len())..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrub(target: &str, text: &str) -> String {
        Secrets::of_target(&Secret(target.into())).scrub(text)
    }

    #[test]
    fn what_was_dialled_is_masked_encoded_and_decoded() {
        let target = "/live?room=a&jwt=head.body%3D%3D.sign";
        for (text, want) in [
            ("bad head.body%3D%3D.sign", "bad ***"),
            ("bad head.body==.sign!", "bad ***!"),
            ("no room a", "no room a"),
            ("", ""),
        ] {
            assert_eq!(scrub(target, text), want);
        }
    }

    #[test]
    fn what_is_named_a_token_is_masked_whoever_it_belongs_to() {
        for (text, want) in [
            ("GET /p?jwt=abc&x=1 refused", "GET /p?jwt=***&x=1 refused"),
            ("JWT=abc, Token=def", "JWT=***, Token=***"),
            ("(token=) ü jwt=", "(token=***) ü jwt=***"),
            ("a token and a jwt", "a token and a jwt"),
        ] {
            assert_eq!(scrub("/p", text), want);
        }
    }
}
