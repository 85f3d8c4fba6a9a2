//! os: profile, accounts, files, units.

use super::{Cx, nodes::Shared, paths, ssh};
use crate::config::{
    Arch, Common, IgnitionVersion, InputFile, Os, OsFile, OsUnit, Platform, User, choices, code,
    diag::Finding,
    raw::{List, RawFile, RawOs, RawUnit, RawUser},
    read::{At, Field, Place},
    shown::short,
    values::Hidden,
};
use nodekiln_payload::{Format, Profile, TimeService};
use nodekiln_plan::{AbsPath, DnsName, Mode, Secret, UnitName};
use std::{collections::BTreeMap, net::IpAddr};

/// os as one layer says it.
#[derive(Default)]
pub(super) struct OsLayer {
    profile: Option<At<&'static Profile>>,
    profile_faulty: bool,
    platform: Option<Platform>,
    arch: Option<Arch>,
    ignition: Option<At<IgnitionVersion>>,
    users: Vec<UserLayer>,
    time_servers: Option<Vec<String>>,
    updates: Option<bool>,
    files: Vec<At<Common<OsFile>>>,
    units: Vec<At<Common<OsUnit>>>,
    snippets: Option<Vec<At<InputFile>>>,
}

/// An account of one layer; groups depend on the profile unless they are given.
#[derive(Clone)]
struct UserLayer {
    name: String,
    keys: Option<Common<Vec<String>>>,
    password: Option<Secret>,
    groups: Option<Common<Vec<String>>>,
}

impl OsLayer {
    /// What a copy of it weighs, in units of 32 bytes.
    pub(super) fn weight(&self) -> usize {
        let Self { users, time_servers, files, units, snippets, .. } = self;
        let servers = time_servers.iter().flatten().map(|server| 2 + server.len() / 32);
        let snippets = snippets.iter().flatten().map(|at| 3 + at.value.path.len() / 32);
        // References, which take time rather than memory.
        let references = 3 * (files.len() + units.len());
        references + 5 * users.len() + servers.chain(snippets).sum::<usize>()
    }
}

impl Cx<'_, '_> {
    pub(super) fn os_layer(&mut self, field: &Field<RawOs>) -> OsLayer {
        let Some(raw) = field.get() else {
            return OsLayer { profile_faulty: matches!(field, Field::Faulty), ..OsLayer::default() };
        };
        let profile = raw.profile.get().and_then(|at| {
            self.choice(at, &choices::profiles(), &[]).map(|value| At { value, place: at.place.clone() })
        });
        OsLayer {
            profile_faulty: profile.is_none() && !raw.profile.is_unset(),
            profile,
            platform: raw.platform.get().and_then(|at| self.choice(at, &Platform::ALL, &[])),
            arch: raw.arch.get().and_then(|at| self.choice(at, &choices::ARCHITECTURES, &[])),
            ignition: raw.ignition_version.get().and_then(|at| {
                self.choice(at, &choices::IGNITION_VERSIONS, &["3.6.0"])
                    .map(|value| At { value, place: at.place.clone() })
            }),
            users: self.users(&raw.users),
            time_servers: raw.time_servers.get().map(|list| self.time_servers(list)),
            updates: raw.updates.get().map(|at| at.value.0),
            files: self.files(&raw.files),
            units: self.units(&raw.units),
            snippets: raw.snippets.get().map(|list| self.snippets(list)),
        }
    }

