//! etcd.external: members that somebody else runs.

use super::Cx;
use crate::config::{
    ExternalEtcd, NodeFile, code,
    diag::Finding,
    raw::{RawCluster, RawExternalEtcd},
    read::{At, Field},
    shown::short,
};
use nodekiln_plan::{AbsPath, Endpoint, EndpointError, Role};
use std::collections::BTreeMap;

use super::nodes::NodeFacts;

impl Cx<'_, '_> {
    /// etcd.external; the inner `None` without it. The outer one: it is faulty.
    pub(super) fn external_etcd(&mut self, raw: &RawCluster) -> Option<Option<ExternalEtcd>> {
        let Some(etcd) = raw.etcd.get() else { return Some(None) };
        let at = match &etcd.external {
            Field::Given(at) => at,
            Field::Faulty => return None,
            Field::Absent | Field::Null(_) => return Some(None),
        };
        if let Some(local) = etcd.local.get() {
            let finding =
                Finding::new(code::EXTERNAL_ETCD, "`external` together with `local`: nobody would run a member");
            self.found
                .error_at(&at.place, finding.second(local.place.span, "not with this").hint("remove one of the two"));
        }
        let files = [&at.ca_file, &at.cert_file, &at.key_file];
        let any_file = files.iter().any(|field| !field.is_unset());
        let endpoints = self.etcd_endpoints(at, any_file);
        self.etcd_pairs(at);
        let [ca, cert, key] = files;
        let ca = self.node_file(ca, Kind::Certificates);
        let cert = self.node_file(cert, Kind::Certificates);
        let key = self.node_file(key, Kind::Key);
        Some(Some(ExternalEtcd { endpoints: endpoints?, ca: ca?, cert: cert?, key: key? }))
    }

    fn etcd_endpoints(&mut self, at: &At<RawExternalEtcd>, any_file: bool) -> Option<Vec<String>> {
        let list = at.endpoints.required("endpoints", &at.place, self.found)?;
        if list.value.is_empty() {
            let finding = Finding::new(code::EXTERNAL_ETCD, "no endpoint: the API server would have no etcd");
            self.found.error_at(&list.place, finding.hint("write endpoints: [\"https://192.0.2.30:2379\"]"));
            return None;
        }
        let mut endpoints = Vec::new();
        let mut seen = BTreeMap::new();
        for text in &list.value {
            if let Err(why) = check_endpoint(&text.value) {
                let message = format!("`{}` is no endpoint of etcd: {why}", short(&text.value));
                let finding = Finding::new(code::EXTERNAL_ETCD, message).hint("write https://HOST:2379");
                self.found.error_at(&text.place, finding);
                continue;
            }
            let plain = text.value.starts_with("http://");
            if plain && any_file {
                let finding = Finding::new(code::EXTERNAL_ETCD, "plain http with certificates: they would not be used");
                self.found.error_at(&text.place, finding.hint("write https://"));
            } else if plain {
                let finding =
                    Finding::new(code::EXTERNAL_ETCD, "plain http: anybody in between reads the cluster's secrets");
                self.found.warning_at(&text.place, finding);
            }
            let url = text.value.trim_end_matches('/').to_owned();
            if self.once(&mut seen, url.clone(), &text.place, "this endpoint") {
                endpoints.push(url);
            }
        }
        (endpoints.len() == list.value.len()).then_some(endpoints)
    }

    /// kubeadm: certificate and key together, and only with a CA.
    fn etcd_pairs(&mut self, at: &At<RawExternalEtcd>) {
        let said = |field: &Field<String>| field.get().map_or_else(|| at.place.clone(), |at| at.place.clone());
        let (ca, cert, key) = (!at.ca_file.is_unset(), !at.cert_file.is_unset(), !at.key_file.is_unset());
        let (place, message) = match (ca, cert, key) {
            (_, true, false) => (said(&at.cert_file), "`certFile` without `keyFile`"),
            (_, false, true) => (said(&at.key_file), "`keyFile` without `certFile`"),
            (false, true, true) => (said(&at.cert_file), "`certFile` without `caFile`"),
            _ => return,
        };
        let finding = Finding::new(code::EXTERNAL_ETCD, message);
        self.found.error_at(&place, finding.hint("give caFile, certFile and keyFile, or caFile alone"));
    }

