//! Components: arguments, volumes, environment, fragments of their configuration.

use super::{
    Cx,
    owned::{self, Owned},
};
use crate::config::{
    Arg, ControlPlaneComponent, Etcd, Fragment, ImageOverride, Volume, choices, code,
    diag::Finding,
    object::{Finder, Object},
    raw::{List, RawArg, RawCluster, RawDns, RawLocalEtcd, RawVolume},
    read::{At, Field, Place},
    shown::short,
    types::{Wrong, wrong_types},
    yaml::{NodeId, View},
};
use crate::release::{Fields, KUBE_PROXY_FIELDS, KUBELET_FIELDS, Kind};
use nodekiln_plan::{AbsPath, Cidr};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// apiVersion and kind of the kubelet's configuration.
const KUBELET: [&str; 2] = ["kubelet.config.k8s.io/v1beta1", "KubeletConfiguration"];
/// apiVersion and kind of kube-proxy's configuration.
const KUBE_PROXY: [&str; 2] = ["kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration"];

impl Cx<'_, '_> {
    /// apiServer, controllerManager, scheduler.
    pub(super) fn components(&mut self, raw: &RawCluster) -> [ControlPlaneComponent; 3] {
        let mut component = |args: Option<&Field<List<RawArg>>>, volumes, envs, table| ControlPlaneComponent {
            extra_args: args.map(|args| self.args(args, table)).unwrap_or_default(),
            extra_volumes: self.volumes(volumes),
            extra_envs: self.envs(envs, None),
        };
        let api = raw.api_server.get();
        let manager = raw.controller_manager.get();
        let scheduler = raw.scheduler.get();
        [
            component(
                api.map(|c| &c.extra_args),
                api.and_then(|c| c.extra_volumes.get()),
                api.and_then(|c| c.extra_envs.get()),
                owned::API_SERVER,
            ),
            component(
                manager.map(|c| &c.extra_args),
                manager.and_then(|c| c.extra_volumes.get()),
                manager.and_then(|c| c.extra_envs.get()),
                owned::CONTROLLER_MANAGER,
            ),
            component(
                scheduler.map(|c| &c.extra_args),
                scheduler.and_then(|c| c.extra_volumes.get()),
                scheduler.and_then(|c| c.extra_envs.get()),
                owned::SCHEDULER,
            ),
        ]
    }

    /// Arguments, each in its place; those that nodekiln owns are refused.
    pub(super) fn args(&mut self, field: &Field<List<RawArg>>, table: &'static [Owned]) -> Vec<Arg> {
        let mut args = Vec::new();
        for at in field.get().into_iter().flat_map(|list| &list.value) {
            let name = at.name.required("name", &at.place, self.found);
            let value = at.value.value.required("value", &at.place, self.found);
            let name = name.filter(|name| self.is_arg_name(name));
            let value = value.filter(|value| {
                let sound = !value.0.contains(['\n', '\r', '\0']);
                if !sound {
                    let finding = Finding::new(code::VALUE, "an argument's value is one line");
                    self.found.error_at(&value.place, finding.hint("write it without line breaks"));
                }
                sound
            });
            let Some(name) = name else { continue };
            // Whatever the value is: it may be one of those that are not refused, or none that is known.
            if let Some(row) = owned::find(table, name, value.map(|value| value.0.as_str())) {
                let finding = Finding::new(code::OWNED, format!("`{}` cannot be set: {}", short(&name.value), row.why));
                let hint = match row.allowed {
                    Some(allowed) => format!("leave it out: it is `{allowed}`"),
                    None => "leave it out".to_owned(),
                };
                self.found.error_at(&name.place, finding.hint(hint));
                continue;
            }
            let Some(value) = value else { continue };
            if std::ptr::eq(table, owned::API_SERVER) && name.value == "authorization-mode" {
                let modes: Vec<_> = value.0.split(',').map(str::trim).collect();
                if !modes.contains(&"Node") || !modes.contains(&"RBAC") {
                    let finding = Finding::new(code::OWNED, "`authorization-mode` has to hold Node and RBAC");
                    self.found.error_at(&value.place, finding.hint("kubelets and nodekiln's own rights rest on them"));
                    continue;
                }
            }
            args.push(Arg { name: name.value.clone(), value: value.value.0.clone() });
        }
        args
    }

    /// Flags of all components are of these characters; anything else would smuggle in a second argument.
    fn is_arg_name(&mut self, name: &At<String>) -> bool {
        if name.starts_with('-') {
            let hint = format!("write `{}`", short(name.trim_start_matches('-')));
            let finding = Finding::new(code::VALUE, "an argument's name has no leading dashes").hint(hint);
            self.found.error_at(&name.place, finding);
            return false;
        }
        let sound =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !sound {
            self.bad(name, "not the name of an argument");
        }
        sound
    }

