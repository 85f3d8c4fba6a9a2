//! `loadBalancer: local`: haproxy's own reader takes the configuration.

use anyhow::{Context as _, Result, ensure};
use nodekiln::{
    config::{self, Arch},
    draft::Contents,
    node::{self, Sources},
};
use nodekiln_tests::tools::{Need, find, require};
use std::{path::Path, process::Command, sync::Arc};

const FILE: &str = "/etc/nodekiln/haproxy.cfg";

/// The configuration of every node of a case.
fn configurations(case: &str) -> Result<Vec<(String, String)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(case);
    let loaded = config::load(&folder.join("cluster.yaml")).map_err(|failure| anyhow::anyhow!("{failure:?}"))?;
    let firstboot: Arc<[u8]> = b"nodekiln-firstboot".as_slice().into();
    let sources = Sources::new([(Arch::Amd64, firstboot)].into());
    let mut found = Vec::new();
    for node in &loaded.cluster.nodes {
        let draft =
            node::plan(&loaded.cluster, node, &sources).map_err(|refusals| anyhow::anyhow!("refused: {refusals:?}"))?;
        let file = draft.all_files().into_iter().find(|file| file.path.as_str() == FILE);
        let file = file.with_context(|| format!("{} has no {FILE}", node.name))?;
        let Contents::Text(text) = &file.contents else { anyhow::bail!("{FILE} is no text") };
        found.push((node.name.to_string(), text.as_str().to_owned()));
    }
    Ok(found)
}

#[test]
fn haproxy_reads_its_configuration() -> Result<()> {
    let Some(cache) = require(&[Need::Program("haproxy")])? else { return Ok(()) };
    let program = find(&cache, "haproxy").context("haproxy was there a moment ago")?;
    let folder = tempfile::tempdir()?;
    let check = |text: &str| -> Result<(bool, String)> {
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, text)?;
        let output = Command::new(&program).arg("-c").arg("-f").arg(&file).output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    };
    let configurations = configurations("local")?;
    ensure!(configurations.len() == 4, "only {} nodes have a balancer", configurations.len());
    for (node, text) in configurations {
        let (sound, said) = check(&text)?;
        // A warning is a setting that does nothing.
        ensure!(sound && !said.contains("WARNING"), "{node}: {said}\n{text}");
        let servers = text.lines().filter(|line| line.trim_start().starts_with("server ")).count();
        ensure!(servers == 3, "{node} knows {servers} API servers");
        // The check can fail.
        let (sound, _) = check(&text.replace("check-ssl", "check-tls"))?;
        ensure!(!sound, "haproxy took a keyword that it does not have");
    }
    Ok(())
}
