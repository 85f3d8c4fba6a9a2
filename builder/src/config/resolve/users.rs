//! os.users: accounts.

use super::{Cx, ssh};
use crate::config::{
    Common, User, code,
    diag::Finding,
    raw::{List, RawUser},
    read::{At, Field},
};
use nodekiln_payload::Profile;
use nodekiln_plan::Secret;
use std::collections::BTreeMap;

/// An account of one layer; groups depend on the profile unless they are given.
#[derive(Clone)]
pub(super) struct UserLayer {
    name: String,
    keys: Option<Common<Vec<String>>>,
    password: Option<Secret>,
    groups: Option<Common<Vec<String>>>,
}

/// The accounts of one node: what `own` says of an account comes over what `base` says of it.
pub(super) fn accounts(base: &[UserLayer], own: &[UserLayer], profile: &Profile) -> Vec<User> {
    let mut users = base.to_vec();
    let places: BTreeMap<&str, usize> =
        base.iter().enumerate().rev().map(|(place, user)| (user.name.as_str(), place)).collect();
    for user in own {
        match places.get(user.name.as_str()).map(|place| &mut users[*place]) {
            Some(below) => {
                below.keys = user.keys.clone().or_else(|| below.keys.take());
                below.password = user.password.clone().or_else(|| below.password.take());
                below.groups = user.groups.clone().or_else(|| below.groups.take());
            }
            None => users.push(user.clone()),
        }
    }
    users.into_iter().map(|user| user.resolve(profile)).collect()
}

impl Cx<'_, '_> {
    pub(super) fn users(&mut self, field: &Field<List<RawUser>>) -> Vec<UserLayer> {
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
