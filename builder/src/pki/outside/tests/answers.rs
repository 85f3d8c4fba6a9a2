//! Answers that are refused, each with the finding that says why.

use super::*;

/// Answers that are not what was asked for, each with the finding that says so.
#[test]
fn answers_that_do_not_do() {
    let cluster = pki_fixture::cluster();
    let whole = secrets::tests::fixture(1);
    let (secrets, signers) = without(&whole, &[Ca::Kubernetes]);
    let outside = Outside::open(&secrets, &cluster).unwrap();
    let signer = &signers[&Ca::Kubernetes];
    let find = |row| outside.wanted.iter().find(|wanted| wanted.leaf.row == row).unwrap();
    let wanted = find(Row::KubeletServer);
    let common_name = keyring::common_name(&wanted.leaf).unwrap();
    let due = keyring::subject(&wanted.leaf, &common_name);
    let key = |wanted: &Wanted| outside.keys.key(table::spec(wanted.leaf.row), wanted.leaf.node.as_ref()).unwrap();
    let own = key(wanted);
    let judge = |der: &[u8]| outside.accept(wanted, der).unwrap();
    let issue = |subject: &Subject<'_>, span: Validity| judge(&signer.issue(subject, &own, span).unwrap());
    let good = signer.issue(&due, &own, span(10)).unwrap();
    assert_eq!(judge(&good), Ok(span(10)));

    assert_eq!(judge(b"x"), Err(GivenError::Syntax));
    assert_eq!(judge(&[&good[..], b"x"].concat()), Err(GivenError::Syntax));
    // An answer to another request, in the wrong place.
    let other = find(Row::KubeletClient);
    assert_eq!(judge(&signed(&outside, other, signer, span(10))), Err(GivenError::PublicKey));
    // Another CA of another name, and two of the same.
    let front = Signer::open(
        &whole.authorities[&Ca::FrontProxy][0].certificate,
        whole.authorities[&Ca::FrontProxy][0].key.clone().unwrap(),
    );
    assert_eq!(
        judge(&front.unwrap().issue(&due, &own, span(10)).unwrap()),
        Err(GivenError::Issuer { is: "CN=front-proxy-ca".into(), wanted: "CN=kubernetes".into() })
    );
    let twin = &secrets::tests::fixture(2).authorities[&Ca::Kubernetes][0];
    let twin = Signer::open(&twin.certificate, twin.key.clone().unwrap()).unwrap();
    assert_eq!(judge(&twin.issue(&due, &own, span(10)).unwrap()), Err(GivenError::IssuerKey));
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(judge(&forged), Err(GivenError::Signature));

    for (change, is) in [
        (Subject { organization: None, ..due.clone() }, "CN=system:node:cp1"),
        (Subject { organization: Some("system:masters"), ..due.clone() }, "O=system:masters, CN=system:node:cp1"),
        (Subject { common_name: "system:node:cp2", ..due.clone() }, "O=system:nodes, CN=system:node:cp2"),
        // The same to whoever prints it.
        (
            Subject { organization: None, common_name: "x, O=system:nodes, CN=system:node:cp1", ..due.clone() },
            "CN=x, O=system:nodes, CN=system:node:cp1",
        ),
    ] {
        let wanted = "O=system:nodes, CN=system:node:cp1".to_owned();
        assert_eq!(issue(&change, span(10)), Err(GivenError::Subject { is: is.to_owned(), wanted }));
    }
    for (usage, is) in [(Usage::Client, "clientAuth"), (Usage::Both, "serverAuth, clientAuth")] {
        let wanted = "serverAuth".to_owned();
        assert_eq!(
            issue(&Subject { usage, ..due.clone() }, span(10)),
            Err(GivenError::Usage { is: is.to_owned(), wanted })
        );
    }
    let missing = vec!["10.0.0.1".to_owned(), "2001:db8::1".to_owned()];
    let only_name: Vec<_> = due.sans.iter().filter(|san| matches!(san, crate::config::San::Dns(_))).cloned().collect();
    assert_eq!(issue(&Subject { sans: &only_name, ..due.clone() }, span(10)), Err(GivenError::Names(missing)));
    let more: Vec<_> = due.sans.iter().cloned().chain([crate::config::San::Dns("more.example".into())]).collect();
    assert_eq!(issue(&Subject { sans: &more, ..due.clone() }, span(10)), Ok(span(10)));
    // Past its CA, or before it.
    let end = NOW + 10 * YEAR;
    assert_eq!(issue(&due, Validity { not_after: end, ..span(1) }), Ok(Validity { not_after: end, ..span(1) }));
    assert_eq!(issue(&due, Validity { not_after: end + 1, ..span(1) }), Err(GivenError::Dates));
    assert_eq!(issue(&due, Validity { not_before: NOW - DAY - 1, ..span(1) }), Err(GivenError::Dates));
    assert_eq!(issue(&due, Validity { not_before: NOW, not_after: NOW }), Err(GivenError::Dates));
}

