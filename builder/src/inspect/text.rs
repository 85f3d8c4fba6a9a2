//! An [`Inspection`] for people.

use super::{
    facts::{Inspection, Kind},
    material::Credential,
    report::brief,
};
use nodekiln_plan::{FileKind, PLAN_VERSION, Role};
use std::fmt::Write as _;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Seconds since the Unix epoch as RFC 3339 has it.
pub fn date(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|time| time.format(&Rfc3339).ok());
    time.unwrap_or_else(|| seconds.to_string())
}

/// All of it, in lines.
pub fn text(report: &Inspection) -> String {
    let mut out = String::new();
    head(&mut out, report);
    section(&mut out, "folders", &report.directories, |out, dir| write!(out, "{} {}", dir.mode, dir.path));
    section(&mut out, "files", &report.files, |out, file| {
        let size = file.size.map_or_else(|| "?".to_owned(), |size| size.to_string());
        write!(out, "{} {} {size:>8} {}", file.mode, file.owner, file.path)?;
        match file.kind {
            None | Some(FileKind::Laid) => Ok(()),
            Some(FileKind::Staged) => write!(out, " (put there by firstboot)"),
            Some(FileKind::Decided) => write!(out, " (put there by firstboot when etcd's start is decided)"),
            Some(FileKind::Seed) => write!(out, " (put there by firstboot unless the kubelet has one)"),
            Some(FileKind::Credential) => write!(out, " (erased by firstboot when it has finished)"),
        }
    });
    section(&mut out, "links", &report.links, |out, link| write!(out, "{} -> {}", link.path, link.target));
    section(&mut out, "units", &report.units, |out, unit| {
        write!(out, "{} {}", unit.name, unit.state)?;
        let own = if unit.has_contents { ", own file" } else { "" };
        write!(out, "{own}")?;
        unit.dropins.iter().try_for_each(|name| write!(out, ", drop-in {name}"))
    });
    section(&mut out, "accounts", &report.accounts, |out, account| {
        write!(out, "{} in {}", account.name, list(&account.groups))?;
        if account.has_password {
            write!(out, ", with a password")?;
        }
        account.ssh_keys.iter().try_for_each(|key| write!(out, ", key {key}"))
    });
    section(&mut out, "fetched by the machine", &report.fetches, |out, fetch| {
        write!(out, "{} {}\n    from {}\n    {}", fetch.mode, fetch.path, fetch.url, fetch.hash)
    });
    if let Some(network) = &report.network {
        let port = network.mac.as_deref().unwrap_or("the only Ethernet port");
        let gateways: Vec<_> = network.gateways.iter().map(ToString::to_string).collect();
        let _ = writeln!(out, "network: {} on {port}, gateway {}", network.addresses.join(", "), list(&gateways));
    }
    if !report.time_servers.is_empty() {
        let _ = writeln!(out, "time servers: {}", report.time_servers.join(", "));
    }
    section(&mut out, "snippets", &report.snippets, |out, snippet| write!(out, "{}", snippet.join(", ")));
    section(&mut out, "certificates", &report.certificates, |out, certificate| {
        write!(out, "{}", certificate.path)?;
        if let Some(name) = &certificate.name {
            write!(out, " ({name})")?;
        }
        write!(out, "\n    {} by {}", certificate.subject, certificate.issuer)?;
        let kind = if certificate.is_ca { "a CA".to_owned() } else { list(&certificate.usages) };
        write!(out, "\n    {kind}, {} to {}", date(certificate.not_before), date(certificate.not_after))?;
        if !certificate.sans.is_empty() {
            write!(out, "\n    for {}", certificate.sans.join(" "))?;
        }
        write!(out, "\n    public key {}", brief(&certificate.spki))
    });
    section(&mut out, "private keys", &report.private_keys, |out, key| {
        write!(out, "{}", key.path)?;
        match (&key.name, &key.spki) {
            (Some(name), Some(spki)) => write!(out, " ({name}), public key {}", brief(spki)),
            (None, Some(spki)) => write!(out, " (no certificate here is its), public key {}", brief(spki)),
            (_, None) => write!(out, " (cannot be read)"),
        }
    });
    section(&mut out, "kubeconfigs", &report.kubeconfigs, |out, config| {
        write!(out, "{}: {} at {}", config.path, list(&config.users), list(&config.servers))?;
        config.credentials.iter().try_for_each(|credential| match credential {
            Credential::Certificate(subject) => write!(out, ", by a certificate for {subject}"),
            Credential::File(file) => write!(out, ", by the certificate in {file}"),
            Credential::Token(id) => write!(out, ", by the bootstrap token {id}"),
            Credential::Other => Ok(()),
        })
    });
    section(&mut out, "applied to the API", &report.api, |out, step| write!(out, "{step}"));
    out
}

