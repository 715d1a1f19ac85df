//! Finds the rules in the published package `ua-parser`.

use std::error::Error;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde::Deserialize;

/// A package that depends on `ua-parser` alone. Its version is the workspace's, by the lock file.
const PROBE: &str = r#"
[package]
name = "locate-ua-parser"
edition = "2024"

[lib]
path = "lib.rs"

[dependencies]
ua-parser = "*"

[workspace]
"#;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

/// Returns the folder `uap-core` of the package `ua-parser`, which holds the rules and their tests.
///
/// Cargo has no direct way to ask for a dependency's folder, only `cargo metadata`. That wants every
/// package of a workspace to be downloaded, those that this build does not need too. So the question
/// is asked about a package that needs nothing but `ua-parser`, a dependency of this script. Its
/// packages are therefore there, vendored or in the registry's cache, and no network is needed.
pub(crate) fn uap_core(out: &OsStr) -> Result<PathBuf, Box<dyn Error>> {
    let cargo = env::var_os("CARGO").ok_or("CARGO is not set")?;
    let host = env::var_os("HOST").ok_or("HOST is not set")?;
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("no CARGO_MANIFEST_DIR")?);
    let lock_file = here.ancestors().map(|folder| folder.join("Cargo.lock")).find(|it| it.exists());

    let probe = Path::new(out).join("locate");
    fs::create_dir_all(&probe)?;
    fs::write(probe.join("Cargo.toml"), PROBE)?;
    fs::write(probe.join("lib.rs"), "")?;
    fs::copy(lock_file.ok_or("no Cargo.lock")?, probe.join("Cargo.lock"))?;

    // Cargo's configuration, which may replace the registry by vendored packages, is that of the
    // working directory: this package's.
    let output = Command::new(cargo)
        .current_dir(&here)
        .args(["metadata", "--format-version=1", "--offline", "--filter-platform"])
        .arg(host)
        .arg("--manifest-path")
        .arg(probe.join("Cargo.toml"))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let package = metadata.packages.into_iter().find(|package| package.name == "ua-parser");
    let manifest = package.ok_or("cargo metadata names no package ua-parser")?.manifest_path;
    Ok(manifest.with_file_name("uap-core"))
}
