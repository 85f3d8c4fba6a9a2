//! Goldens: `cases/NAME/cluster.yaml` against the drafts of its nodes (`plans/`, no key in them) and what is said about
//! it (`stderr.txt`). `NODEKILN_BLESS=1` writes them anew; the diff is reviewed like code.

use anyhow::{Context as _, Result, ensure};
use nodekiln::{
    config::{self, Arch, Colors},
    draft,
    node::{self, Sources},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// What a case gives: files by name relative to its folder.
fn render(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let said = match config::load(&folder.join("cluster.yaml")) {
        Err(config::Failure::Findings(findings)) => findings.render(Colors::Off),
        Err(failure) => return Err(failure.into()),
        Ok(loaded) => {
            // Not the real binary: it changes with every compiler.
            let firstboot: Arc<[u8]> = b"nodekiln-firstboot of the goldens".as_slice().into();
            let sources = Sources::new([(Arch::Amd64, firstboot.clone()), (Arch::Arm64, firstboot)].into());
            let mut said = loaded.warnings.render(Colors::Off);
            for node in loaded.cluster.payloads() {
                match node::plan(&loaded.cluster, node, &sources) {
                    Ok(draft) => {
                        files.insert(format!("plans/{}.txt", node.name), draft::render(&draft));
                    }
                    Err(refusals) => {
                        for refusal in refusals {
                            said.push_str(&format!("error: {refusal}\n"));
                        }
                    }
                }
            }
            said
        }
    };
    // Findings name the file as it was given: the folder is this machine's affair.
    let said = said.replace(&format!("{}/", folder.display()), "");
    files.insert("stderr.txt".to_owned(), said);
    Ok(files)
}

fn committed(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut take = |name: String| -> Result<()> {
        let path = folder.join(&name);
        if path.is_file() {
            files.insert(name, fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?);
        }
        Ok(())
    };
    take("stderr.txt".to_owned())?;
    if let Ok(entries) = fs::read_dir(folder.join("plans")) {
        for entry in entries {
            take(format!("plans/{}", entry?.file_name().to_string_lossy()))?;
        }
    }
    Ok(files)
}

#[test]
fn cases_are_as_committed() -> Result<()> {
    let mut folders: Vec<_> = fs::read_dir(cases())?.collect::<Result<Vec<_>, _>>()?.iter().map(|e| e.path()).collect();
    folders.sort();
    ensure!(folders.len() >= 5, "only {} cases found", folders.len());
    let bless = std::env::var_os("NODEKILN_BLESS").is_some();
    let mut wrong = Vec::new();
    for folder in folders {
        let made = render(&folder).with_context(|| folder.display().to_string())?;
        if bless {
            let _ = fs::remove_dir_all(folder.join("plans"));
            for (name, text) in &made {
                let path = folder.join(name);
                fs::create_dir_all(path.parent().context("a file lies in a folder")?)?;
                fs::write(path, text)?;
            }
            continue;
        }
        let expected = committed(&folder)?;
        let names: BTreeSet<_> = made.keys().chain(expected.keys()).collect();
        for name in names {
            if made.get(name) != expected.get(name) {
                wrong.push(difference(&folder.join(name), expected.get(name), made.get(name)));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}\nNODEKILN_BLESS=1 writes them anew", wrong.join("\n"));
    Ok(())
}

/// The first line that differs.
fn difference(path: &Path, expected: Option<&String>, made: Option<&String>) -> String {
    let (Some(expected), Some(made)) = (expected, made) else {
        return format!("{}: {}", path.display(), if made.is_some() { "is not committed" } else { "is not made" });
    };
    let (mut left, mut right) = (expected.lines(), made.lines());
    for number in 1.. {
        let (left, right) = (left.next(), right.next());
        if left != right || left.is_none() {
            return format!("{}:{number}:\n  committed {left:?}\n  made      {right:?}", path.display());
        }
    }
    String::new()
}
