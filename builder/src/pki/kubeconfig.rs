//! Kubeconfigs, in the shape that kubeadm gives them.

use crate::draft::{Leaf, LeafForm, Part, Shared, TokenForm};
use nodekiln_plan::{AbsPath, ClusterName, Endpoint, NodeName};

/// How a kubeconfig's user authenticates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// With this leaf, certificate and key in the file itself.
    Embedded(Leaf),
    /// With certificate and key from this one PEM file, which may change while the file is in use: the kubelet's.
    File(AbsPath),
    /// With the bootstrap token of this pool or node.
    Token(NodeName),
}

/// A kubeconfig with one cluster, one user and the current context `USER@CLUSTER`; the CA bundle is embedded.
///
/// YAML whose texts are all JSON strings (which YAML 1.2 reads as double-quoted scalars), so that no value can leave its
/// place.
pub fn template(cluster: &ClusterName, user: &str, server: &Endpoint, credentials: Credentials) -> Vec<Part> {
    contexts(&[(cluster.to_string(), server.clone())], user, credentials)
}

/// A kubeconfig with a cluster and a context `USER@NAME` for each of `servers`, (name, server): one user, one CA. The first
/// is current.
pub fn contexts(servers: &[(String, Endpoint)], user: &str, credentials: Credentials) -> Vec<Part> {
    let mut parts = vec![Part::Text("apiVersion: v1\nkind: Config\nclusters:\n".to_owned())];
    let mut contexts = String::from("contexts:\n");
    for (name, server) in servers {
        let context = quoted(&format!("{user}@{name}"));
        let (name, server) = (quoted(name), quoted(&format!("https://{server}")));
        parts.push(Part::Text("- cluster:\n    certificate-authority-data: ".to_owned()));
        parts.push(Part::Base64(Shared::Ca));
        parts.push(Part::Text(format!("\n    server: {server}\n  name: {name}\n")));
        let user = quoted(user);
        contexts.push_str(&format!("- context:\n    cluster: {name}\n    user: {user}\n  name: {context}\n"));
    }
    let current = servers.first().map(|(name, _)| format!("{user}@{name}")).unwrap_or_default();
    let user = quoted(user);
    contexts.push_str(&format!("current-context: {}\nusers:\n- name: {user}\n  user:\n", quoted(&current)));
    parts.push(Part::Text(contexts));
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
        // Quoted: a token may look like a number.
        Credentials::Token(owner) => parts.extend([
            Part::Text("    token: \"".to_owned()),
            Part::Token(owner, TokenForm::Whole),
            Part::Text("\"\n".to_owned()),
        ]),
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
                Part::Token(_, TokenForm::Whole) => "123456.7890123456789012".to_owned(),
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
    fn several_servers() {
        let leaf = Leaf { row: Row::Admin, node: None, sans: vec![] };
        let servers = [("lab-cp1", "10.0.0.11:6443"), ("lab-cp2", "10.0.0.12:6443")];
        let servers = servers.map(|(name, server)| (name.to_owned(), server.parse().unwrap()));
        let found = read(&contexts(&servers, "admin", Credentials::Embedded(leaf)));
        let ca = "Q0E=";
        assert_eq!(
            found["clusters"],
            serde_json::json!([
                {"name": "lab-cp1", "cluster": {"server": "https://10.0.0.11:6443", "certificate-authority-data": ca}},
                {"name": "lab-cp2", "cluster": {"server": "https://10.0.0.12:6443", "certificate-authority-data": ca}},
            ])
        );
        assert_eq!(
            found["contexts"],
            serde_json::json!([
                {"name": "admin@lab-cp1", "context": {"cluster": "lab-cp1", "user": "admin"}},
                {"name": "admin@lab-cp2", "context": {"cluster": "lab-cp2", "user": "admin"}},
            ])
        );
        assert_eq!((&found["current-context"], &found["users"][0]["name"]), (&"admin@lab-cp1".into(), &"admin".into()));
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

    /// A token of digits is no number.
    #[test]
    fn by_token() {
        let credentials = Credentials::Token("edge".parse().unwrap());
        let server = "api.example:443".parse().unwrap();
        let file = read(&template(&"kubernetes".parse().unwrap(), "tls-bootstrap-token-user", &server, credentials));
        assert_eq!(file["users"][0]["user"], serde_json::json!({"token": "123456.7890123456789012"}));
        assert_eq!(file["current-context"], "tls-bootstrap-token-user@kubernetes");
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