/// The same, of what only openssl makes: extensions, hashes and serial numbers that are not ours.
#[test]
fn answers_of_openssl() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let cluster = pki_fixture::cluster();
    let whole = secrets::tests::fixture(1);
    let (secrets, _) = without(&whole, &[Ca::Kubernetes]);
    let outside = Outside::open(&secrets, &cluster).unwrap();
    let entry = &whole.authorities[&Ca::Kubernetes][0];
    std::fs::write(file("ca.crt"), pem::encode_secret(pem::CERTIFICATE, &entry.certificate).expose()).unwrap();
    std::fs::write(file("ca.key"), entry.key.as_ref().unwrap().private_pem().expose()).unwrap();
    let wanted = outside.wanted.iter().find(|wanted| wanted.leaf.row == Row::Scheduler).unwrap();
    std::fs::write(file("x.csr"), outside.request(wanted).unwrap().expose()).unwrap();
    let (csr, crt, key, ext) = (file("x.csr"), file("ca.crt"), file("ca.key"), file("ext"));
    let client = "extendedKeyUsage=clientAuth\n";
    let usage = |is: &str| Err(GivenError::Usage { is: is.into(), wanted: "clientAuth".into() });
    for (number, (more, extensions, expected)) in [
        (&["-copy_extensions", "copyall"][..], String::new(), Ok(())),
        (&["-copy_extensions", "copyall"], "authorityKeyIdentifier=keyid\n".into(), Ok(())),
        (&[], client.into(), Ok(())),
        (&["-sha384"], client.into(), Ok(())),
        (&["-sha1"], client.into(), Err(GivenError::Algorithm)),
        (&["-sha512"], client.into(), Err(GivenError::Algorithm)),
        (&[], String::new(), usage("nothing in particular")),
        (&[], "extendedKeyUsage=clientAuth,codeSigning,emailProtection,1.2.3.4\n".into(), {
            usage("clientAuth, codeSigning, emailProtection, something else")
        }),
        (&[], "extendedKeyUsage=anyExtendedKeyUsage\n".into(), usage("anything")),
        (&[], format!("{client}basicConstraints=critical,CA:TRUE\n"), Err(GivenError::IsCa)),
        (&[], format!("{client}keyUsage=digitalSignature,keyCertSign\n"), Err(GivenError::IsCa)),
        (&[], format!("{client}keyUsage=keyEncipherment\n"), Err(GivenError::KeyUsage)),
        (&[], format!("{client}1.2.3.4=critical,DER:0500\n"), Err(GivenError::Critical("1.2.3.4".into()))),
        (&[], format!("{client}1.2.3.4=DER:0500\n"), Ok(())),
        (&["-set_serial", "-5"], client.into(), Err(GivenError::Serial)),
    ]
    .into_iter()
    .enumerate()
    {
        let serial = (number + 1).to_string();
        std::fs::write(&ext, format!("[all]\n{extensions}")).unwrap();
        let mut args = vec!["x509", "-req", "-in", &csr, "-CA", &crt, "-CAkey", &key, "-days", "20", "-extfile", &ext];
        args.extend(["-extensions", "all"]);
        if !more.contains(&"-set_serial") {
            args.extend(["-set_serial", &serial]);
        }
        args.extend(more);
        let Some(said) = openssl(&args, b"") else { return };
        let start = said.find("-----BEGIN").unwrap();
        let end = said.find("-----END CERTIFICATE-----").unwrap() + "-----END CERTIFICATE-----".len();
        let der = pem::decode(pem::CERTIFICATE, &said[start..end]).unwrap();
        let found = outside.accept(wanted, &der).unwrap().map(|_| ());
        assert_eq!(found, expected, "{more:?} {extensions:?}");
    }
}
