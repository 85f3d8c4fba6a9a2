//! os: the profile and what depends on it.

use super::{
    Cx,
    files::{self, FileLayer},
    nodes::Shared,
    units::UnitLayer,
    users::{UserLayer, accounts},
};
use crate::config::{
    Arch, IgnitionVersion, InputFile, Os, Platform, choices, code,
    diag::Finding,
    raw::{List, RawOs},
    read::{At, Field, Place},
};
use nodekiln_payload::{Format, Profile};
use nodekiln_plan::DnsName;
use std::net::IpAddr;

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
    files: Vec<At<FileLayer>>,
    units: Vec<At<UnitLayer>>,
    snippets: Option<Vec<At<InputFile>>>,
}

impl OsLayer {
    /// What a copy of it weighs, in units of 32 bytes.
    pub(super) fn weight(&self) -> usize {
        let Self { users, time_servers, files, units, snippets, .. } = self;
        let servers = time_servers.iter().flatten().map(|server| 2 + server.len() / 32);
        let snippets = snippets.iter().flatten().map(|at| 3 + at.value.path.len() / 32);
        // References, which take time rather than memory.
        let references = 4 * (files.len() + units.len());
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
        let files = self.lay_files(known, &base.files, &own.files);
        let units = self.lay_units(&base.units, &own.units);
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
        let written = files::written(profile, updates, !time_servers.is_empty());
        self.check_writable(profile, place, &files, &written);
        self.check_folders(profile, place, shared);
        let ignition = own.ignition.as_ref().or(base.ignition.as_ref());
        let snippets = own.snippets.as_ref().or(base.snippets.as_ref()).map(Vec::as_slice).unwrap_or_default();
        let version = ignition.map_or(IgnitionVersion::V3_3, |at| at.value);
        self.check_snippets(profile, version, snippets, shared);
        let mut files: Vec<_> = files.into_values().map(|at| at.value.file).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Some(Os {
            profile,
            platform: own.platform.or(base.platform).unwrap_or(Platform::Metal),
            arch: own.arch.or(base.arch).unwrap_or(Arch::Amd64),
            ignition_version: version,
            users: accounts(&base.users, &own.users, profile),
            time_servers,
            updates,
            files,
            units: units.into_values().map(|at| at.value.unit).collect(),
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

    fn time_servers(&mut self, list: &At<List<String>>) -> Vec<String> {
        for at in &list.value {
            if at.value.parse::<IpAddr>().is_err() && at.value.parse::<DnsName>().is_err() {
                self.bad(at, "neither an IP address nor a DNS name");
            }
        }
        list.value.iter().map(|at| at.value.clone()).collect()
    }
}