    /// The layers of one node, laid over each other and checked against its profile. `None` without a profile.
    pub(super) fn os(&mut self, own: &OsLayer, base: &OsLayer, node: &Place, shared: &Shared<'_>) -> Option<Os> {
        let profile = match own.profile_faulty {
            true => None,
            false => own.profile.as_ref().or(base.profile.as_ref()),
        };
        let known = profile.map(|at| at.value);
        let files = by_key(&base.files, &own.files, |file| paths::canonical(known, &file.path));
        let units = by_key(&base.units, &own.units, |unit| unit.name.clone());
        self.check_reserved(known, &files, shared);
        self.check_units(known, &units);
        let Some(profile) = profile else {
            self.missing_profile(own, base, node);
            return None;
        };
        let place = &profile.place;
        let profile = profile.value;
        self.ignition_fits(own, base, profile);
        let updates = own.updates.or(base.updates).unwrap_or(false);
        let time_servers = own.time_servers.clone().or_else(|| base.time_servers.clone()).unwrap_or_default();
        let written = written(profile, updates, !time_servers.is_empty());
        self.check_writable(profile, place, &files, &written);
        self.check_folders(profile, place, shared);
        let mut users: Vec<UserLayer> = base.users.clone();
        let places: BTreeMap<&str, usize> =
            base.users.iter().enumerate().rev().map(|(place, user)| (user.name.as_str(), place)).collect();
        for user in &own.users {
            match places.get(user.name.as_str()).map(|place| &mut users[*place]) {
                Some(below) => {
                    below.keys = user.keys.clone().or_else(|| below.keys.take());
                    below.password = user.password.clone().or_else(|| below.password.take());
                    below.groups = user.groups.clone().or_else(|| below.groups.take());
                }
                None => users.push(user.clone()),
            }
        }
        let ignition = own.ignition.as_ref().or(base.ignition.as_ref());
        let snippets = own.snippets.as_ref().or(base.snippets.as_ref()).map(Vec::as_slice).unwrap_or_default();
        let version = ignition.map_or(IgnitionVersion::V3_3, |at| at.value);
        self.check_snippets(profile, version, snippets, shared);
        let mut files: Vec<_> = files.into_values().map(|at| at.value).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Some(Os {
            profile,
            platform: own.platform.or(base.platform).unwrap_or(Platform::Metal),
            arch: own.arch.or(base.arch).unwrap_or(Arch::Amd64),
            ignition_version: version,
            users: users.into_iter().map(|user| user.resolve(profile)).collect(),
            time_servers,
            updates,
            files,
            units: units.into_values().map(|at| at.value).collect(),
            snippets: snippets.iter().map(|at| at.value.clone()).collect(),
        })
    }

    /// Reports that neither layer says a profile, unless one tried to.
    pub(super) fn missing_profile(&mut self, own: &OsLayer, base: &OsLayer, node: &Place) {
        if !own.profile_faulty && !base.profile_faulty {
            let finding = Finding::new(code::MISSING, "`os.profile` is missing")
                .hint("set it here or in the cluster's `os`: flatcar, fedora-coreos or cloud-init");
            self.found.error_at(node, finding);
        }
    }

    /// A version of Ignition's for a system without it: a mistake where both are said in one layer.
    fn ignition_fits(&mut self, own: &OsLayer, base: &OsLayer, profile: &Profile) {
        if profile.format == Format::Ignition {
            return;
        }
        let said = match (&own.ignition, &base.ignition) {
            (Some(at), _) => Some(at),
            (None, Some(at)) if own.profile.is_none() => Some(at),
            _ => None,
        };
        if let Some(at) = said {
            let finding = Finding::new(code::PROFILE, format!("the profile `{}` has no Ignition", profile.name));
            self.found.error_at(&at.place, finding.hint("leave `ignitionVersion` out"));
        }
    }

    pub(super) fn updates_warning(&mut self, own: &Field<RawOs>, base: &Field<RawOs>) {
        let said = [own, base].into_iter().find_map(|field| field.get()?.updates.get());
        if let Some(at) = said {
            let finding = Finding::new(code::UPDATES, "the OS reboots by itself: two etcd members may go at once")
                .hint("have it coordinated (FleetLock, kured) by `os.files`, or leave updates off");
            self.found.warning_at(&at.place, finding);
        }
    }

