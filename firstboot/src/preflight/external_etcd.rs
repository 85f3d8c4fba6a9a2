//! kubeadm's `ExternalEtcdVersion`: whether an etcd that somebody else runs is new enough for the API server.

use super::{Finding, judge};
use crate::{
    host::{HttpRequest, HttpResponse},
    stage::Context,
    tls,
};
use anyhow::Context as _;
use nodekiln_plan::{AbsPath, EtcdServer, ExternalEtcdPlan};
use rustls::ClientConfig;
use std::{sync::Arc, time::Duration};

const NAME: &str = "ExternalEtcdVersion";
/// kubeadm's `MinExternalEtcdVersion` (3.5.24-0, in the newest patches of all releases from 1.33 on).
const OLDEST: [u64; 3] = [3, 5, 24];
/// kubeadm's `externalEtcdRequestRetries`, `-Interval` and `-Timeout`.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks every server.
///
/// # Errors
/// One is too old, or does not say its version, unless ignored.
pub(super) async fn version(c: &Context<'_>) -> anyhow::Result<()> {
    let Some(plan) = &c.plan.class.preflight.external_etcd else { return Ok(()) };
    // A file that is not there has its own check, and got here by being ignored.
    let files = [&plan.ca, &plan.cert, &plan.key];
    if files.into_iter().flatten().any(|path| matches!(c.host.stat(path.as_path()), Ok(None))) {
        return Ok(());
    }
    let hint = "check `etcd.external` in cluster.yaml and the etcd that it names";
    let mut found = Vec::new();
    match config(c, plan) {
        Err(e) => found.push(Finding::error(NAME, format!("{e:#}"), hint)),
        Ok(tls) => {
            for server in &plan.servers {
                if let Err(why) = look(c, server, &tls).await {
                    found.push(Finding::error(NAME, format!("etcd at {}: {why}", server.endpoint), hint));
                }
            }
        }
    }
    judge(c, found)
}

