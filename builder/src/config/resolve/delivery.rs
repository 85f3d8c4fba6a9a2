//! delivery: how a machine gets its configuration.

use super::{Cx, nodes::Nodes};
use crate::config::{
    Delivery, DeliveryMode, InputFile, choices, code,
    diag::Finding,
    raw::{RawCluster, RawDelivery},
    read::{At, Field},
    shown::short,
};
use nodekiln_payload::Format;

impl Cx<'_, '_> {
    pub(super) fn delivery(&mut self, raw: &RawCluster, nodes: &Nodes) -> Option<Delivery> {
        let raw = match &raw.delivery {
            Field::Given(at) => at,
            Field::Faulty => return None,
            Field::Absent | Field::Null(_) => {
                return Some(Delivery { mode: DeliveryMode::Inline, base_url: None, ca: None });
            }
        };
        let mode = match &raw.mode {
            Field::Given(at) => self.choice(at, &choices::DELIVERY_MODES, &[]),
            Field::Faulty => None,
            Field::Absent | Field::Null(_) => Some(DeliveryMode::Inline),
        };
        let base_url = raw.base_url.get().and_then(|at| self.base_url(at));
        let ca = raw.ca_file.get().and_then(|at| {
            let file = self.input(at)?;
            self.ca_bundle(at, &file);
            Some(file)
        });
        if mode == Some(DeliveryMode::Pointer) {
            self.pointer(raw, nodes, base_url.as_deref());
        }
        if let (Some(at), Some(url), None) = (raw.base_url.get(), &base_url, &ca)
            && raw.ca_file.is_unset()
            && is_https_address(url)
        {
            let finding = Finding::new(code::DELIVERY, "https to an address: no public CA vouches for it")
                .hint("give the server's CA in `delivery.caFile`");
            self.found.warning_at(&at.place, finding);
        }
        Some(Delivery { mode: mode?, base_url, ca })
    }

    fn base_url(&mut self, at: &At<String>) -> Option<String> {
        let url = self.url(at)?;
        if url.contains('?') {
            self.bad(at, "a base URL has no query: paths are added to it");
            return None;
        }
        Some(url.trim_end_matches('/').to_owned())
    }

    fn pointer(&mut self, raw: &At<RawDelivery>, nodes: &Nodes, base_url: Option<&str>) {
        let mode = raw.mode.get().map_or(&raw.place, |at| &at.place).clone();
        if raw.base_url.is_unset() {
            let finding =
                Finding::new(code::DELIVERY, "`mode: pointer` without `baseURL`: there is nothing to point at");
            self.found.error_at(&mode, finding);
        }
        let insecure = raw.insecure.get().is_some_and(|b| b.value);
        if let (Some(url), Some(at)) = (base_url, raw.base_url.get())
            && url.starts_with("http://")
            && !insecure
        {
            let finding =
                Finding::new(code::DELIVERY, "payloads hold private keys: plain http would show them to the network")
                    .hint("serve them by https, or accept it with `delivery.insecure: true`");
            self.found.error_at(&at.place, finding);
        }
        if let Some((profile, place)) = nodes.profiles.iter().find(|(profile, _)| profile.format != Format::Ignition) {
            let finding = Finding::new(code::DELIVERY, format!("the profile `{}` takes no pointer", profile.name))
                .second(place.span, "a node of that profile")
                .hint("use `mode: inline`");
            self.found.error_at(&mode, finding);
        }
    }

    fn ca_bundle(&mut self, at: &At<String>, file: &InputFile) {
        let text = String::from_utf8_lossy(&file.bytes);
        let Some(why) = certificates_fault(&text) else { return };
        let finding = Finding::new(code::INPUT, format!("`{}` is no CA bundle: {why}", short(&file.path)));
        self.found.error_at(&at.place, finding);
    }
}

/// Why this is no bundle of certificates in PEM.
pub(super) fn certificates_fault(text: &str) -> Option<&'static str> {
    if text.contains("PRIVATE KEY-----") {
        return Some("it holds a private key, which would go where certificates go");
    }
    let mut certificates = 0;
    let sound = x509_parser::pem::Pem::iter_from_buffer(text.as_bytes()).all(|pem| {
        pem.is_ok_and(|pem| {
            certificates += 1;
            pem.label == "CERTIFICATE" && pem.parse_x509().is_ok()
        })
    });
    match (sound, certificates) {
        (true, 1..) => None,
        (true, _) => Some("it holds no certificate"),
        (false, _) => Some("it holds something else than PEM certificates"),
    }
}

/// Whether the host of an https URL is an IP address.
fn is_https_address(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://") else { return false };
    let authority = rest.split('/').next().unwrap_or("");
    matches!(nodekiln_plan::Endpoint::parse_host_port(authority), Ok((nodekiln_plan::Host::Ip(_), _)))
}
