//! How API servers reach etcd: the member beside them, the `etcd` nodes, or one that somebody else runs.

use super::{ClassSite, Site, arg, etcd, static_pod::host_path, url};
use crate::config::{ExternalEtcd, InputFile, NodeFile, Volume};
use nodekiln_plan::{AbsPath, EtcdServer, ExternalEtcdPlan, Mode, Role};

/// What kube-apiserver is told.
pub(crate) struct Access {
    /// URLs.
    pub endpoints: Vec<String>,
    /// CA bundle that signed etcd's serving certificate.
    pub ca: Option<AbsPath>,
    /// Client certificate.
    pub cert: Option<AbsPath>,
    /// Its key.
    pub key: Option<AbsPath>,
}

/// What this control plane's API server is told.
pub(crate) fn access(site: &Site) -> Access {
    if let Some(external) = &site.cluster.external_etcd {
        let [ca, cert, key] = files(site, external).map(|file| file.map(|file| file.path));
        return Access { endpoints: external.endpoints.clone(), ca, cert, key };
    }
    let endpoints = match site.is_member() {
        // kubeadm's `getAPIServerCommand`: an override of what etcd advertises counts here too.
        true => match arg::last(&site.cluster.etcd.extra_args, "advertise-client-urls") {
            Some(urls) => vec![urls.to_owned()],
            None => vec![url("https", site.loopback(), etcd::CLIENT_PORT)],
        },
        false => node_urls(site),
    };
    Access {
        endpoints,
        ca: Some(site.pki("etcd/ca.crt")),
        cert: Some(site.pki("apiserver-etcd-client.crt")),
        key: Some(site.pki("apiserver-etcd-client.key")),
    }
}

/// Of all `etcd` nodes.
fn node_urls(site: &ClassSite) -> Vec<String> {
    site.cluster.with_role(Role::Etcd).map(|node| url("https", node.address(), etcd::CLIENT_PORT)).collect()
}

/// A file that reaches etcd: where it is on the node, and its bytes if the payload brings it.
pub(crate) struct ClientFile<'a> {
    /// On the node.
    pub path: AbsPath,
    /// Permission bits, if the payload brings it.
    pub mode: Mode,
    /// Its bytes; `None` if the machine image has it.
    pub input: Option<&'a InputFile>,
}

/// CA, certificate and key of an etcd that somebody else runs. What the payload brings has the names that kubeadm's guide
/// for external etcd gives: below certificatesDir, which the pod mounts.
pub(crate) fn files<'a>(site: &ClassSite, external: &'a ExternalEtcd) -> [Option<ClientFile<'a>>; 3] {
    [
        (&external.ca, "etcd/ca.crt", Mode::PUBLIC),
        (&external.cert, "apiserver-etcd-client.crt", Mode::PUBLIC),
        (&external.key, "apiserver-etcd-client.key", Mode::PRIVATE),
    ]
    .map(|(file, name, mode)| {
        file.as_ref().map(|file| match file {
            NodeFile::Input(input) => ClientFile { path: site.pki(name), mode, input: Some(input) },
            NodeFile::Image(path) => ClientFile { path: path.clone(), mode, input: None },
        })
    })
}

/// The files of [`files`] that the machine image has to have.
pub(crate) fn in_image(site: &ClassSite) -> Vec<AbsPath> {
    let Some(external) = &site.cluster.external_etcd else { return Vec::new() };
    files(site, external).into_iter().flatten().filter(|file| file.input.is_none()).map(|file| file.path).collect()
}

/// What firstboot asks an etcd that somebody else runs by.
pub(crate) fn external(site: &ClassSite) -> Option<ExternalEtcdPlan> {
    let external = site.cluster.external_etcd.as_ref()?;
    let server = |url: &String| {
        let (scheme, rest) = url.split_once("://")?;
        Some(EtcdServer { endpoint: rest.parse().ok()?, tls: scheme == "https" })
    };
    let [ca, cert, key] = files(site, external).map(|file| file.map(|file| file.path));
    Some(ExternalEtcdPlan { servers: external.endpoints.iter().filter_map(server).collect(), ca, cert, key })
}

/// Folders of those files, for kube-apiserver to see them: `etcd-certs-0` and so on, without those that lie in one that is
/// mounted anyway (kubeadm's `getEtcdCertVolumes`).
pub(crate) fn volumes(site: &ClassSite, mounted: &[Volume]) -> Vec<Volume> {
    let mut folders: Vec<AbsPath> = in_image(site).iter().filter_map(AbsPath::parent).collect();
    folders.retain(|folder| !mounted.iter().any(|volume| folder.is_within(&volume.mount_path)));
    folders.sort();
    folders.dedup();
    let all = folders.clone();
    folders.retain(|folder| !all.iter().any(|other| other != folder && folder.is_within(other)));
    let volume = |(number, folder): (usize, &AbsPath)| {
        host_path(&format!("etcd-certs-{number}"), folder, "DirectoryOrCreate", true)
    };
    folders.iter().enumerate().map(volume).collect()
}
