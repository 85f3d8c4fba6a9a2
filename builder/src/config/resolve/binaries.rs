//! binaries: where programs come from.

use super::Cx;
use crate::config::{
    Binaries, Binary, FetchHash, code,
    diag::Finding,
    raw::{RawBinaries, RawBinary},
    read::{At, Field},
    shown::short,
};
use nodekiln_payload::Profile;
use nodekiln_plan::{AbsPath, Sha256};

/// binaries as one layer says it.
#[derive(Default)]
pub(super) struct BinariesLayer {
    kubelet: Option<Binary>,
    containerd: Option<Binary>,
    runc: Option<Binary>,
    cni_plugins: Option<Binary>,
    firstboot: Option<Binary>,
}

impl BinariesLayer {
    /// What a copy of it weighs, in units of 32 bytes.
    pub(super) fn weight(&self) -> usize {
        let Self { kubelet, containerd, runc, cni_plugins, firstboot } = self;
        let programs = [kubelet, containerd, runc, cni_plugins, firstboot].into_iter().flatten();
        let texts = programs.map(|binary| match binary {
            Binary::Path(path) => path.as_str().len(),
            Binary::File(file) => file.path.len(),
            Binary::Url { url, .. } | Binary::Sysext { url, .. } => url.len(),
        });
        texts.map(|length| 4 + length / 32).sum()
    }

    /// `base` with this layer over it and `profile`'s places below: each program comes from one place, so that a
    /// program's own entry replaces the other layer's whole.
    pub(super) fn over(&self, base: &Self, profile: &Profile) -> Binaries {
        let pick = |own: &Option<Binary>, base: &Option<Binary>| own.clone().or_else(|| base.clone());
        let path = |text: &str| Binary::Path(text.parse().expect("a clean absolute path"));
        let kubelet = || profile.bin_dir.join("kubelet").map_or_else(|_| path("/usr/bin/kubelet"), Binary::Path);
        Binaries {
            kubelet: pick(&self.kubelet, &base.kubelet).unwrap_or_else(kubelet),
            containerd: pick(&self.containerd, &base.containerd).unwrap_or_else(|| path("/usr/bin/containerd")),
            runc: pick(&self.runc, &base.runc).unwrap_or_else(|| path("/usr/bin/runc")),
            cni_plugins: pick(&self.cni_plugins, &base.cni_plugins).unwrap_or_else(|| path("/opt/cni/bin")),
            firstboot: pick(&self.firstboot, &base.firstboot),
        }
    }
}

impl Binaries {
    /// Whether the machine fetches one of these itself.
    pub(super) fn fetches(&self) -> bool {
        [&self.kubelet, &self.containerd, &self.runc, &self.cni_plugins]
            .into_iter()
            .chain(&self.firstboot)
            .any(|binary| matches!(binary, Binary::Url { .. } | Binary::Sysext { .. }))
    }
}

impl Cx<'_, '_> {
    pub(super) fn binaries_layer(&mut self, field: &Field<RawBinaries>) -> BinariesLayer {
        let Some(raw) = field.get() else { return BinariesLayer::default() };
        BinariesLayer {
            kubelet: self.binary(&raw.kubelet),
            containerd: self.binary(&raw.containerd),
            runc: self.binary(&raw.runc),
            cni_plugins: self.binary(&raw.cni_plugins),
            firstboot: self.binary(&raw.firstboot),
        }
    }

    fn binary(&mut self, field: &Field<RawBinary>) -> Option<Binary> {
        let at = field.get()?;
        let raw = &at.value;
        let sources = [("path", &raw.path), ("file", &raw.file), ("url", &raw.url), ("sysext", &raw.sysext)];
        let given: Vec<_> = sources.iter().filter(|(_, field)| !field.is_unset()).collect();
        let hashes: Vec<_> = [&raw.sha256, &raw.sha512].into_iter().filter_map(Field::get).collect();
        match given.as_slice() {
            [] => {
                let finding =
                    Finding::new(code::BINARY, "no source: one of `path`, `file`, `url` or `sysext` is needed");
                self.found.error_at(&at.place, finding);
                None
            }
            [(name, field)] => {
                if !matches!(*name, "url" | "sysext")
                    && let Some(hash) = hashes.first()
                {
                    let finding = Finding::new(code::BINARY, format!("a hash beside `{name}`"));
                    self.found.error_at(&hash.place, finding.hint("only what a machine fetches is hash-checked"));
                    return None;
                }
                let source = field.get()?;
                match *name {
                    "path" => self.parse::<AbsPath>(source).map(|path| Binary::Path(path.value)),
                    "file" => self.input(source).map(Binary::File),
                    name => {
                        let (url, hash) = self.fetched(name, at, source, &hashes, raw)?;
                        let sysext = name == "sysext";
                        Some(if sysext { Binary::Sysext { url, hash } } else { Binary::Url { url, hash } })
                    }
                }
            }
            [_, second, ..] => {
                let names: Vec<_> = given.iter().map(|(name, _)| format!("`{name}`")).collect();
                let finding = Finding::new(code::BINARY, format!("several sources in one: {}", names.join(", ")));
                let place = second.1.get().map_or(&at.place, |at| &at.place);
                self.found.error_at(place, finding);
                None
            }
        }
    }

