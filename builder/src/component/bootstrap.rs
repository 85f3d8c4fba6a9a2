//! Nodes that come by bootstrap token: the kubelet's bootstrap kubeconfig, and the token's Secret in the cluster.

use super::{NAMESPACE, Site, constant, kubelet, rbac};
use crate::{
    config::Cluster,
    draft::{DraftStep, Part, TokenForm, fill_in_all},
    pki::{
        kubeconfig::{self, Credentials},
        table,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use nodekiln_plan::{AbsPath, ApiStep, MANAGED_BY, NodeName, TOKEN_OWNER, paths};
use serde_json::{Value, json};

/// Whether any node of the cluster comes by token.
pub(crate) fn is_used(cluster: &Cluster) -> bool {
    table::tokens(cluster).next().is_some()
}

/// `--bootstrap-kubeconfig`: staged as a credential, which firstboot erases at its end, as kubeadm erases its own once
/// the kubelet has a certificate. A kubelet that has one does not ask for the file.
pub(crate) fn path() -> AbsPath {
    super::below(&constant(paths::STAGE_DIR), "bootstrap-kubelet.conf")
}

/// The kubeconfig: kubeadm's `bootstrap-kubelet.conf`.
pub(crate) fn kubeconfig(site: &Site) -> Vec<Part> {
    let credentials = Credentials::Token(site.node.name.clone());
    kubeconfig::template(&site.cluster.name, "tls-bootstrap-token-user", &kubelet::server(site), credentials)
}

/// The Secret of each token, by which the API server knows it. It serves to authenticate and nothing else: machines find
/// the cluster by their payload, so none of them signs `cluster-info`.
pub(crate) fn secrets(cluster: &Cluster) -> Vec<DraftStep> {
    table::tokens(cluster).map(|(owner, ttl)| secret(owner, ttl.is_some())).collect()
}

fn secret(owner: &NodeName, ends: bool) -> DraftStep {
    const NAME: &str = "@name@";
    const ID: &str = "@id@";
    const SECRET: &str = "@secret@";
    const END: &str = "@end@";
    let mut data = json!({
        "auth-extra-groups": STANDARD.encode(rbac::BOOTSTRAPPERS),
        "description": STANDARD.encode(format!("nodekiln: {owner}")),
        "token-id": ID,
        "token-secret": SECRET,
        "usage-bootstrap-authentication": STANDARD.encode("true"),
    });
    if ends {
        data["expiration"] = Value::from(END);
    }
    let object = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": format!("bootstrap-token-{NAME}"),
            "namespace": NAMESPACE,
            // By these firstboot finds the tokens of who is not planned any more.
            "labels": {MANAGED_BY.0: MANAGED_BY.1},
            "annotations": {TOKEN_OWNER: owner},
        },
        "type": "bootstrap.kubernetes.io/token",
        "data": data,
    });
    let line = serde_json::to_string(&ApiStep::Apply(object)).expect("all keys are texts");
    let plain = |form| Part::Token(owner.clone(), form);
    let base64 = |form| Part::TokenBase64(owner.clone(), form);
    DraftStep::Template(fill_in_all(
        &line,
        &[
            (NAME, plain(TokenForm::Id)),
            (ID, base64(TokenForm::Id)),
            (SECRET, base64(TokenForm::Secret)),
            (END, base64(TokenForm::End)),
        ],
    ))
}