    fn users(&mut self, field: &Field<List<RawUser>>) -> Vec<UserLayer> {
        let mut users = Vec::new();
        let mut seen = BTreeMap::new();
        for at in field.get().into_iter().flat_map(|list| &list.value) {
            let name = at.name.required("name", &at.place, self.found);
            if let Some(name) = name {
                self.account_name(name, "an account's name");
                self.once(&mut seen, name.value.clone(), &name.place, "this account");
            }
            let keys = at.ssh_authorized_keys.get().map(|list| {
                let mut seen = BTreeMap::new();
                for key in &list.value {
                    if let Err(why) = ssh::check(&key.value.0) {
                        let finding = Finding::new(code::SSH_KEY, format!("not an SSH key: {why}"))
                            .hint("paste the whole line of a .pub file: `ssh-ed25519 AAAA... name`");
                        self.found.error_at(&key.place, finding);
                    }
                    self.once(&mut seen, key.value.0.clone(), &key.place, "this key");
                }
                list.value.iter().map(|key| key.value.0.clone()).collect::<Vec<_>>().into()
            });
            let password = at.password_hash.get().map(|hash| {
                let text = &hash.value.0;
                // crypt(5): $ID$...; a colon or a line end would end the field in shadow(5).
                let crypt = text.strip_prefix('$').is_some_and(|rest| rest.contains('$')) || text.starts_with("_");
                if !crypt || !text.is_ascii() || text.contains([':', ' ', '\t', '\n', '\r']) {
                    let finding = Finding::new(code::VALUE, "not a password's hash as crypt(5) has them")
                        .hint("make one with `mkpasswd --method=yescrypt`; the password itself does not belong here");
                    self.found.error_at(&hash.place, finding);
                }
                Secret::from(text.clone())
            });
            let groups = at.groups.get().map(|list| {
                let mut seen = BTreeMap::new();
                for group in &list.value {
                    self.account_name(group, "a group's name");
                    self.once(&mut seen, group.value.clone(), &group.place, "this group");
                }
                list.value.iter().map(|group| group.value.clone()).collect::<Vec<_>>().into()
            });
            if let Some(name) = name {
                users.push(UserLayer { name: name.value.clone(), keys, password, groups });
            }
        }
        users
    }

    /// useradd(8): `[a-z_][a-z0-9_-]*`, at most 32 characters.
    fn account_name(&mut self, at: &At<String>, what: &str) {
        let first = at.value.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        let rest = at.value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'));
        if !first || !rest || at.value.len() > 32 {
            self.bad(
                at,
                &format!("{what} is of a-z, 0-9, `_` and `-`, starts with a letter and has at most 32 characters"),
            );
        }
    }

    fn time_servers(&mut self, list: &At<List<String>>) -> Vec<String> {
        for at in &list.value {
            if at.value.parse::<IpAddr>().is_err() && at.value.parse::<DnsName>().is_err() {
                self.bad(at, "neither an IP address nor a DNS name");
            }
        }
        list.value.iter().map(|at| at.value.clone()).collect()
    }

    fn files(&mut self, field: &Field<List<RawFile>>) -> Vec<At<Common<OsFile>>> {
        let mut files = Vec::new();
        let mut seen = BTreeMap::new();
        for at in field.get().into_iter().flat_map(|list| &list.value) {
            let path = at.path.required("path", &at.place, self.found).and_then(|path| self.parse::<AbsPath>(path));
            let mode = self.parse_or::<Mode>(&at.mode, "0644");
            let contents = match (&at.content, &at.file) {
                (content, file) if !content.is_unset() && !file.is_unset() => {
                    let place = file.get().map_or(&at.place, |file| &file.place);
                    self.found
                        .error_at(place, Finding::new(code::VALUE, "both `content` and `file`: one of them is enough"));
                    None
                }
                (Field::Given(content), _) => {
                    let path = path.as_ref().map(|p| p.value.to_string()).unwrap_or_default();
                    Some(InputFile { path, bytes: content.value.0.as_bytes().into() })
                }
                (_, Field::Given(file)) => self.input(file),
                (content, file) if content.is_unset() && file.is_unset() => {
                    self.found.error_at(&at.place, Finding::new(code::MISSING, "`content` or `file` is missing"));
                    None
                }
                _ => None,
            };
            let Some(path) = path else { continue };
            self.once(&mut seen, path.value.clone(), &path.place, "this path");
            // Its place is judged whatever is wrong with the rest, which has been reported.
            let faulty = || InputFile { path: path.value.to_string(), bytes: b"".as_slice().into() };
            let contents = contents.unwrap_or_else(faulty);
            if let Some(mode) = mode.or_else(|| "0644".parse().ok()) {
                let file = OsFile { path: path.value, mode, contents };
                files.push(At { value: file.into(), place: path.place });
            }
        }
        files
    }

