//! The tables "All properties" of docs/elements/ say what the elements say, and each property that can be set is shown in a
//! pipeline.
//!
//! With MOQ_WRITE_DOCS=1 they are written instead of compared.

mod common;
mod readme_support;

use std::{collections::HashSet, fmt::Write, fs, path::PathBuf};

use gst::{glib, prelude::*};
use readme_support::blocks::{Role, read_blocks};

const ELEMENTS: [&str; 3] = ["moqsink", "moqsrc", "relay-bridge"];
const BEGIN: &str =
    "<!-- Written by tests/element_docs.rs: MOQ_WRITE_DOCS=1 cargo test --test element_docs -->\n";
const END: &str = "<!-- end -->\n";

fn page(element: &str) -> PathBuf {
    let docs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/elements");
    docs.join(element).with_extension("md")
}

/// The properties that a type adds to those of GStreamer, by name. Templates without a type of their own have none.
fn properties(class: glib::Type) -> Vec<glib::ParamSpec> {
    let Some(class) = glib::object::ObjectClass::from_type(class) else {
        return Vec::new();
    };
    let mut specs: Vec<_> = class
        .list_properties()
        .iter()
        .filter(|spec| {
            let ours = spec.owner_type().name();
            ours.starts_with("GstMoq") || ours.starts_with("GstRelay")
        })
        .cloned()
        .collect();
    specs.sort_by(|a, b| a.name().cmp(b.name()));
    specs
}

/// What an element is made of: itself, and the pads that have properties.
fn classes(element: &str) -> Vec<(String, glib::Type)> {
    let element = gst::ElementFactory::make(element).build();
    let element = element.expect("our element");
    let mut found = vec![("Property".to_owned(), element.type_())];
    for template in element.pad_template_list() {
        let class: glib::Type = template.property("gtype");
        if found.iter().all(|(_, known)| *known != class) {
            found.push(("Pad property".to_owned(), class));
        }
    }
    found.retain(|(_, class)| !properties(*class).is_empty());
    found
}

fn value_type(spec: &glib::ParamSpec) -> String {
    if let Some(class) = glib::EnumClass::with_type(spec.value_type()) {
        let nicks: Vec<_> = class.values().iter().map(|value| value.nick()).collect();
        return format!("enum: {}", nicks.join(", "));
    }
    if let Some(class) = glib::FlagsClass::with_type(spec.value_type()) {
        let nicks: Vec<_> = class.values().iter().map(|value| value.nick()).collect();
        return format!("flags: {}", nicks.join(", "));
    }
    match spec.value_type().name() {
        "gchararray" => "string",
        "gboolean" => "boolean",
        "GstValueArray" => "array of strings",
        name => name,
    }
    .to_owned()
}

fn default(spec: &glib::ParamSpec) -> String {
    let value = spec.default_value();
    if !spec.flags().contains(glib::ParamFlags::WRITABLE)
        || value.type_() == gst::Array::static_type()
    {
        return "–".to_owned();
    }
    if let Some((_, value)) = glib::EnumValue::from_value(value) {
        return format!("`{}`", value.nick());
    }
    if let Some((_, values)) = glib::FlagsValue::from_value(value) {
        // As gst-launch-1.0 takes it.
        let nicks: Vec<_> = values.iter().map(|value| value.nick()).collect();
        return format!("`{}`", nicks.join("+"));
    }
    match value.get::<Option<String>>() {
        Ok(None) => "NULL".to_owned(),
        Ok(Some(text)) => format!("`{text}`"),
        Err(_) => {
            let text = value.transform::<String>().ok();
            let text = text.and_then(|text| text.get::<Option<String>>().ok().flatten());
            format!("`{}`", text.unwrap_or_default().to_lowercase())
        }
    }
}

fn access(spec: &glib::ParamSpec) -> &'static str {
    let flags = spec.flags();
    match (
        flags.contains(glib::ParamFlags::READABLE),
        flags.contains(glib::ParamFlags::WRITABLE),
    ) {
        (true, false) => "read",
        (false, _) => "write",
        (true, true) => "read, write",
    }
}