/// How servers are verified; `None` without a CA, when none speaks TLS by files of ours.
fn config(c: &Context<'_>, plan: &ExternalEtcdPlan) -> anyhow::Result<Option<Arc<ClientConfig>>> {
    let read = |path: &AbsPath| {
        c.host.read(path.as_path()).map(zeroize::Zeroizing::new).with_context(|| format!("reading {path}"))
    };
    let Some(ca) = &plan.ca else { return Ok(None) };
    let identity = match (&plan.cert, &plan.key) {
        (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
        _ => None,
    };
    let identity = identity.as_ref().map(|(cert, key)| (cert.as_slice(), key.as_slice()));
    Ok(Some(tls::client(&read(ca)?, identity).with_context(|| format!("using {ca}"))?))
}

/// Why a server will not do.
async fn look(c: &Context<'_>, server: &EtcdServer, tls: &Option<Arc<ClientConfig>>) -> Result<(), String> {
    let tls = match (server.tls, tls) {
        (false, _) => None,
        (true, Some(tls)) => Some(Arc::clone(tls)),
        // kubeadm verifies by the machine's own CAs then; firstboot has none.
        (true, None) => {
            c.warn(format!("etcd at {} is not asked for its version: no `caFile` to know it by", server.endpoint));
            return Ok(());
        }
    };
    let request = HttpRequest::get(server.endpoint.clone(), "/version", tls, PATIENCE);
    let mut tries = 0;
    let answer = loop {
        tries += 1;
        let why = match c.host.http(&request).await {
            Ok(answer) if answer.status == 200 => break answer,
            Ok(answer) => format!("answers with status {}", answer.status),
            Err(e) => e.to_string(),
        };
        if tries == TRIES {
            return Err(why);
        }
        c.status.waiting(&format!("etcd at {}", server.endpoint), &why);
        c.host.sleep(PAUSE).await;
    };
    c.status.arrived();
    judge_version(&answer)
}

fn judge_version(answer: &HttpResponse) -> Result<(), String> {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).map_err(|_| "does not say its version")?;
    let text = body["etcdserver"].as_str().ok_or("does not say its version")?;
    // Of `3.6.0-rc.3` the number is what counts, as 3.5.24-0 is kubeadm's least.
    let number = text.split(['-', '+']).next().unwrap_or_default();
    let parts: Option<Vec<u64>> = number.split('.').map(|part| part.parse().ok()).collect();
    match parts.as_deref().map(<[u64; 3]>::try_from) {
        Some(Ok(version)) if version >= OLDEST => Ok(()),
        Some(Ok(_)) => Err(format!("is {text}, the API server needs 3.5.24 or newer")),
        _ => Err(format!("says {text:?} for a version")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exit,
        host::{HttpError, fake::Fake},
        testing::{etcd_node, pki, stage},
    };
    use nodekiln_plan::NodePlan;
    use std::{cell::Cell, io, rc::Rc};

    fn node(servers: &[(&str, bool)]) -> (Fake, NodePlan) {
        let (fake, mut plan) = etcd_node();
        let made = pki::pki(&["10.0.0.50"]);
        for (path, text) in [("/etcd/ca.crt", &made.ca), ("/etcd/c.crt", &made.cert), ("/etcd/c.key", &made.key)] {
            fake.put(path, text);
        }
        let file = |path: &str| Some(path.parse().unwrap());
        plan.class.preflight.external_etcd = Some(ExternalEtcdPlan {
            servers: servers
                .iter()
                .map(|(endpoint, tls)| EtcdServer { endpoint: endpoint.parse().unwrap(), tls: *tls })
                .collect(),
            ca: file("/etcd/ca.crt"),
            cert: file("/etcd/c.crt"),
            key: file("/etcd/c.key"),
        });
        (fake, plan)
    }

    fn says(version: &str) -> Result<HttpResponse, HttpError> {
        let body = serde_json::json!({"etcdserver": version, "etcdcluster": "3.5.0"});
        Ok(HttpResponse { status: 200, body: body.to_string().into_bytes() })
    }

    fn checked(fake: &Fake, plan: &NodePlan) -> anyhow::Result<()> {
        stage(fake, plan, async |c| version(c).await)
    }

    #[test]
    fn versions() {
        for (text, finding) in [
            ("3.5.24", None),
            ("3.6.0-rc.3", None),
            ("3.10.1", None),
            ("4.0.0", None),
            ("3.5.23", Some("etcd at 10.0.0.50:2379: is 3.5.23, the API server needs 3.5.24 or newer")),
            ("3.4.37", Some("is 3.4.37")),
            ("three", Some("says \"three\" for a version")),
            ("3.6", Some("says \"3.6\" for a version")),
        ] {
            let (fake, plan) = node(&[("10.0.0.50:2379", true)]);
            *fake.web.borrow_mut() = Box::new(move |request| {
                assert_eq!((request.path.as_str(), request.tls.is_some()), ("/version", true));
                says(text)
            });
            match (checked(&fake, &plan), finding) {
                (Ok(()), None) => {}
                (Err(e), Some(words)) => {
                    assert!(format!("{e:#}").contains(words) && format!("{e:#}").contains(NAME), "{text}: {e:#}");
                    assert_eq!(exit::code(&e), exit::REFUSED);
                }
                (result, _) => panic!("{text}: {result:?}"),
            }
        }
    }

    /// It may come up while the machines do: asked four times, five seconds apart.
    #[test]
    fn a_server_that_is_late_is_asked_again_and_one_that_never_comes_is_named() {
        for (late, good) in [(0, true), (3, true), (4, false)] {
            let (fake, plan) = node(&[("10.0.0.50:2379", true)]);
            let asked = Rc::new(Cell::new(0u32));
            let count = Rc::clone(&asked);
            *fake.web.borrow_mut() = Box::new(move |_| {
                count.set(count.get() + 1);
                match count.get() <= late {
                    true => Err(HttpError::Connect(io::ErrorKind::ConnectionRefused.into())),
                    false => says("3.6.16"),
                }
            });
            let before = fake.clock.get();
            let result = checked(&fake, &plan);
            assert_eq!(result.is_ok(), good, "{late}: {result:?}");
            assert_eq!(
                (asked.get(), (fake.clock.get() - before).as_secs()),
                (4.min(late + 1), u64::from(late.min(3)) * 5)
            );
        }
    }

    /// Every server is asked, all findings come at once, and the name can be ignored.
    #[test]
    fn all_servers_are_asked() {
        let (fake, mut plan) = node(&[("10.0.0.50:2379", true), ("10.0.0.51:2379", false), ("etcd.example:1", true)]);
        *fake.web.borrow_mut() = Box::new(|request| {
            assert_eq!(request.tls.is_some(), request.endpoint.to_string() != "10.0.0.51:2379");
            says(if request.endpoint.port == 1 { "3.6.16" } else { "3.4.0" })
        });
        let error = format!("{:#}", checked(&fake, &plan).unwrap_err());
        assert!(error.contains("2 findings") && error.contains("10.0.0.51:2379: is 3.4.0"), "{error}");
        plan.class.preflight.ignore = vec!["externaletcdversion".to_owned()];
        checked(&fake, &plan).unwrap();
    }

    /// A file that the image lacks has a check of its own; a damaged one is named here.
    #[test]
    fn files_that_are_missing_or_damaged() {
        let (fake, plan) = node(&[("10.0.0.50:2379", true)]);
        *fake.web.borrow_mut() = Box::new(|_| panic!("asked without files"));
        fake.put("/etcd/ca.crt", "no PEM");
        let error = format!("{:#}", checked(&fake, &plan).unwrap_err());
        assert!(error.contains(NAME) && error.contains("/etcd/ca.crt"), "{error}");
        crate::host::Host::remove(&fake, std::path::Path::new("/etcd/ca.crt")).unwrap();
        checked(&fake, &plan).unwrap();
    }
}
