//! What Ignition refuses in a configuration that its types take: rules of `config/v3_*/types`, as of Ignition 2.24.
//!
//! Beyond it: the digits of a hash, which Ignition looks at when the machine boots, and modes that are another number than
//! they look like.

use super::disks;
use crate::content::unbase64;
use serde_json::{Map, Value};
use std::{collections::BTreeSet, fmt};

/// Something about a place in a snippet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Such as `storage.files[0].mode`.
    pub place: String,
    /// What is wrong. It repeats nothing of the value, which may be secret.
    pub why: &'static str,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.place, self.why)
    }
}

/// What is to be said of a snippet that parses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remarks {
    /// What its reader would refuse.
    pub faults: Vec<Remark>,
    /// What is hardly meant.
    pub doubts: Vec<Remark>,
}

impl Remarks {
    pub(super) fn fault(&mut self, place: impl Into<String>, why: &'static str) {
        self.faults.push(Remark { place: place.into(), why });
    }

    pub(super) fn doubt(&mut self, place: impl Into<String>, why: &'static str) {
        self.doubts.push(Remark { place: place.into(), why });
    }

    /// Reports items that are called the same.
    pub(super) fn unique(&mut self, list: &[Value], place: &str, name: impl Fn(&Value) -> Option<String>) {
        let mut seen = BTreeSet::new();
        for (index, item) in list.iter().enumerate() {
            if name(item).is_some_and(|name| !seen.insert(name)) {
                self.fault(format!("{place}[{index}]"), "comes twice");
            }
        }
    }

    /// Reports a path that is none.
    pub(super) fn path(&mut self, value: &Value, place: String) {
        let path = value.as_str().unwrap_or_default();
        if !path.starts_with('/') {
            self.fault(place, "is no absolute path");
        } else if path != "/" && path[1..].split('/').any(|part| matches!(part, "" | "." | "..")) {
            self.fault(place, "has to be written without `.`, `..` and doubled slashes");
        }
    }
}

/// The items of a list, or none.
pub(super) fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// A text that says something.
pub(super) fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value[key].as_str().filter(|text| !text.is_empty())
}

/// The text under a key, to tell items apart by.
pub(super) fn named(key: &'static str) -> impl Fn(&Value) -> Option<String> {
    move |item| item[key].as_str().map(str::to_owned)
}

/// All remarks about a configuration that Ignition's types take.
pub(crate) fn remarks(map: &Map<String, Value>) -> Remarks {
    let get = |key| map.get(key).unwrap_or(&Value::Null);
    let ignition = get("ignition");
    let minor = ignition["version"].as_str().and_then(|version| version.split('.').nth(1)?.parse().ok());
    let minor: u32 = minor.unwrap_or_default();
    let mut found = Remarks::default();
    for (index, authority) in list(&ignition["security"]["tls"], "certificateAuthorities").iter().enumerate() {
        let place = format!("ignition.security.tls.certificateAuthorities[{index}]");
        if text(authority, "source").is_none() {
            found.fault(format!("{place}.source"), "is missing");
        }
        resource(&mut found, authority, &place, minor);
    }
    let storage = get("storage");
    nodes(&mut found, storage, minor);
    links(&mut found, storage);
    disks::remarks(&mut found, storage, minor);
    units(&mut found, get("systemd"));
    accounts(&mut found, get("passwd"));
    arguments(&mut found, get("kernelArguments"));
    found
}

/// Something that is fetched, or stands in a URL.
pub(super) fn resource(found: &mut Remarks, resource: &Value, place: &str, minor: u32) {
    let scheme = text(resource, "source").map(|source| source.split_once(':').map_or("", |(scheme, _)| scheme));
    let scheme = scheme.map(str::to_ascii_lowercase);
    let fault = match scheme.as_deref() {
        // `oem` is Flatcar's own.
        None | Some("http" | "https" | "tftp" | "s3" | "oem") => None,
        Some("gs") if minor >= 2 => None,
        Some("arn") if minor >= 4 => None,
        Some("data") => {
            let is_sound = resource["source"].as_str().is_some_and(data_is_sound);
            (!is_sound).then_some("is no data URL that Ignition reads: percent-encoded, or padded base64")
        }
        Some(_) => Some("is no URL of a scheme that this version of the specification has"),
    };
    if let Some(fault) = fault {
        found.fault(format!("{place}.source"), fault);
    }
    if text(resource, "compression").is_some_and(|compression| compression != "gzip") {
        found.fault(format!("{place}.compression"), "is neither empty nor `gzip`");
    }
    if let Some(hash) = resource["verification"]["hash"].as_str() {
        let digits = |digits: &str, due| digits.len() == due && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let fits = match hash.split_once('-') {
            Some(("sha512", hex)) => digits(hex, 128),
            Some(("sha256", hex)) => minor >= 1 && digits(hex, 64),
            _ => false,
        };
        let place = format!("{place}.verification.hash");
        if resource["source"].is_null() {
            found.fault(place, "verifies nothing: there is no `source`");
        } else if !fits && minor == 0 {
            found.fault(place, "is not `sha512-` and 128 hex digits");
        } else if !fits {
            found.fault(place, "is not `sha512-` and 128 hex digits, or `sha256-` and 64");
        }
    }
    let headers = list(resource, "httpHeaders");
    if !headers.is_empty() && !matches!(scheme.as_deref(), Some("http" | "https")) {
        found.fault(format!("{place}.httpHeaders"), "needs a `source` of http or https");
    }
    for (index, header) in headers.iter().enumerate() {
        if text(header, "name").is_none() || header["value"].as_str().is_some_and(str::is_empty) {
            found.fault(format!("{place}.httpHeaders[{index}]"), "needs a name and a value");
        }
    }
    found.unique(headers, &format!("{place}.httpHeaders"), named("name"));
}