    /// Files at places that are not the user's, on any system.
    fn check_reserved(
        &mut self,
        profile: Option<&Profile>,
        files: &BTreeMap<AbsPath, At<Common<OsFile>>>,
        shared: &Shared<'_>,
    ) {
        let (certificates, data_dir) = own_folders(profile, shared);
        for (place, at) in files {
            let path = short(at.value.path.as_str());
            if let Some(why) = paths::reserved(place, &certificates, data_dir.as_ref()) {
                let finding = Finding::new(code::RESERVED, format!("`{path}` is not yours to write: {why}"));
                self.found.error_at(&at.place, finding.hint("leave it out, or take another path"));
            } else if let Some(below) = first_below(files, place) {
                let finding = Finding::new(code::RESERVED, format!("`{path}` would be a file and a folder"));
                let finding = finding.second(at.place.span, "a file").hint("rename one of the two");
                self.found.error_at(&below.place, finding);
            }
        }
    }

    /// Files that this profile has itself, or cannot take.
    fn check_writable(
        &mut self,
        profile: &Profile,
        profile_place: &Place,
        files: &BTreeMap<AbsPath, At<Common<OsFile>>>,
        written: &[AbsPath],
    ) {
        for (place, at) in files {
            let path = short(at.value.path.as_str());
            if written.contains(place) {
                let message = format!("`{path}` is written by nodekiln on {}", profile.name);
                let finding = Finding::new(code::RESERVED, message);
                self.found.error_at(&at.place, finding.hint("leave it out, or take another path"));
            } else if paths::is_read_only(profile, place) {
                let message = format!("`{path}` cannot be written on {}", profile.name);
                let finding = Finding::new(code::READ_ONLY, message).second(profile_place.span, "this profile");
                let hint = format!("programs go to {}, everything else below /etc, /opt or /var", profile.bin_dir);
                self.found.error_at(&at.place, finding.hint(hint));
            }
        }
    }

    /// certificatesDir and dataDir have to be writable on this node.
    fn check_folders(&mut self, profile: &Profile, profile_place: &Place, shared: &Shared<'_>) {
        for (folder, said) in
            [(shared.certificates_dir, shared.certificates_place), (shared.data_dir, shared.data_dir_place)]
        {
            let (Some(folder), Some(said)) = (folder, said) else { continue };
            let place = paths::canonical(profile, folder);
            if paths::is_read_only(profile, &place) && !paths::is_volatile(&place) {
                let finding = Finding::new(
                    code::READ_ONLY,
                    format!("`{}` cannot be written on {}", short(folder.as_str()), profile.name),
                );
                self.found.error_at(said, finding.second(profile_place.span, "this profile"));
            }
        }
    }

    fn units(&mut self, field: &Field<List<RawUnit>>) -> Vec<At<Common<OsUnit>>> {
        let mut units = Vec::new();
        let mut seen = BTreeMap::new();
        for at in field.get().into_iter().flat_map(|list| &list.value) {
            let name = at.name.required("name", &at.place, self.found).and_then(|name| self.parse::<UnitName>(name));
            let mut dropins = Vec::new();
            let mut dropin_names = BTreeMap::new();
            for dropin in at.dropins.get().into_iter().flat_map(|list| &list.value) {
                let file = dropin.name.required("name", &dropin.place, self.found);
                let content = dropin.content.required("content", &dropin.place, self.found);
                let Some(file) = file else { continue };
                let stem = file.value.strip_suffix(".conf").unwrap_or("");
                if stem.is_empty() || file.value.len() > 255 || file.value.chars().any(|c| c == '/' || c.is_control()) {
                    self.bad(file, "a drop-in is a file name that ends in .conf");
                    continue;
                }
                if stem.contains("nodekiln") {
                    let finding = Finding::new(code::RESERVED, "names with `nodekiln` are its own");
                    self.found.error_at(&file.place, finding);
                    continue;
                }
                self.once(&mut dropin_names, file.value.clone(), &file.place, "this drop-in");
                if let Some(content) = content {
                    self.unit_text(content, false);
                    dropins.push((file.value.clone(), content.value.0.clone()));
                }
            }
            if let Some(content) = at.content.get() {
                self.unit_text(content, at.enabled.get().is_some_and(|b| b.value));
            }
            let Some(name) = name else { continue };
            self.once(&mut seen, name.value.clone(), &name.place, "this unit");
            let unit = OsUnit {
                name: name.value,
                enabled: at.enabled.get().is_some_and(|b| b.value),
                content: at.content.get().map(|content| content.value.0.clone()),
                dropins,
            };
            units.push(At { value: unit.into(), place: name.place });
        }
        units
    }

