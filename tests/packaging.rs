//! The plugin and the page as packagers (meson.build) and users (scripts/install) install them, loaded from there and nowhere else.
//!
//! What is installed is what was built with these tests: nothing is built twice.

mod common;

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use common::launch::our_plugin;

const PAGE: &str = "<!doctype html><title>installed</title>";

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `TARGET/PROFILE/deps/test` is what runs.
fn target_dir() -> PathBuf {
    let test = std::env::current_exe().expect("path of the test");
    test.ancestors().nth(3).expect("cargo's folders").to_owned()
}

/// Without what the test runner says to cargo: that would make it build again.
fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let cargos = text.starts_with("CARGO") && text != "CARGO_HOME";
        if cargos || text.starts_with("NEXTEST") || text.starts_with("GST_") || text == "G_DEBUG" {
            command.env_remove(&name);
        }
    }
    command
        .env("CARGO_TARGET_DIR", target_dir())
        .current_dir(project())
        .stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|err| panic!("{command:?}: {err}: run scripts/setup --tests"));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

/// GStreamer with the plugins of one folder and no other.
fn gstreamer(program: &str, plugins: &Path, registry: &Path) -> Command {
    let mut command = command(program);
    command
        .env("GST_PLUGIN_PATH", plugins)
        .env("GST_PLUGIN_SYSTEM_PATH", "")
        .env("GST_REGISTRY", registry.join("registry.bin"));
    command
}

/// The elements are those of this file, and a relay serves this page without being told where it is.
fn assert_works(plugins: &Path, page: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    for element in ["moqsink", "moqsrc", "relay-bridge"] {
        let text = run(gstreamer("gst-inspect-1.0", plugins, folder.path()).arg(element));
        let file = plugins.join("libgstmoq.so");
        assert!(text.contains(&*file.to_string_lossy()), "{element}: {text}");
    }
    let mut relay = gstreamer("gst-launch-1.0", plugins, folder.path())
        .args(["-m", "relay-bridge", "listen=127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("gst-launch-1.0");
    // Held open: it goes on writing.
    let output = BufReader::new(relay.stdout.take().expect("piped"));
    let mut lines = output.lines().map_while(Result::ok);
    let port = lines.find_map(|line| {
        let (_, rest) = line.split_once("http://127.0.0.1:")?;
        rest.split('/').next().map(str::to_owned)
    });
    let answer = port.map(|port| {
        let mut tcp = TcpStream::connect(format!("127.0.0.1:{port}")).expect("it listens");
        let lines = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        tcp.write_all(lines.as_bytes()).expect("sent");
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).expect("an answer");
        answer
    });
    let _ = relay.kill();
    let _ = relay.wait();
    let answer = answer.expect("the relay says where it listens");
    assert!(answer.contains(page), "{answer}");
}

/// A page that was built elsewhere.
fn page(folder: &Path) -> PathBuf {
    let page = folder.join("page");
    fs::create_dir_all(page.join("assets")).expect("a folder");
    fs::write(page.join("index.html"), PAGE).expect("written");
    fs::write(page.join("assets/app.js"), "export {}").expect("written");
    page
}

#[test]
fn meson_installs_a_plugin_and_a_page_that_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let (build, root) = (folder.path().join("build"), folder.path().join("root"));
    let page = page(folder.path());
    let kind = if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    };
    let meson = |arguments: &[&str]| {
        let mut command = command("meson");
        command.args(arguments).env("DESTDIR", &root);
        run(&mut command)
    };
    let build = build.to_str().expect("UTF-8");
    meson(&[
        "setup",
        build,
        "--prefix=/usr",
        "--libdir=lib/multiarch",
        &format!("--buildtype={kind}"),
        "-Dtests=true",
        &format!("-Dweb-player-dir={}", page.display()),
    ]);
    meson(&["compile", "-C", build]);
    // Nothing has changed, so nothing is built.
    let again = run(command("ninja").args(["-C", build]));
    assert!(again.contains("no work to do"), "{again}");
    meson(&["install", "-C", build]);

    let prefix = root.join("usr");
    for file in [
        "bin/moq-netsim",
        "lib/multiarch/gstreamer-1.0/libgstmoq.so",
        "share/gst-plugin-moq/web/index.html",
        "share/gst-plugin-moq/web/assets/app.js",
    ] {
        assert!(prefix.join(file).is_file(), "{file}");
    }
    run(command(prefix.join("bin/moq-netsim")).arg("--version"));
    assert_works(&prefix.join("lib/multiarch/gstreamer-1.0"), PAGE);
}

#[test]
fn what_is_installed_for_a_user_or_in_a_prefix_works() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = page(folder.path());
    let install = |arguments: &[&OsStr]| {
        let mut command = command("scripts/install");
        command
            .args(arguments)
            .env("XDG_DATA_HOME", folder.path().join("user"))
            .env("MOQ_INSTALL_PLUGIN", our_plugin())
            .env("MOQ_INSTALL_PAGE", &page);
        run(&mut command)
    };
    install(&[]);
    assert_works(&folder.path().join("user/gstreamer-1.0/plugins"), PAGE);

    let prefix = folder.path().join("prefix");
    let plugins = prefix.join("lib/gstreamer-1.0");
    let text = install(&["--prefix".as_ref(), prefix.as_ref()]);
    let hint = format!("GST_PLUGIN_PATH={}", plugins.display());
    assert!(text.contains(&hint), "{text}");
    assert_works(&plugins, PAGE);

    // Over one that is there, and without a page.
    install(&["--prefix".as_ref(), prefix.as_ref(), "--no-page".as_ref()]);
    assert_works(&plugins, PAGE);
}

#[test]
fn meson_has_the_version_of_cargo() {
    let text = fs::read_to_string(project().join("meson.build")).expect("meson.build");
    let version = format!("version: '{}',", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&version), "{version} in {text}");
}
