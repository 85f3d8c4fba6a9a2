//! Kubeconfigs, in the shape that kubeadm gives them.

use crate::draft::{Leaf, LeafForm, Part, Shared};
use nodekiln_plan::{AbsPath, ClusterName, Endpoint};

/// How a kubeconfig's user authenticates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// With this leaf, certificate and key in the file itself.
    Embedded(Leaf),
    /// With certificate and key from this one PEM file, which may change while the file is in use: the kubelet's.
    File(AbsPath),
}

/// A kubeconfig with one cluster, one user and the current context `USER@CLUSTER`; the CA bundle is embedded.
///
/// YAML whose texts are all JSON strings (which YAML 1.2 reads as double-quoted scalars), so that no value can leave its
/// place.
pub fn template(cluster: &ClusterName, user: &str, server: &Endpoint, credentials: Credentials) -> Vec<Part> {
    let context = quoted(&format!("{user}@{cluster}"));
    let (cluster, user) = (quoted(cluster.as_str()), quoted(user));
    let server = quoted(&format!("https://{server}"));
    let mut parts = vec![
        Part::Text("apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    certificate-authority-data: ".to_owned()),
        Part::Base64(Shared::Ca),
        Part::Text(format!(
            "\n    server: {server}\n  name: {cluster}\ncontexts:\n- context:\n    cluster: {cluster}\n    user: {user}\n  \
             name: {context}\ncurrent-context: {context}\nusers:\n- name: {user}\n  user:\n"
        )),
    ];
    match credentials {
        Credentials::Embedded(leaf) => parts.extend([
            Part::Text("    client-certificate-data: ".to_owned()),
            Part::LeafBase64(leaf.clone(), LeafForm::Certificate),
            Part::Text("\n    client-key-data: ".to_owned()),
            Part::LeafBase64(leaf, LeafForm::Key),
            Part::Text("\n".to_owned()),
        ]),
        Credentials::File(path) => {
            let path = quoted(path.as_str());
            parts.push(Part::Text(format!("    client-certificate: {path}\n    client-key: {path}\n")));
        }
    }
    parts
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::Row;

    fn text(parts: &[Part]) -> String {
        parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Base64(Shared::Ca) => "Q0E=".to_owned(),
                Part::LeafBase64(_, LeafForm::Certificate) => "Q1JU".to_owned(),
                Part::LeafBase64(_, LeafForm::Key) => "S0VZ".to_owned(),
                other => panic!("{other:?} does not belong into a kubeconfig"),
            })
            .collect()
    }

    fn read(parts: &[Part]) -> serde_json::Value {
        serde_saphyr::from_str(&text(parts)).unwrap()
    }

    #[test]
    fn embedded() {
        let leaf = Leaf { row: Row::Scheduler, node: None, sans: vec![] };
        let parts = template(
            &"prod-1".parse().unwrap(),
            "system:kube-scheduler",
            &"[2001:db8::1]:6443".parse().unwrap(),
            Credentials::Embedded(leaf),
        );
        let user = "system:kube-scheduler";
        assert_eq!(
            read(&parts),
            serde_json::json!({
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "prod-1", "cluster": {
                    "server": "https://[2001:db8::1]:6443", "certificate-authority-data": "Q0E=",
                }}],
                "contexts": [{"name": "system:kube-scheduler@prod-1", "context": {"cluster": "prod-1", "user": user}}],
                "current-context": "system:kube-scheduler@prod-1",
                "users": [{"name": user, "user": {"client-certificate-data": "Q1JU", "client-key-data": "S0VZ"}}],
            })
        );
    }

    #[test]
    fn from_a_file_without_any_key() {
        let path: AbsPath = "/var/lib/kubelet/pki/kubelet-client-current.pem".parse().unwrap();
        let server = "api.example:443".parse().unwrap();
        let cluster = "kubernetes".parse().unwrap();
        let parts = template(&cluster, "system:node:n1", &server, Credentials::File(path.clone()));
        assert!(!parts.iter().any(|part| matches!(part, Part::LeafBase64(..))));
        let user = &read(&parts)["users"][0]["user"];
        assert_eq!(user, &serde_json::json!({"client-certificate": path, "client-key": path}));
    }

    #[test]
    fn odd_texts_stay_in_place() {
        let server = "a:1".parse().unwrap();
        for cluster in ["no", "1e3", "a:b", "#x", "{}", "%", "&a", "*", "!"] {
            let path = "/a b: \"c\" #d\u{1F512}".parse().unwrap();
            let file = read(&template(&cluster.parse().unwrap(), "u", &server, Credentials::File(path)));
            assert_eq!(file["clusters"][0]["name"], cluster);
            assert_eq!(file["users"][0]["user"]["client-key"], "/a b: \"c\" #d\u{1F512}");
        }
    }
}