/// RFC 2397, as far as it is about the data: Ignition's reader wants what is no letter or sign of a URL escaped, and base64
/// padded.
fn data_is_sound(source: &str) -> bool {
    let Some((head, data)) = source.split_once(',') else { return false };
    if head.ends_with(";base64") {
        return unbase64(data).is_some();
    }
    let mut escapes = data.split('%').skip(1);
    let escaped = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    data.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}[]".contains(&byte)) && escapes.all(escaped)
}

/// Files and folders.
fn nodes(found: &mut Remarks, storage: &Value, minor: u32) {
    for kind in ["directories", "files", "links"] {
        for (index, node) in list(storage, kind).iter().enumerate() {
            let place = format!("storage.{kind}[{index}]");
            mode(found, &node["mode"], format!("{place}.mode"));
            for owner in ["user", "group"] {
                if !node[owner]["id"].is_null() && text(&node[owner], "name").is_some() {
                    found.fault(format!("{place}.{owner}"), "has both `id` and `name`");
                }
            }
            let mut above = list(storage, "links").iter().chain(list(storage, "files"));
            let path = text(node, "path").unwrap_or_default();
            let is_above = |above: &str| path.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'));
            if above.any(|above| text(above, "path").is_some_and(is_above)) {
                found.fault(place.clone(), "lies below a file or link of this snippet");
            }
            if kind != "files" {
                continue;
            }
            resource(found, &node["contents"], &format!("{place}.contents"), minor);
            for (index, append) in list(node, "append").iter().enumerate() {
                resource(found, append, &format!("{place}.append[{index}]"), minor);
            }
            if node["overwrite"] == true && node["contents"]["source"].is_null() {
                found.fault(format!("{place}.overwrite"), "needs `contents.source`");
            }
        }
    }
}

/// JSON has no octal numbers: 0644 is 420.
fn mode(found: &mut Remarks, mode: &Value, place: String) {
    let Some(mode) = mode.as_i64() else { return };
    if !(0..=0o7777).contains(&mode) {
        return found.fault(place, "is beyond 4095, which is 07777");
    }
    let digits = mode.to_string();
    let looks_octal = digits.len() == 3 && digits.bytes().all(|digit| digit < b'8');
    // Below 512 are modes that people do mean, 420 among them: these are only read as what they are not.
    if looks_octal && (mode > 0o777 || matches!(mode, 400 | 440 | 444)) {
        found.doubt(place, "is a decimal number: octal 0644 is written 420, 0600 384, 0755 493, 0400 256");
    } else if mode > 0o777 {
        found.doubt(place, "has a setuid, setgid or sticky bit, which Ignition sets from 3.6.0 on only");
    }
}

fn links(found: &mut Remarks, storage: &Value) {
    for (index, link) in list(storage, "links").iter().enumerate() {
        let Some(target) = text(link, "target") else {
            found.fault(format!("storage.links[{index}].target"), "is missing");
            continue;
        };
        if link["hard"] == true && list(storage, "directories").iter().any(|folder| folder["path"] == *target) {
            found.fault(format!("storage.links[{index}]"), "is a hard link to a folder");
        }
    }
}

/// Texts and names of units themselves are looked at where a snippet is parsed.
fn units(found: &mut Remarks, systemd: &Value) {
    for (index, unit) in list(systemd, "units").iter().enumerate() {
        let place = format!("systemd.units[{index}].dropins");
        for (index, dropin) in list(unit, "dropins").iter().enumerate() {
            if !text(dropin, "name").is_some_and(|name| name.ends_with(".conf") && !name.contains('/')) {
                found.fault(format!("{place}[{index}].name"), "does not end in `.conf`");
            }
        }
        found.unique(list(unit, "dropins"), &place, named("name"));
    }
}

fn accounts(found: &mut Remarks, passwd: &Value) {
    found.unique(list(passwd, "groups"), "passwd.groups", named("name"));
    for (index, user) in list(passwd, "users").iter().enumerate() {
        let place = format!("passwd.users[{index}].sshAuthorizedKeys");
        found.unique(list(user, "sshAuthorizedKeys"), &place, |key| key.as_str().map(str::to_owned));
    }
}

fn arguments(found: &mut Remarks, arguments: &Value) {
    let lists = ["shouldExist", "shouldNotExist"].map(|key| list(arguments, key));
    let both: Vec<Value> = lists.concat();
    let mut seen = BTreeSet::new();
    for (index, argument) in both.iter().enumerate() {
        if argument.as_str().is_some_and(|argument| !seen.insert(argument)) {
            let (key, index) = match index.checked_sub(lists[0].len()) {
                None => ("shouldExist", index),
                Some(index) => ("shouldNotExist", index),
            };
            found.fault(format!("kernelArguments.{key}[{index}]"), "comes twice");
        }
    }
}
