//! The clusters whose files are shown to their readers: the embedded examples, and the cases of the goldens.

use crate::made::{Made, load};
use anyhow::{Context as _, Result};
use nodekiln::config::examples;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A cluster that can be built.
pub struct Cluster {
    /// What it is called.
    pub name: String,
    /// It.
    pub made: Made,
}

/// All of them, but for the cases that are there to be refused.
pub fn all() -> Result<Vec<Cluster>> {
    let mut all = Vec::new();
    for example in examples::ALL {
        all.push(Cluster { name: format!("example {}", example.name), made: Made::of(example.text, None)? });
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut cases: Vec<PathBuf> =
        fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>().context("listing cases")?;
    cases.sort();
    for case in cases {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A case that plans is one whose drafts are committed.
        if !case.join("plans").is_dir() || examples::ALL.iter().any(|example| example.name == name) {
            continue;
        }
        let text = fs::read_to_string(case.join("cluster.yaml")).with_context(|| format!("reading the case {name}"))?;
        load(&text, Some(&case)).with_context(|| format!("loading the case {name}"))?;
        all.push(Cluster { made: Made::of(&text, Some(&case))?, name });
    }
    Ok(all)
}
