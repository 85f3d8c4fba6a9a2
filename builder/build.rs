//! Embeds `nodekiln-firstboot` into the builder.
//!
//! Only a release build with the feature `embed` does so: it runs cargo once more for the node's binary, static, for the
//! host's architecture, in a target folder of its own (the outer one is locked). Check, clippy, tests and editors never
//! wait for it. `NODEKILN_FIRSTBOOT=FILE` takes a prebuilt binary instead.

use sha2::Digest as _;
use std::{
    env, fs,
    hash::{DefaultHasher, Hasher as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

fn main() -> ExitCode {
    println!("cargo::rerun-if-env-changed=NODEKILN_FIRSTBOOT");
    match sources().and_then(|()| embed()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("cargo::error={why}");
            ExitCode::FAILURE
        }
    }
}

/// Tells the builder a digest of its own sources: two versions of it may bear one number, and what one of them made is
/// not the other's. It keys a cache, so that 64 bits do.
fn sources() -> Result<(), String> {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = manifest_dir.parent().ok_or("the builder's folder has no parent")?;
    let mut files = Vec::new();
    for part in ["Cargo.lock", "builder/src", "builder/build.rs", "images"] {
        let path = root.join(part);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
            list(&path, &mut files)?;
        }
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        let bytes = fs::read(&file).map_err(|e| format!("reading {}: {e}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file).as_os_str().as_encoded_bytes();
        for part in [name, &bytes] {
            hasher.write_u64(part.len() as u64);
            hasher.write(part);
        }
    }
    println!("cargo::rustc-env=NODEKILN_SOURCES={:016x}", hasher.finish());
    Ok(())
}

/// All files at and below `path`.
fn list(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let failed = |e: std::io::Error| format!("reading {}: {e}", path.display());
    for entry in fs::read_dir(path).map_err(failed)? {
        list(&entry.map_err(failed)?.path(), files)?;
    }
    Ok(())
}

fn embed() -> Result<(), String> {
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let binary = match env::var_os("NODEKILN_FIRSTBOOT") {
        Some(path) => Some(PathBuf::from(path)),
        None if env::var_os("CARGO_FEATURE_EMBED").is_some() && variable("PROFILE")? == "release" => {
            Some(build(&out_dir)?)
        }
        None => None,
    };
    let constant = match binary {
        None => "None".to_owned(),
        Some(path) => {
            println!("cargo::rerun-if-changed={}", path.display());
            let copy = out_dir.join("nodekiln-firstboot");
            fs::copy(&path, &copy).map_err(|e| format!("copying {}: {e}", path.display()))?;
            let bytes = fs::read(&copy).map_err(|e| format!("reading {}: {e}", copy.display()))?;
            let digest: [u8; 32] = sha2::Sha256::digest(bytes).into();
            format!("Some((include_bytes!({:?}), {digest:?}))", copy.display().to_string())
        }
    };
    let source = format!(
        "/// The node's binary for the builder's own architecture, and its SHA-256.\n\
         pub static FIRSTBOOT: Option<(&[u8], [u8; 32])> = {constant};\n"
    );
    fs::write(out_dir.join("embedded.rs"), source).map_err(|e| format!("writing embedded.rs: {e}"))
}

/// Runs cargo for the node's binary and tells where it is.
fn build(out_dir: &Path) -> Result<PathBuf, String> {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = manifest_dir.parent().ok_or("the builder's folder has no parent")?;
    for part in [".cargo/config.toml", "Cargo.lock", "Cargo.toml", "firstboot", "images/plan", "images/fs"] {
        // A file that is missing would make cargo run this at every build.
        if !root.join(part).exists() {
            continue;
        }
        println!("cargo::rerun-if-changed={}", root.join(part).display());
    }
    let architecture = match variable("HOST")?.split('-').next() {
        Some("x86_64") => "x86_64",
        Some("aarch64") => "aarch64",
        _ => return Err("this host's architecture runs no node: build with --no-default-features".to_owned()),
    };
    let target = format!("{architecture}-unknown-linux-musl");
    require_target(&target)?;
    // <target>/release/build/nodekiln-HASH/out
    let target_dir = out_dir.ancestors().nth(4).ok_or("OUT_DIR is not where cargo puts it")?.join("node");

    let mut command = Command::new(variable("CARGO")?);
    command
        .args(["build", "--package", "nodekiln-firstboot", "--profile", "node", "--locked", "--quiet"])
        .args(["--target", &target])
        .arg("--target-dir")
        .arg(&target_dir)
        .current_dir(root);
    for (name, _) in env::vars_os() {
        if name.to_str().is_none_or(is_outer) {
            command.env_remove(&name);
        }
    }
    // Alone, so that nothing of the outer build's flags reaches the node, and no path of this machine does.
    let cargo_home = env::var("CARGO_HOME").or_else(|_| env::var("HOME").map(|home| format!("{home}/.cargo")));
    let mut flags = vec![format!("--remap-path-prefix={}=/nodekiln", root.display())];
    if let Ok(home) = cargo_home {
        flags.push(format!("--remap-path-prefix={home}=/cargo"));
    }
    // ring compiles C: plain gcc does. .cargo/config.toml says so too, where cargo reads it.
    let compiler = format!("CC_{}", target.replace('-', "_"));
    command.env(&compiler, env::var_os(&compiler).unwrap_or_else(|| "gcc".into()));
    println!("cargo::rerun-if-env-changed={compiler}");
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    let status = command.status().map_err(|e| format!("running cargo for nodekiln-firstboot: {e}"))?;
    if !status.success() {
        return Err("building nodekiln-firstboot failed, see above".to_owned());
    }
    Ok(target_dir.join(&target).join("node/nodekiln-firstboot"))
}

/// Whether a variable belongs to the outer build and would change the inner one.
fn is_outer(name: &str) -> bool {
    const KEPT: [&str; 4] = ["CARGO_HOME", "CARGO_NET_", "CARGO_HTTP_", "CARGO_REGISTR"];
    // The crate `cc` reads HOST_CFLAGS and TARGET_CFLAGS too.
    #[rustfmt::skip]
    const CLEARED: [&str; 12] = [
        "CARGO", "RUSTC", "RUSTFLAGS", "RUSTDOC", "DEP_", "CFLAGS", "CC_", "AR_", "CXX", "HOST_", "TARGET_", "SOURCE_DATE_EPOCH",
    ];
    const EXACT: [&str; 9] = ["TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG", "NUM_JOBS", "OUT_DIR", "CC", "AR"];
    !KEPT.iter().any(|kept| name.starts_with(kept))
        && (CLEARED.iter().any(|prefix| name.starts_with(prefix)) || EXACT.contains(&name))
}

/// One clear line where the standard library for `target` is missing.
fn require_target(target: &str) -> Result<(), String> {
    let rustc = variable("RUSTC")?;
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .map_err(|e| format!("running {rustc}: {e}"))?;
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && Path::new(&folder).is_dir() {
        return Ok(());
    }
    Err(format!(
        "the standard library for {target} is missing: run `rustup target add {target}`, or give a binary in NODEKILN_FIRSTBOOT"
    ))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("{name} is not set: this is cargo's build script"))
}
