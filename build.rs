fn main() {
    gst_plugin_version_helper::info();
    // The version names the commit. Without these lines every file of the package counts, the documentation included, and a
    // change in any of them builds all again.
    for file in ["build.rs", "Cargo.toml", ".git/HEAD", ".git/logs/HEAD"] {
        println!("cargo:rerun-if-changed={file}");
    }
}
