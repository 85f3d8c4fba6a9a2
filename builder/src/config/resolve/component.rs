//! Components: arguments, volumes, environment.

use super::{
    Cx,
    owned::{self, Owned},
};
use crate::config::{
    Arg, ControlPlaneComponent, Etcd, Fragment, ImageOverride, Volume, choices, code,
    diag::Finding,
    object::Object,
    raw::{List, RawArg, RawCluster, RawDns, RawLocalEtcd, RawVolume},
    read::{At, Field},
    shown::short,
};
use nodekiln_plan::AbsPath;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

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
}

/// etcd reads every flag from a variable too: `ETCD_DATA_DIR` is `--data-dir`.
fn etcd_variable(table: &'static [Owned], env: &Fragment) -> Option<&'static Owned> {
    let name = env.get("name")?.as_str()?.strip_prefix("ETCD_")?.to_ascii_lowercase();
    owned::find(table, &name, env.get("value").and_then(Value::as_str).unwrap_or(""))
}

/// Lays arguments over others: a name that comes again replaces all of that name (kubeadm's rule for its defaults).
pub(super) fn merge_args(base: &[Arg], over: &[Arg]) -> Vec<Arg> {
    let names: BTreeSet<&str> = over.iter().map(|arg| arg.name.as_str()).collect();
    let kept = base.iter().filter(|arg| !names.contains(arg.name.as_str()));
    kept.chain(over).cloned().collect()
}
