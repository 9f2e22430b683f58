//! What can be wrong with a catalog, whatever its wire form.

/// Largest catalog that is read, in bytes of JSON.
pub const MAX_JSON_LEN: usize = 1 << 20;

/// A catalog that cannot be read at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    #[error("catalog is larger than {MAX_JSON_LEN} bytes")]
    TooLarge,
    /// Not JSON, or nested too deeply; says where.
    #[error("catalog is not JSON: {0}")]
    Json(String),
    /// JSON, but not of the shape of a catalog; names the part.
    #[error("catalog is malformed: {0} is missing or of another type")]
    Shape(&'static str),
    #[error("catalog lists {0} renditions, more than {max}", max = super::MAX_RENDITIONS)]
    TooManyRenditions(usize),
    /// A merge patch whose group did not begin with a readable snapshot, or that does not follow its predecessor. The
    /// next group mends it.
    #[error("frame {0} of the catalog's group has no predecessor")]
    MissingFrame(u64),
    /// Of a compressed track.
    #[error("catalog is not a DEFLATE stream")]
    Deflate,
}

/// A rendition that was left out of a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Name of its track.
    pub track: String,
    /// Why, for a log.
    pub reason: String,
}

/// serde_json refuses nesting beyond 128 levels, so nothing that recurses over the value can exhaust the stack.
pub(super) fn value(json: &[u8]) -> Result<serde_json::Value, CatalogError> {
    if json.len() > MAX_JSON_LEN {
        return Err(CatalogError::TooLarge);
    }
    serde_json::from_slice(json).map_err(|error| CatalogError::Json(error.to_string()))
}

/// Updates can make a catalog grow: checks that the compact JSON of `value` has at most `limit` bytes. Counting stops there.
pub(super) fn check_size(value: &serde_json::Value, limit: usize) -> Result<(), CatalogError> {
    struct Budget(usize);

    impl std::io::Write for Budget {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(bytes.len())
                .ok_or(std::io::ErrorKind::FileTooLarge)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    serde_json::to_writer(Budget(limit), value).map_err(|_| CatalogError::TooLarge)
}