    fn fetched(
        &mut self,
        name: &str,
        at: &At<RawBinary>,
        url: &At<String>,
        hashes: &[&At<String>],
        raw: &RawBinary,
    ) -> Option<(String, FetchHash)> {
        let parsed = self.url(url);
        let hash = match hashes {
            [] if raw.sha256.is_unset() && raw.sha512.is_unset() => {
                let finding = Finding::new(code::BINARY, format!("a `{name}` without `sha256` or `sha512`"));
                self.found.error_at(&at.place, finding.hint("give the hash of the file as it is served"));
                None
            }
            [] => None,
            [hash] => self.fetch_hash(hash, raw.sha512.get().is_some()),
            [_, second, ..] => {
                let finding = Finding::new(code::BINARY, "both `sha256` and `sha512`: one of them is enough");
                self.found.error_at(&second.place, finding);
                None
            }
        };
        Some((parsed?, hash?))
    }

    fn fetch_hash(&mut self, at: &At<String>, sha512: bool) -> Option<FetchHash> {
        let (due, name) = if sha512 { (128, "sha512") } else { (64, "sha256") };
        let hex = at.value.bytes().all(|b| b.is_ascii_hexdigit());
        if at.value.len() != due || !hex {
            let count = at.value.chars().count();
            let found = if hex { format!("this has {count}") } else { "this has other characters".to_owned() };
            let finding = Finding::new(code::BINARY, format!("a {name} is {due} hex digits, {found}"));
            self.found.error_at(&at.place, finding);
            return None;
        }
        let lower = at.value.to_ascii_lowercase();
        if sha512 { Some(FetchHash::Sha512(lower)) } else { lower.parse::<Sha256>().ok().map(FetchHash::Sha256) }
    }

    /// An http or https URL that all consumers read alike.
    pub(super) fn url(&mut self, at: &At<String>) -> Option<String> {
        match check_url(&at.value) {
            Ok(()) => Some(at.value.clone()),
            Err(why) => {
                let message = format!("`{}` is not a URL to fetch from: {why}", short(&at.value));
                self.found.error_at(&at.place, Finding::new(code::BINARY, message));
                None
            }
        }
    }

    /// An input file named by `at`.
    pub(super) fn input(&mut self, at: &At<String>) -> Option<crate::config::InputFile> {
        match self.inputs.file(&at.value) {
            Ok(file) => Some(file),
            Err(why) => {
                let finding = Finding::new(code::INPUT, format!("`{}` cannot be read: {why}", short(&at.value)));
                self.found.error_at(&at.place, finding);
                None
            }
        }
    }
}

/// RFC 3986, narrowed to what Ignition, curl and firstboot take: scheme, host, port, path, query.
pub(super) fn check_url(text: &str) -> Result<(), &'static str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else { return Err("it has to start with http:// or https://") };
    if text.len() > 2048 {
        return Err("it has more than 2048 characters");
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'))
    {
        return Err("it holds characters that have to be percent-encoded");
    }
    if text.contains('#') {
        return Err("it has a fragment");
    }
    let authority = rest.split(['/', '?']).next().unwrap_or("");
    if authority.contains('@') {
        return Err("it holds a user name, which would be stored in the payload");
    }
    match nodekiln_plan::Endpoint::parse_host_port(authority) {
        Ok((nodekiln_plan::Host::Ip(std::net::IpAddr::V6(_)), _)) if !authority.starts_with('[') => {
            Err("an IPv6 address needs brackets")
        }
        Ok(_) => Ok(()),
        // Hosts are compared without case (RFC 3986 section 3.2.2).
        Err(_) if nodekiln_plan::Endpoint::parse_host_port(&authority.to_ascii_lowercase()).is_ok() => Ok(()),
        Err(_) => Err("its host or port is not valid"),
    }
}

#[cfg(test)]
mod tests {
    use super::check_url;

    #[test]
    fn urls() {
        for good in [
            "http://192.0.2.1:8080/v1.36.3/kubelet",
            "https://example.com",
            "https://[2001:db8::1]:8443/a?b=c",
            "https://Example.com/%20",
        ] {
            assert_eq!(check_url(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "ftp://a/b",
            "http://",
            "http:///x",
            "http://a b/",
            "http://a/ü",
            "http://u:p@a/",
            "http://a:0/",
            "http://a/#x",
            "http://2001:db8::1/",
            "HTTP://a/",
        ] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