    /// The inner `None` without a file.
    fn node_file(&mut self, field: &Field<String>, kind: Kind) -> Option<Option<NodeFile>> {
        let at = match field {
            Field::Given(at) => at,
            Field::Faulty => return None,
            Field::Absent | Field::Null(_) => return Some(None),
        };
        if at.value.starts_with('/') {
            return self.parse::<AbsPath>(at).map(|path| Some(NodeFile::Image(path.value)));
        }
        let file = self.input(at)?;
        let text = String::from_utf8_lossy(&file.bytes);
        let fault = match kind {
            Kind::Certificates => super::delivery::certificates_fault(&text),
            Kind::Key => key_fault(&text),
        };
        if let Some(why) = fault {
            let what = match kind {
                Kind::Certificates => "holds no certificate to use",
                Kind::Key => "holds no private key to use",
            };
            let finding = Finding::new(code::INPUT, format!("`{}` {what}: {why}", short(&file.path)));
            self.found.error_at(&at.place, finding);
            return None;
        }
        Some(Some(NodeFile::Input(file)))
    }

    /// Nodes that would run members of their own.
    pub(super) fn external_etcd_nodes(&mut self, raw: &RawCluster, nodes: &[NodeFacts]) {
        let Some(external) = raw.etcd.get().and_then(|etcd| etcd.external.get()) else { return };
        for node in nodes.iter().filter(|node| node.role == Some(Role::Etcd)) {
            let finding = Finding::new(code::EXTERNAL_ETCD, "an `etcd` node together with etcd.external")
                .second(external.place.span, "these members are somebody else's")
                .hint("remove the node, or etcd.external");
            self.found.error_at(node.role_place(), finding);
        }
    }
}

/// What a file of etcd.external holds.
#[derive(Clone, Copy)]
enum Kind {
    Certificates,
    Key,
}

/// `http[s]://HOST:PORT`, as etcd's client dials it.
fn check_endpoint(text: &str) -> Result<(), String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else { return Err("it has to start with https:// or http://".to_owned()) };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#', '@', ',']) {
        return Err("it is more than scheme, host and port".to_owned());
    }
    match rest.parse::<Endpoint>() {
        Ok(_) => Ok(()),
        Err(EndpointError::Port(port)) => Err(EndpointError::Port(short(&port)).to_string()),
        Err(EndpointError::Address(text)) => Err(EndpointError::Address(short(&text)).to_string()),
        Err(e) => Err(e.to_string()),
    }
}

/// Why this is no private key in PEM.
fn key_fault(text: &str) -> Option<&'static str> {
    const KINDS: [&str; 3] = ["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"];
    if text.contains("ENCRYPTED") {
        return Some("it is encrypted, and the API server has no password for it");
    }
    let mut keys = 0;
    for pem in x509_parser::pem::Pem::iter_from_buffer(text.as_bytes()) {
        match pem {
            Ok(pem) if KINDS.contains(&pem.label.as_str()) => keys += 1,
            // OpenSSL writes these before the key of a named curve.
            Ok(pem) if pem.label == "EC PARAMETERS" => {}
            _ => return Some("it holds something else than a private key in PEM"),
        }
    }
    match keys {
        0 => Some("it holds no private key in PEM"),
        1 => None,
        _ => Some("it holds several private keys"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for good in ["https://192.0.2.1:2379", "http://etcd.example:2379", "https://[2001:db8::1]:2379/"] {
            assert_eq!(check_endpoint(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "192.0.2.1:2379",
            "https://192.0.2.1",
            "https://a:2379/v3",
            "https://u@a:2379",
            "https://a:0",
            "unix:///x",
            "https://a:1,https://b:1",
        ] {
            assert!(check_endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys() {
        let pem = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        assert_eq!(key_fault(&pem("EC PRIVATE KEY")), None);
        assert_eq!(key_fault(&format!("{}{}", pem("EC PARAMETERS"), pem("EC PRIVATE KEY"))), None);
        for bad in [
            String::new(),
            pem("CERTIFICATE"),
            pem("ENCRYPTED PRIVATE KEY"),
            format!("{}{}", pem("PRIVATE KEY"), pem("PRIVATE KEY")),
        ] {
            assert!(key_fault(&bad).is_some(), "{bad}");
        }
    }
}