fn tables(element: &str) -> String {
    let mut text = String::new();
    for (title, class) in classes(element) {
        let _ = write!(
            text,
            "\n| {title} | Type | Default | Access | Meaning |\n|---|---|---|---|---|\n"
        );
        for spec in properties(class) {
            let meaning = spec
                .blurb()
                .unwrap_or_default()
                .replace('|', "\\|")
                .replace('*', "\\*");
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | {} |",
                spec.name(),
                value_type(&spec),
                default(&spec),
                access(&spec),
                meaning.replace('<', "&lt;")
            );
        }
    }
    text + "\n"
}

/// Lines that only one of two texts has.
fn difference(old: &str, new: &str) -> String {
    let (before, after): (HashSet<_>, HashSet<_>) = (old.lines().collect(), new.lines().collect());
    let gone = old.lines().filter(|line| !after.contains(line));
    let come = new.lines().filter(|line| !before.contains(line));
    let lines = gone.map(|line| format!("- {line}\n"));
    lines
        .chain(come.map(|line| format!("+ {line}\n")))
        .collect()
}

#[test]
fn the_tables_of_the_pages_are_the_properties_of_the_elements() {
    common::init();
    let mut differences = String::new();
    for element in ELEMENTS {
        let path = page(element);
        let text = fs::read_to_string(&path).expect("a page");
        let (head, rest) = text.split_once(BEGIN).expect("the mark before the tables");
        let (written, tail) = rest.split_once(END).expect("the mark behind the tables");
        let tables = tables(element);
        if std::env::var_os("MOQ_WRITE_DOCS").is_some() {
            fs::write(&path, format!("{head}{BEGIN}{tables}{END}{tail}")).expect("written");
        } else if written != tables {
            let _ = write!(
                differences,
                "{}:\n{}",
                path.display(),
                difference(written, &tables)
            );
        }
    }
    assert!(
        differences.is_empty(),
        "the pages are not what the elements are (MOQ_WRITE_DOCS=1 writes them):\n{differences}"
    );
}

/// First cells of the tables that people write: `| Property | …` and `| Pad property | …`.
fn documented(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("| Property |") || line.starts_with("| Pad property |") {
            inside = true;
        } else if !line.starts_with('|') {
            inside = false;
        } else if inside {
            let cell = line.split('|').nth(1).unwrap_or_default();
            names.extend(cell.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    names
}

#[test]
fn what_the_pages_call_a_property_is_one() {
    if std::env::var_os("MOQ_WRITE_DOCS").is_some() {
        // They are being written.
        return;
    }
    common::init();
    for element in ELEMENTS {
        let known: HashSet<String> = classes(element)
            .into_iter()
            .flat_map(|(_, class)| properties(class))
            .map(|spec| spec.name().to_owned())
            .collect();
        let text = fs::read_to_string(page(element)).expect("a page");
        let names = documented(&text);
        assert!(!names.is_empty(), "{element}");
        for name in names {
            assert!(known.contains(&name), "{element} has no property '{name}'");
        }
    }
}

/// The words `name=` and `pad::name=` of the pipelines of a page that tests/readme.rs runs.
fn set_in_pipelines(path: &std::path::Path) -> HashSet<String> {
    let blocks = read_blocks(path);
    let run = |role: Role| !matches!(role, Role::NotRun | Role::Prepare);
    let commands = blocks.iter().filter(|block| run(block.role));
    commands
        .flat_map(|block| block.command.split_whitespace())
        .filter_map(|word| word.split_once('='))
        .map(|(name, _)| name.rsplit(':').next().unwrap_or(name).to_owned())
        .collect()
}

#[test]
fn every_property_that_can_be_set_is_in_a_pipeline_that_the_tests_run() {
    common::init();
    let shared = set_in_pipelines(&page("connection"));
    for element in ELEMENTS {
        let own = set_in_pipelines(&page(element));
        for (_, class) in classes(element) {
            for spec in properties(class) {
                let name = spec.name();
                let shown = own.contains(name) || shared.contains(name);
                let writable = spec.flags().contains(glib::ParamFlags::WRITABLE);
                assert!(shown || !writable, "no pipeline of {element} sets {name}");
            }
        }
    }
}
