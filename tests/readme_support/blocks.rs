//! The commands of a page, and what has to run beside each.

use std::{
    fs,
    path::{Path, PathBuf},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Alone,
    Relay,
    Publish,
    Play,
    Prepare,
    NotRun,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Line of the opening fence, from 1.
    pub line: usize,
    pub role: Role,
    pub command: String,
}

/// The blocks of a Markdown text that are gst-launch-1.0 commands.
pub fn blocks(markdown: &str) -> Result<Vec<Block>, String> {
    let mut found = Vec::new();
    let mut lines = markdown.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else {
            continue;
        };
        let body: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| line.trim() != "```")
            .collect();
        let body: Vec<&str> = body
            .into_iter()
            .skip_while(|line| line.starts_with('#'))
            .collect();
        let mut words = info.split_whitespace();
        let (language, word) = (words.next(), words.next());
        let is_pipeline = body
            .first()
            .is_some_and(|line| line.starts_with("gst-launch-1.0"));
        if language == Some("text") || !(is_pipeline || word == Some("prepare")) {
            continue;
        }
        let at = |what: &str| format!("line {}: {what}", index + 1);
        if language != Some("sh") {
            return Err(at(
                "a pipeline is fenced as sh, so that it is tested, or as text",
            ));
        }
        let role = match word {
            None => Role::Alone,
            Some("relay") => Role::Relay,
            Some("publish") => Role::Publish,
            Some("play") => Role::Play,
            Some("prepare") => Role::Prepare,
            Some("not-run") => Role::NotRun,
            Some(other) => return Err(at(&format!("unknown role '{other}' of a block"))),
        };
        let is_one = body.iter().rev().skip(1).all(|line| line.ends_with('\\'));
        if !is_one && role != Role::Prepare {
            return Err(at("more than one command in a block"));
        }
        found.push(Block {
            line: index + 1,
            role,
            command: body.join("\n"),
        });
    }
    Ok(found)
}

/// What has to run beside `blocks[index]`, in the order of starting; `elsewhere` are the blocks of README.md.
pub fn beside<'a>(
    blocks: &'a [Block],
    index: usize,
    elsewhere: &'a [Block],
) -> Result<Vec<&'a Block>, String> {
    let needs: &[Role] = match blocks[index].role {
        Role::Publish => &[Role::Relay],
        Role::Play => &[Role::Relay, Role::Publish],
        Role::Alone | Role::Relay | Role::Prepare | Role::NotRun => &[],
    };
    needs
        .iter()
        .map(|role| {
            let above = blocks[..index].iter().rfind(|block| block.role == *role);
            above
                .or_else(|| elsewhere.iter().find(|block| block.role == *role))
                .ok_or_else(|| format!("line {}: no {role:?} block above it", blocks[index].line))
        })
        .collect()
}

pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn read_blocks(path: &Path) -> Vec<Block> {
    let text = fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    blocks(&text).unwrap_or_else(|err| panic!("{}, {err}", path.display()))
}

/// The Markdown files of a folder and those below it, in order.
pub fn markdown_files(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|err| panic!("{}: {err}", folder.display()))
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    entries.sort();
    entries
        .into_iter()
        .flat_map(|path| match path.is_dir() {
            true => markdown_files(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}
