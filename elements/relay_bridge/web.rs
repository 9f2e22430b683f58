//! Where the player page is that is installed with the plugin.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// Names the directory of the page, before any other place is looked at; empty = no page.
const VARIABLE: &str = "GST_MOQ_WEB_ROOT";

/// Below the prefix that the plugin is installed in.
const INSTALLED: &str = "share/gst-plugin-moq/web";

/// The directory of the page; `None` if there is none. `plugin` is the file that the plugin was loaded from.
pub(super) fn built_in(plugin: Option<&Path>) -> Option<PathBuf> {
    find(env::var_os(VARIABLE).as_deref(), plugin)
}

fn find(variable: Option<&OsStr>, plugin: Option<&Path>) -> Option<PathBuf> {
    if let Some(named) = variable {
        return (!named.is_empty()).then(|| PathBuf::from(named));
    }
    // PREFIX/lib/gstreamer-1.0/libgstmoq.so, with or without a folder for the architecture.
    plugin?
        .ancestors()
        .skip(1)
        .map(|prefix| prefix.join(INSTALLED))
        .find(|page| page.join("index.html").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_found_below_the_prefix_of_the_plugin() {
        let prefix = tempfile::tempdir().unwrap();
        let page = prefix.path().join(INSTALLED);
        let plugin = prefix
            .path()
            .join("lib/x86_64-linux-gnu/gstreamer-1.0/libgstmoq.so");
        assert_eq!(find(None, Some(&plugin)), None);
        std::fs::create_dir_all(&page).unwrap();
        assert_eq!(find(None, Some(&plugin)), None, "a folder without a page");
        std::fs::write(page.join("index.html"), "").unwrap();
        assert_eq!(find(None, Some(&plugin)), Some(page));
        assert_eq!(find(None, None), None, "linked statically");
    }

    #[test]
    fn the_variable_overrides_the_installed_page() {
        let named = Some(OsStr::new("/named"));
        assert_eq!(find(named, None), Some(PathBuf::from("/named")));
        assert_eq!(find(Some(OsStr::new("")), None), None);
    }
}
