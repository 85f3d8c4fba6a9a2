//! The kubeconfigs of people.

use super::{Authority, IssueError};
use crate::{
    component::{apiserver, haproxy},
    config::{Cluster, LoadBalancer},
    draft::Row,
    pki::{
        kubeconfig::{self, Credentials},
        table::{self, CommonName},
    },
};
use nodekiln_plan::{Endpoint, Role, Secret};

impl Authority {
    /// `admin.conf` and `super-admin.conf`, for the output.
    ///
    /// # Errors
    /// None in practice: their leaves were issued already.
    pub fn admin_kubeconfigs(&self, cluster: &Cluster) -> Result<[(&'static str, Secret); 2], IssueError> {
        let file = |row| {
            let spec = table::spec(row);
            let CommonName::Fixed(user) = spec.common_name else {
                return Err(IssueError::Scope(spec.name, "for a node"));
            };
            let credentials = Credentials::Embedded(table::leaf(row, cluster, None));
            let mut out = Vec::with_capacity(8192);
            for part in kubeconfig::contexts(&admin_servers(cluster), user, credentials) {
                self.append(&part, &mut out, &mut |leaf| self.issue(leaf))?;
            }
            Ok((spec.name, Secret::new(out)))
        };
        Ok([file(Row::Admin)?, file(Row::SuperAdmin)?])
    }
}

/// What the administrator's machine is told, (name of the cluster, server). Where every node has a balancer of its own,
/// an administrator has none: each control plane gets a context.
fn admin_servers(cluster: &Cluster) -> Vec<(String, Endpoint)> {
    let name = cluster.name.to_string();
    if cluster.load_balancer != LoadBalancer::Local {
        return vec![(name, cluster.endpoint.clone())];
    }
    let own: Vec<_> = cluster
        .with_role(Role::ControlPlane)
        .map(|node| (format!("{name}-{}", node.name), Endpoint::at(node.address(), apiserver::PORT)))
        .collect();
    let is_another = |server: &Endpoint| *server != haproxy::endpoint() && own.iter().all(|(_, known)| known != server);
    let given = Some((name, cluster.endpoint.clone())).filter(|(_, server)| is_another(server));
    given.into_iter().chain(own.iter().cloned()).collect()
}
