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

/// Below the folder of a user's data, of which GStreamer has `gstreamer-1.0/plugins`.
const OF_USER: &str = "gst-plugin-moq/web";

/// The directory of the page; `None` if there is none. `plugin` is the file that the plugin was loaded from.
pub(super) fn built_in(plugin: Option<&Path>) -> Option<PathBuf> {
    find(env::var_os(VARIABLE).as_deref(), plugin)
}

fn find(variable: Option<&OsStr>, plugin: Option<&Path>) -> Option<PathBuf> {
    if let Some(named) = variable {
        return (!named.is_empty()).then(|| PathBuf::from(named));
    }
    let plugin = plugin?;
    let of_user = plugin
        .parent()
        .filter(|folder| folder.ends_with("gstreamer-1.0/plugins"))
        .and_then(|folder| folder.ancestors().nth(2))
        .map(|data| data.join(OF_USER));
    // PREFIX/lib/gstreamer-1.0/libgstmoq.so, with or without a folder for the architecture.
    let of_prefix = plugin.ancestors().skip(1);
    of_user
        .into_iter()
        .chain(of_prefix.map(|prefix| prefix.join(INSTALLED)))
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
    fn the_page_of_a_user_is_beside_their_plugins() {
        let data = tempfile::tempdir().unwrap();
        let page = data.path().join(OF_USER);
        std::fs::create_dir_all(&page).unwrap();
        std::fs::write(page.join("index.html"), "").unwrap();
        let plugin = data.path().join("gstreamer-1.0/plugins/libgstmoq.so");
        assert_eq!(find(None, Some(&plugin)), Some(page));
    }

    #[test]
    fn the_variable_overrides_the_installed_page() {
        let named = Some(OsStr::new("/named"));
        assert_eq!(find(named, None), Some(PathBuf::from("/named")));
        assert_eq!(find(Some(OsStr::new("")), None), None);
    }
}