fn head(out: &mut String, report: &Inspection) {
    let kind = match report.kind {
        Kind::Ignition => "an Ignition configuration",
        Kind::Pointer => "a stub that points at an Ignition configuration",
        Kind::CloudInit => "a cloud-init payload",
        Kind::Tree => "a tree of files",
        Kind::Plan => "a plan",
        Kind::Api => "API steps",
        Kind::Kubeconfig => "a kubeconfig",
        Kind::Certificates => "certificates",
    };
    let _ = writeln!(out, "{kind}, {} bytes", report.size);
    if let Some(node) = &report.node {
        let role = match node.role {
            Some(Role::ControlPlane) => "control plane ",
            Some(Role::Worker) => "worker ",
            Some(Role::Etcd) => "etcd member ",
            None => "node ",
        };
        let _ = write!(out, "{role}{}", node.name);
        if let Some(cluster) = &node.cluster {
            let _ = write!(out, " of the cluster {cluster}");
        }
        if let Some(version) = &node.kubernetes_version {
            let _ = write!(out, ", Kubernetes {version}");
        }
        let addresses: Vec<_> = node.addresses.iter().map(ToString::to_string).collect();
        let at = if addresses.is_empty() { String::new() } else { format!(", at {}", addresses.join(" ")) };
        let _ = writeln!(out, "{at}");
        if let (Some(from), Some(to)) = (node.not_before, node.boot_before) {
            let _ = writeln!(out, "can boot from {} to {}", date(from), date(to));
        }
        if let Some(version) = node.plan_version.filter(|version| *version != u64::from(PLAN_VERSION)) {
            let _ =
                writeln!(out, "its plan has version {version}, and is not read: this nodekiln reads {PLAN_VERSION}");
        }
    }
    if report.kind == Kind::Kubeconfig
        && let Some(end) = report.certificates.iter().filter(|c| !c.is_ca).map(|c| c.not_after).min()
    {
        let _ = writeln!(out, "can be used until {}", date(end));
    }
    if let Some(members) = &report.etcd_members {
        let names: Vec<_> = members.iter().map(ToString::to_string).collect();
        let _ = writeln!(out, "etcd members: {}", names.join(" "));
    }
    if let Some(pointer) = &report.pointer {
        let own = if pointer.has_authorities { ", with certificate authorities for the server" } else { "" };
        let _ = writeln!(out, "points at {}{own}\nsha512-{}", pointer.source, pointer.sha512);
    }
    if !report.platforms.is_empty() {
        let names = |fits: bool| {
            let names = report.platforms.iter().filter(|platform| platform.fits == fits).map(|p| p.name);
            names.collect::<Vec<_>>().join(", ")
        };
        let too_large = names(false);
        let end = if too_large.is_empty() { String::new() } else { format!("; too large for {too_large}") };
        let _ = writeln!(out, "small enough for {}{end}", names(true));
    }
}

fn list(items: &[String]) -> String {
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

fn section<T>(out: &mut String, title: &str, items: &[T], line: impl Fn(&mut String, &T) -> std::fmt::Result) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(out, "{title}:");
    for item in items {
        out.push_str("  ");
        let _ = line(out, item);
        out.push('\n');
    }
}