    fn unit_text(&mut self, at: &At<Hidden>, enabled: bool) {
        if let Some(why) = nodekiln_payload::unit_fault(&at.value.0, enabled) {
            self.found
                .error_at(&at.place, Finding::new(code::VALUE, format!("not a unit that can be laid down: {why}")));
        }
    }

    fn check_units(&mut self, profile: Option<&Profile>, units: &BTreeMap<UnitName, At<Common<OsUnit>>>) {
        for (name, at) in units {
            let text = name.as_str();
            let why = if text == "kubelet.service" || text.starts_with("nodekiln") {
                "it is nodekiln's own"
            } else if profile.is_some_and(|p| p.containerd_unit == *name) && at.value.content.is_some() {
                "the image has it: change it by `dropins`"
            } else if at.value.enabled && profile.is_some_and(|p| p.mask.contains(name)) {
                "nodekiln masks it on this profile"
            } else {
                continue;
            };
            let finding =
                Finding::new(code::RESERVED, format!("the unit `{}` is not yours to set: {why}", short(text)));
            self.found.error_at(&at.place, finding);
        }
    }
}

impl UserLayer {
    fn resolve(self, profile: &Profile) -> User {
        // root needs no group to become root.
        let default = if self.name == "root" { Vec::new() } else { vec![profile.admin_group.clone()] };
        User {
            groups: self.groups.unwrap_or_else(|| default.into()),
            name: self.name,
            ssh_authorized_keys: self.keys.unwrap_or_default(),
            password_hash: self.password,
        }
    }
}

/// certificatesDir and dataDir, canonical; the default where the first is faulty.
pub(super) fn own_folders(profile: Option<&Profile>, shared: &Shared<'_>) -> (AbsPath, Option<AbsPath>) {
    let default = || "/etc/kubernetes/pki".parse().expect("the default is a clean absolute path");
    let certificates = shared.certificates_dir.cloned().unwrap_or_else(default);
    let data_dir = shared.data_dir.map(|dir| paths::canonical(profile, dir));
    (paths::canonical(profile, &certificates), data_dir)
}

/// What nodekiln lays down because of the profile, canonical.
fn written(profile: &Profile, updates: bool, time_servers: bool) -> Vec<AbsPath> {
    let off = if updates { &[][..] } else { &profile.updates_off_files };
    let chrony = (time_servers && profile.time_service == TimeService::Chrony).then(|| "/etc/chrony.conf".parse().ok());
    let files = profile.files.iter().chain(off).map(|file| file.path.clone());
    files.chain(chrony.flatten()).map(|path| paths::canonical(profile, &path)).collect()
}

/// A file whose path needs a folder where `place` is a file.
fn first_below<'a>(
    files: &'a BTreeMap<AbsPath, At<Common<OsFile>>>,
    place: &AbsPath,
) -> Option<&'a At<Common<OsFile>>> {
    // `/a-b` sorts between `/a` and `/a/b`.
    let near = files.range(place.clone()..).skip(1).take_while(|(path, _)| path.as_str().starts_with(place.as_str()));
    near.into_iter().find(|(path, _)| path.is_within(place)).map(|(_, at)| at)
}

/// Two layers of a list by the key of its items: an item of `own` replaces one of `base`.
fn by_key<T: Clone, K: Ord>(base: &[At<T>], own: &[At<T>], key: impl Fn(&T) -> K) -> BTreeMap<K, At<T>> {
    base.iter().chain(own).map(|at| (key(&at.value), at.clone())).collect()
}
