//! Fragments of components' own configuration.

use super::{Cx, owned};
use crate::config::{
    Fragment, code,
    diag::Finding,
    object::{Finder, Object},
    read::{Field, Place},
    types::{Wrong, wrong_types},
    yaml::{NodeId, View},
};
use crate::release::{Fields, KUBE_PROXY_FIELDS, KUBELET_FIELDS, Kind};
use nodekiln_plan::Cidr;
use serde_json::Value;
use std::net::IpAddr;

/// apiVersion and kind of the kubelet's configuration.
const KUBELET: [&str; 2] = ["kubelet.config.k8s.io/v1beta1", "KubeletConfiguration"];
/// apiVersion and kind of kube-proxy's configuration.
const KUBE_PROXY: [&str; 2] = ["kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration"];

impl Cx<'_, '_> {
    /// A KubeletConfiguration fragment, without the header that kubeadm's documents have.
    pub(super) fn kubelet(&mut self, field: &Field<Object>, services: &[Cidr]) -> Fragment {
        self.cluster_dns(field, services);
        self.cgroup_driver(field);
        self.fragment(field, KUBELET, owned::KUBELET_FIELDS, &KUBELET_FIELDS)
    }

    /// Marks the known keys of a KubeletConfiguration fragment, which hold nothing secret, as fit to be shown, and reports
    /// the others.
    pub(super) fn kubelet_fields(&mut self, node: NodeId, place: &Place) {
        self.known_fields(node, place, "", &KUBELET_FIELDS, KUBELET);
    }

    /// clusterDNS may name other services than the tenth address, such as a DNS add-on's, but no other network.
    fn cluster_dns(&mut self, field: &Field<Object>, services: &[Cidr]) {
        let Some(at) = field.get() else { return };
        let Some(given) = at.value.value.get("clusterDNS").filter(|given| !given.is_null()) else { return };
        let inside = |value: &Value| {
            let ip = value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
            ip.is_some_and(|ip| services.is_empty() || services.iter().any(|net| net.contains(ip)))
        };
        if !given.as_array().is_some_and(|list| list.iter().all(inside)) {
            let place = at.find(self.tree, &at.place, &["clusterDNS"]).unwrap_or_else(|| at.place.clone());
            let finding =
                Finding::new(code::OWNED, "`clusterDNS` has to be a list of addresses in `networking.serviceSubnet`");
            self.found.error_at(&place, finding.hint("leave it out for the cluster's own DNS"));
        }
    }

    /// The kubelet's cgroup driver is containerd's.
    fn cgroup_driver(&mut self, field: &Field<Object>) {
        let (allowed, why) = owned::CGROUP_DRIVER;
        let Some(at) = field.get() else { return };
        if at.value.value.get("cgroupDriver").is_some_and(|given| !given.is_null() && given != allowed) {
            let place = at.find(self.tree, &at.place, &["cgroupDriver"]).unwrap_or_else(|| at.place.clone());
            let finding = Finding::new(code::OWNED, format!("`cgroupDriver` has to be `{allowed}`: {why}"));
            self.found.error_at(&place, finding.hint("leave it out"));
        }
    }

    /// A KubeProxyConfiguration fragment.
    pub(super) fn kube_proxy(&mut self, field: &Field<Object>) -> Fragment {
        self.fragment(field, KUBE_PROXY, owned::KUBE_PROXY_FIELDS, &KUBE_PROXY_FIELDS)
    }

    fn fragment(
        &mut self,
        field: &Field<Object>,
        header: [&str; 2],
        owned: &[(&[&str], &'static str)],
        fields: &Fields,
    ) -> Fragment {
        let Some(at) = field.get() else { return Fragment::new() };
        let mut value = at.value.value.clone();
        for (name, due) in ["apiVersion", "kind"].into_iter().zip(header) {
            if let Some(given) = value.remove(name)
                && given != due
            {
                let place = at.find(self.tree, &at.place, &[name]).unwrap_or_else(|| at.place.clone());
                self.found.error_at(&place, Finding::new(code::VALUE, format!("`{name}` has to be `{due}` here")));
            }
        }
        self.known_fields(at.value.node, &at.place, "", fields, header);
        for (path, why) in owned {
            if let Some(place) = at.find(self.tree, &at.place, path) {
                let finding = Finding::new(code::OWNED, format!("`{}` cannot be set: {why}", path.join(".")));
                self.found.error_at(&place, finding);
            }
        }
        // Whatever the value of these is, it has been judged.
        let names: Vec<_> = owned.iter().map(|(path, _)| path.join(".")).collect();
        let judged = |wrong: &Wrong| {
            let path = wrong.path_text();
            let below = |name| {
                path.strip_prefix(name).is_some_and(|rest: &str| rest.is_empty() || rest.starts_with(['.', '[']))
            };
            names.iter().map(String::as_str).chain(["cgroupDriver", "clusterDNS"]).any(below)
        };
        let mut finder = Finder::new(self.tree);
        // A null takes a value out, and is nothing where there is none.
        for wrong in wrong_types(fields, &Value::Object(without_nulls(&value))).iter().filter(|wrong| !judged(wrong)) {
            let place = finder.follow(at.value.node, &at.place, &wrong.path);
            self.found.error_at(&place, wrong.finding());
        }
        value
    }

    /// Reports what the mapping at `node` has and `fields` have not, below `above` and further down.
    fn known_fields(&mut self, node: NodeId, place: &Place, above: &str, fields: &Fields, header: [&str; 2]) {
        let View::Map(entries) = self.tree.view(node) else { return };
        for entry in entries {
            let key = entry.key.as_ref();
            let at = Place { span: entry.key_span, path: place.path.key(key) };
            self.found.show(entry.key_span, key);
            match fields.below(above, key) {
                None => self.found.unknown_key(key, &at, fields.names(above), || match above {
                    "" => {
                        let [api_version, kind] = header;
                        format!("the fields are those of {kind} ({api_version}), case included")
                    }
                    _ => format!("known here: {}", fields.names(above).collect::<Vec<_>>().join(", ")),
                }),
                Some((path, Kind::Object)) => self.known_fields(entry.value, &at, &format!("{path}."), fields, header),
                Some(_) => {}
            }
        }
    }
}

/// A fragment that stands alone: its nulls have nothing to take out.
pub(super) fn without_nulls(fragment: &Fragment) -> Fragment {
    let mut out = Fragment::new();
    merge(&mut out, fragment);
    out
}

/// Lays `over` over `base`: mappings merge, null takes a value out, all else replaces (RFC 7386).
pub(super) fn merge(base: &mut Fragment, over: &Fragment) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (_, Value::Null) => {
                base.remove(key);
            }
            (Some(Value::Object(below)), Value::Object(above)) => merge(below, above),
            (_, Value::Object(above)) => {
                let mut fresh = Fragment::new();
                merge(&mut fresh, above);
                base.insert(key.clone(), Value::Object(fresh));
            }
            (_, value) => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_merge() {
        let object = |value: Value| value.as_object().cloned().unwrap();
        let mut base = object(serde_json::json!({"a": {"x": 1, "y": [1]}, "b": 1, "c": {"d": 1}}));
        let over = object(serde_json::json!({"a": {"y": [2], "z": {"n": null, "m": 1}}, "b": null, "c": 2}));
        merge(&mut base, &over);
        assert_eq!(Value::Object(base), serde_json::json!({"a": {"x": 1, "y": [2], "z": {"m": 1}}, "c": 2}));
    }
}