    fn volumes(&mut self, list: Option<&At<List<RawVolume>>>) -> Vec<Volume> {
        let mut volumes = Vec::new();
        let mut names = BTreeMap::new();
        let mut mounts = BTreeMap::new();
        for at in list.into_iter().flat_map(|list| &list.value) {
            let name = at.name.required("name", &at.place, self.found);
            let host = at.host_path.required("hostPath", &at.place, self.found);
            let mount = at.mount_path.required("mountPath", &at.place, self.found);
            let path_type =
                at.path_type.get().map_or(Some(""), |text| self.choice(text, &choices::HOST_PATH_TYPES, &[]));
            let host = host.and_then(|host| self.parse::<AbsPath>(host));
            let mount = mount.and_then(|mount| self.parse::<AbsPath>(mount));
            if let Some(at) = mount.as_ref().filter(|mount| mount.as_str() == "/") {
                let finding = Finding::new(code::RESERVED, "a volume cannot be mounted at `/`: the program is there");
                self.found.error_at(&at.place, finding.hint("take a folder of its own"));
            }
            // A volume name is a DNS-1123 label.
            let name = name.filter(|name| {
                let sound = name.len() <= 63 && !name.contains('.') && name.parse::<nodekiln_plan::DnsName>().is_ok();
                if !sound {
                    self.bad(name, "a volume's name is of a-z, 0-9 and `-`, at most 63 characters");
                }
                sound
            });
            if let Some(name) = name {
                self.once(&mut names, name.value.clone(), &name.place, "this volume's name");
            }
            if let Some(mount) = &mount {
                self.once(&mut mounts, mount.value.clone(), &mount.place, "this path");
            }
            let Some(name) = name else { continue };
            if let (Some(host), Some(mount), Some(path_type)) = (host, mount, path_type) {
                volumes.push(Volume {
                    name: name.value.clone(),
                    host_path: host.value,
                    mount_path: mount.value,
                    read_only: at.read_only.get().is_some_and(|b| b.value),
                    path_type: path_type.to_owned(),
                });
            }
        }
        volumes
    }

    /// `table`: arguments that may not come as variables either.
    fn envs(&mut self, list: Option<&At<List<Object>>>, table: Option<&'static [Owned]>) -> Vec<Fragment> {
        let mut envs = Vec::new();
        for at in list.into_iter().flat_map(|list| &list.value) {
            let place =
                |cx: &Self, path: &[&str]| at.find(cx.tree, &at.place, path).unwrap_or_else(|| at.place.clone());
            let mut sound = true;
            for key in at.value.value.keys().filter(|k| !matches!(k.as_str(), "name" | "value" | "valueFrom")) {
                let place = place(self, &[key]);
                let known = ["name", "value", "valueFrom"];
                self.found
                    .unknown_key(key, &place, known.into_iter(), || "known here: name, value, valueFrom".to_owned());
                sound = false;
            }
            match at.value.value.get("name") {
                // envvar names: RelaxedEnvVarName of the API server, printable ASCII without `=`.
                Some(Value::String(name))
                    if !name.is_empty() && name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') => {}
                Some(_) => {
                    let place = place(self, &["name"]);
                    let finding = Finding::new(code::VALUE, "not the name of an environment variable");
                    self.found.error_at(&place, finding.hint("a name is a text of ASCII characters without `=`"));
                    sound = false;
                }
                None => {
                    let finding = Finding::new(code::MISSING, "`name` is missing");
                    self.found.error_at(&at.place, finding.hint("write {name: NAME, value: \"VALUE\"}"));
                    sound = false;
                }
            }
            if let Some(row) = table.and_then(|table| etcd_variable(table, &at.value.value)) {
                let place = place(self, &["name"]);
                self.found
                    .error_at(&place, Finding::new(code::OWNED, format!("this variable cannot be set: {}", row.why)));
                sound = false;
            }
            let fault = match at.value.value.get("value") {
                None | Some(Value::String(_) | Value::Null) => None,
                Some(Value::Array(_)) => Some(Finding::new(code::TYPE, "this has to be a text, not a list")),
                Some(Value::Object(_)) => Some(Finding::new(code::TYPE, "this has to be a text, not a mapping")),
                Some(_) => Some(Finding::new(code::QUOTE, "a number or boolean where a text is due")),
            };
            if let Some(finding) = fault {
                let place = place(self, &["value"]);
                self.found.error_at(&place, finding.hint("quote it"));
                sound = false;
            }
            let said = |key: &str| at.value.value.get(key).filter(|value| !value.is_null());
            if said("value").is_some_and(|value| value != "")
                && let Some(from) = said("valueFrom").and_then(|_| at.find(self.tree, &at.place, &["valueFrom"]))
            {
                let finding = Finding::new(code::VALUE, "both `value` and `valueFrom`: one of them is enough");
                self.found.error_at(&from, finding.hint("the kubelet refuses a static pod with both"));
                sound = false;
            }
            let sources = said("valueFrom").map(|from| from.as_object().map_or(0, serde_json::Map::len));
            if sources.is_some_and(|count| count != 1) {
                let finding = Finding::new(code::VALUE, "`valueFrom` has exactly one source");
                self.found.error_at(
                    &place(self, &["valueFrom"]),
                    finding.hint("write {fieldRef: {fieldPath: PATH}}, for one"),
                );
                sound = false;
            }
            for source in ["secretKeyRef", "configMapKeyRef"] {
                if let Some(place) = at.find(self.tree, &at.place, &["valueFrom", source]) {
                    let finding = Finding::new(code::VALUE, format!("a static pod cannot use `{source}`"));
                    self.found.error_at(&place, finding.hint("the kubelet refuses static pods that need API objects"));
                    sound = false;
                }
            }
            if sound {
                envs.push(at.value.value.clone());
            }
        }
        envs
    }

