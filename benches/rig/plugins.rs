//! The plugins that are measured in turn.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Result;

/// A plugin's file, in a folder and with a registry of its own, so that no other of its name is found.
pub struct Plugin {
    pub name: String,
    pub folder: PathBuf,
    pub registry: PathBuf,
}

/// Those named as NAME=FILE; ours first, as built with this program unless it is named. `folder` keeps them.
pub fn plugins(named: &[String], folder: &Path) -> Result<Vec<Plugin>> {
    let mut files = Vec::new();
    for plugin in named {
        let (name, file) = plugin
            .split_once('=')
            .ok_or_else(|| format!("--plugin {plugin}: write NAME=FILE"))?;
        files.push((name.to_owned(), PathBuf::from(file)));
    }
    if !files.iter().any(|(name, _)| name == "ours") {
        files.insert(0, ("ours".to_owned(), own_plugin()?));
    }
    files
        .into_iter()
        .enumerate()
        .map(|(index, (name, file))| {
            let own = folder.join(format!("plugin-{index}"));
            fs::create_dir(&own)?;
            fs::copy(&file, own.join("libgstmoq.so"))
                .map_err(|err| format!("{}: {err}", file.display()))?;
            Ok(Plugin {
                name,
                folder: own,
                registry: folder.join(format!("registry-{index}.bin")),
            })
        })
        .collect()
}

/// Cargo puts the library that it built for this program beside it.
fn own_plugin() -> Result<PathBuf> {
    let file = std::env::current_exe()?.with_file_name("libgstmoq.so");
    if !file.exists() {
        return Err(format!("{} is missing: name it with --plugin", file.display()).into());
    }
    Ok(file)
}
