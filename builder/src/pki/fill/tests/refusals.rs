//! What `fill` refuses of a planner.

use super::*;

/// The table is enforced where keys are put in, whatever a planner asks for.
#[test]
fn refusals() {
    let cluster = fixture::cluster();
    let authority = fixture::authority();
    let (private, public) = (Mode::PRIVATE, Mode::PUBLIC);
    let leaf = |row, node: usize| table::leaf(row, &cluster, Some(&cluster.nodes[node]));
    let key = |row, node| Contents::Leaf(leaf(row, node), LeafForm::Key);
    let template = |part| Contents::Template(vec![Part::Text("x".into()), part]);
    // The draft's node is the nth of cp1, cp2, cp3, w1.
    for (node, mode, kind, contents, message) in [
        (3, private, FileKind::Laid, Contents::Shared(Shared::CaKey), "/x: this node must not hold the key `ca`"),
        (
            3,
            private,
            FileKind::Laid,
            Contents::Shared(Shared::ServiceAccountKey),
            "/x: this node must not hold the key `sa`",
        ),
        (
            3,
            private,
            FileKind::Laid,
            template(Part::Base64(Shared::EncryptionKey(0))),
            "/x: this node must not hold the key `encryption-at-rest`",
        ),
        (3, private, FileKind::Laid, key(Row::ApiServer, 0), "/x: this node must not hold the key `apiserver/cp1`"),
        (
            3,
            private,
            FileKind::Laid,
            key(Row::KubeletClient, 0),
            "/x: this node must not hold the key `kubelet.conf/cp1`",
        ),
        (0, private, FileKind::Laid, key(Row::EtcdPeer, 1), "/x: this node must not hold the key `etcd-peer/cp2`"),
        (0, private, FileKind::Laid, key(Row::Admin, 0), "/x: this node must not hold the key `admin.conf`"),
        (
            0,
            private,
            FileKind::Credential,
            template(Part::LeafBase64(leaf(Row::Admin, 0), LeafForm::Both)),
            "/x: this node must not hold the key `admin.conf`",
        ),
        (
            0,
            private,
            FileKind::Laid,
            key(Row::SuperAdmin, 0),
            "/x: the key `super-admin.conf` may only be staged as a credential, which firstboot erases",
        ),
        (
            0,
            private,
            FileKind::Staged,
            key(Row::SuperAdmin, 0),
            "/x: the key `super-admin.conf` may only be staged as a credential, which firstboot erases",
        ),
        (0, public, FileKind::Laid, Contents::Shared(Shared::CaKey), "/x: holds the key `ca`, but its mode is 0644"),
        (0, public, FileKind::Staged, key(Row::EtcdPeer, 0), "/x: holds the key `etcd-peer/cp1`, but its mode is 0644"),
        (
            0,
            "0640".parse().unwrap(),
            FileKind::Laid,
            template(Part::Base64(Shared::EncryptionKey(0))),
            "/x: holds the key `encryption-at-rest`, but its mode is 0640",
        ),
        (
            0,
            private,
            FileKind::Laid,
            Contents::Leaf(crate::draft::Leaf { node: None, ..leaf(Row::EtcdPeer, 0) }, LeafForm::Key),
            "the certificate `etcd-peer` is made for a node",
        ),
        (
            0,
            private,
            FileKind::Laid,
            Contents::Leaf(
                crate::draft::Leaf { node: Some("cp1".parse().unwrap()), ..leaf(Row::Scheduler, 0) },
                LeafForm::Key,
            ),
            "the certificate `scheduler.conf` is made for all nodes, not for one",
        ),
    ] {
        let mut draft = fixture::draft(&cluster, cluster.nodes[node].name.as_str());
        draft.files.push(file("/x", mode, kind, contents));
        assert_eq!(fill(authority, &draft).unwrap_err().to_string(), message);
    }
    // Another node's certificate is public.
    let mut draft = fixture::draft(&cluster, "w1");
    draft.files.push(file(
        "/x",
        public,
        FileKind::Laid,
        Contents::Leaf(leaf(Row::ApiServer, 0), LeafForm::Certificate),
    ));
    assert!(fill(authority, &draft).is_ok());
    // The duties are the draft's: a worker that is drafted as such gets nothing of a control plane.
    let mut draft = fixture::draft(&cluster, "cp1");
    draft.holder.duties = vec![Duty::Kubelet];
    assert!(matches!(fill(authority, &draft), Err(FillError::Placement { .. })));
}

#[test]
fn two_files_in_one_place() {
    let cluster = fixture::cluster();
    for (path, kind, message) in [
        ("/etc/motd", FileKind::Laid, "/etc/motd"),
        ("/etc/motd", FileKind::Staged, "/etc/motd"),
        (paths::PLAN, FileKind::Laid, paths::PLAN),
        (
            "/var/lib/nodekiln/stage/var/lib/kubelet/pki/kubelet.key",
            FileKind::Laid,
            "/var/lib/nodekiln/stage/var/lib/kubelet/pki/kubelet.key",
        ),
    ] {
        let mut draft = fixture::draft(&cluster, "w1");
        draft.files.push(file(path, Mode::PRIVATE, kind, Contents::text("x")));
        let error = fill(fixture::authority(), &draft).unwrap_err();
        assert_eq!(error.to_string(), format!("{message}: two files of this node have this path"));
    }
    let mut draft = fixture::draft(&cluster, "w1");
    let long = format!("/{}", vec!["a".repeat(203); 20].join("/"));
    draft.files.push(file(&long, Mode::PRIVATE, FileKind::Staged, Contents::text("x")));
    assert!(matches!(fill(fixture::authority(), &draft), Err(FillError::Path(path, PathError::Long)) if path == long));
}

/// Whoever of the class comes first, it is refused: the others would get it without being asked.
#[test]
fn what_is_one_nodes_is_no_classs() {
    let cluster = fixture::cluster();
    let node = &cluster.nodes[0];
    for form in [LeafForm::Certificate, LeafForm::Key] {
        let leaf = table::leaf(Row::KubeletServer, &cluster, Some(node));
        let mut draft = fixture::draft(&cluster, node.name.as_str());
        let other = file("/x", Mode::PRIVATE, FileKind::Laid, Contents::Leaf(leaf, form));
        fixture::with_class(&mut draft, |class| class.files.push(other));
        let filling = Filling::new(fixture::authority());
        for _ in 0..3 {
            let error = filling.fill(&draft).unwrap_err().to_string();
            let due = format!(
                "the key `kubelet-server/{}` is one node's own, and stands in what its class shares",
                node.name
            );
            assert_eq!(error, due);
        }
    }
}