    /// etcd.local.
    pub(super) fn etcd(&mut self, raw: &RawCluster) -> Option<Etcd> {
        let local = raw.etcd.get().and_then(|etcd| etcd.local.get());
        let empty = RawLocalEtcd::default();
        let local = local.map_or(&empty, |at| &at.value);
        let data_dir = self.parse_or::<AbsPath>(&local.data_dir, "/var/lib/etcd");
        if let (Some(at), Some(path)) = (local.data_dir.get(), &data_dir) {
            self.etcd_data_dir(at, path);
        }
        let image = self.image(&local.image_repository, &local.image_tag);
        Some(Etcd {
            extra_args: self.args(&local.extra_args, owned::ETCD),
            extra_envs: self.envs(local.extra_envs.get(), Some(owned::ETCD)),
            server_sans: self.sans(&local.server_sans),
            peer_sans: self.sans(&local.peer_sans),
            image,
            data_dir: data_dir?,
        })
    }

    fn etcd_data_dir(&mut self, at: &At<String>, path: &AbsPath) {
        let why = if super::paths::is_volatile(path) {
            "it is not on a disk: a reboot would lose the cluster"
        } else if super::paths::is_system_folder(path) {
            "it is a folder of the system's own"
        } else {
            return;
        };
        let finding =
            Finding::new(code::RESERVED, format!("etcd's data cannot be at `{}`: {why}", short(path.as_str())));
        self.found.error_at(&at.place, finding.hint("the default is /var/lib/etcd"));
    }

    /// dns; the inner `None` when disabled.
    pub(super) fn dns(&mut self, raw: &Field<RawDns>) -> Option<ImageOverride> {
        let Some(dns) = raw.get() else { return Some(ImageOverride::default()) };
        let image = self.image(&dns.image_repository, &dns.image_tag);
        let disabled = dns.disabled.get().is_some_and(|b| b.value);
        (!disabled).then_some(image)
    }

    fn image(&mut self, repository: &Field<String>, tag: &Field<String>) -> ImageOverride {
        ImageOverride {
            repository: repository.get().and_then(|at| self.image_repository(at)),
            tag: tag.get().and_then(|at| self.image_tag(at)),
        }
    }

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

/// etcd reads every flag from a variable too: `ETCD_DATA_DIR` is `--data-dir`.
fn etcd_variable(table: &'static [Owned], env: &Fragment) -> Option<&'static Owned> {
    let name = env.get("name")?.as_str()?.strip_prefix("ETCD_")?.to_ascii_lowercase();
    owned::find(table, &name, env.get("value").and_then(Value::as_str).unwrap_or(""))
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

/// Lays arguments over others: a name that comes again replaces all of that name (kubeadm's rule for its defaults).
pub(super) fn merge_args(base: &[Arg], over: &[Arg]) -> Vec<Arg> {
    let names: BTreeSet<&str> = over.iter().map(|arg| arg.name.as_str()).collect();
    let kept = base.iter().filter(|arg| !names.contains(arg.name.as_str()));
    kept.chain(over).cloned().collect()
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
