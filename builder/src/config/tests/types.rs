//! Values that the kubelet or kube-proxy would not start with: each is found where it stands.

use super::{
    findings::{edited, said, table},
    *,
};
use crate::release::KUBELET_FIELDS;
use serde_json::{Value, json};

#[test]
fn wrong_types_are_found_where_they_stand() {
    said(&[
        (
            "",
            "kubelet: {maxPods: \"60\"}\n",
            "NK0202 kubelet.maxPods 10:20",
            "a whole number, not a text | write it without",
        ),
        ("", "    kubelet: {maxPods: many}\n", "NK0202 nodes[0].kubelet.maxPods 10:24", "!quotes"),
        (
            "",
            "kubelet: {maxPods: 6.5}\n",
            "NK0202 kubelet.maxPods 10:20",
            "a whole number, not a number with a fraction",
        ),
        ("", "kubelet: {maxPods: 3000000000}\n", "NK0301 kubelet.maxPods 10:20", "from -2147483648 to 2147483647"),
        ("", "kubelet: {cpuCFSQuota: \"true\"}\n", "NK0202 kubelet.cpuCFSQuota 10:24", "write it without quotes"),
        ("", "kubelet: {syncFrequency: 10}\n", "NK0202 kubelet.syncFrequency 10:26", "10s, 1h30m"),
        ("", "kubelet: {syncFrequency: \"10\"}\n", "NK0304 kubelet.syncFrequency 10:26", "a unit is missing"),
        (
            "",
            "kubelet: {systemReserved: {cpu: 1}}\n",
            "NK0203 kubelet.systemReserved.cpu 10:33",
            "number where a text is due | quote it",
        ),
        (
            "",
            "kubelet: {systemReserved: {memory: {a: b}}}\n",
            "NK0202 kubelet.systemReserved.memory 10:28",
            "a text, not a mapping",
        ),
        ("", "kubelet: {evictionHard: 5%}\n", "NK0202 kubelet.evictionHard 10:25", "a mapping, not a text"),
        ("", "kubelet: {tlsCipherSuites: A}\n", "NK0202 kubelet.tlsCipherSuites 10:28", "a list, not a text"),
        ("", "kubelet: {tlsCipherSuites: [A, 1]}\n", "NK0203 kubelet.tlsCipherSuites[1] 10:32", "quote it"),
        ("", "kubelet: {memorySwap: LimitedSwap}\n", "NK0202 kubelet.memorySwap 10:23", "a mapping, not a text"),
        (
            "",
            "kubelet: {reservedMemory: [{numaNode: 0, limits: {memory: 1Gi}}, {numaNode: '1', limits: {memory: 1}}]}\n",
            "NK0202 kubelet.reservedMemory[1].numaNode 10:77",
            "a whole number, not a text",
        ),
        (
            "",
            "kubelet: {reservedMemory: [{numaNode: 0, limits: {memory: 1 GB}}]}\n",
            "NK0301 kubelet.reservedMemory[0].limits.memory 10:59",
            "512Mi",
        ),
        (
            "",
            "kubelet: {staticPodURLHeader: {A: b}}\n",
            "NK0202 kubelet.staticPodURLHeader.A 10:35",
            "a list, not a text",
        ),
        ("", "kubeProxy: {oomScoreAdj: '1'}\n", "NK0202 kubeProxy.oomScoreAdj 10:26", "a whole number"),
        ("", "kubeProxy: {conntrack: {udpTimeout: 3}}\n", "NK0202 kubeProxy.conntrack.udpTimeout 10:37", "duration"),
        ("", "kubeProxy: {featureGates: {A: yep}}\n", "NK0202 kubeProxy.featureGates.A 10:31", "`true` or `false`"),
    ]);
}

#[test]
fn each_is_told_once() {
    table(&[
        // What is nodekiln's own, or has rules of its own, whatever its type.
        ("", "kubelet: {staticPodPath: 5}\n", &["NK0801 kubelet.staticPodPath 10:11"]),
        ("", "kubelet: {clusterDNS: [1]}\n", &["NK0801 kubelet.clusterDNS 10:11"]),
        ("", "kubelet: {authentication: {x509: {clientCAFile: 5}}}\n", &["NK0801 kubelet.authentication.x509 10:28"]),
        // What is faulty as YAML; those after it keep their places.
        (
            "",
            "kubelet: {tlsCurvePreferences: [0644, x]}\n",
            &["NK0206 kubelet.tlsCurvePreferences[0] 10:33", "NK0202 kubelet.tlsCurvePreferences[1] 10:39"],
        ),
        ("", "kubelet: {maxPodz: '1'}\n", &["NK0201 kubelet.maxPodz 10:11"]),
        ("", "kubelet: {logging.format: 5}\n", &["NK0201 kubelet[\"logging.format\"] 10:11"]),
        // A whole number, however it is written.
        ("", "kubelet: {maxPods: 60.0, kubeAPIBurst: 1e2}\n", &[]),
        // A null takes a value out.
        ("", "kubelet: {maxPods: null, syncFrequency: null, memorySwap: null, evictionHard: {a: null}}\n", &[]),
        (
            "",
            "kubelet: {maxPods: 60}\nkubeProxy: {clientConnection: {qps: 5.5, burst: 10}, iptables: {minSyncPeriod: 0s}}\n",
            &[],
        ),
    ]);
}

/// A header that the kubelet sends may hold a token.
#[test]
fn values_are_not_repeated() {
    let text =
        "kubelet: {staticPodURL: 5, systemReserved: {cpu: 31337}, podPidsLimit: hunter2, syncFrequency: hunter2s}\n";
    let Err(Failure::Findings(found)) = load_str("cluster.yaml", &edited("", text), None) else {
        panic!("it is taken")
    };
    assert!(!found.to_string().contains("31337") && !found.to_string().contains("hunter2"), "{found}");
}

#[test]
fn what_go_reads() {
    for (field, good, bad) in [
        ("address", vec![json!("a"), json!(null)], vec![json!(1), json!(true), json!([]), json!({})]),
        ("enableServer", vec![json!(true), json!(null)], vec![json!("true"), json!(0), json!([])]),
        ("maxPods", vec![json!(-1), json!(i32::MAX)], vec![json!(1.0), json!("1"), json!(i64::MAX), json!(false)]),
        ("podPidsLimit", vec![json!(i64::MIN), json!(i64::MAX)], vec![json!(u64::MAX), json!(1e3), json!("")]),
        ("memoryThrottlingFactor", vec![json!(0.5), json!(1)], vec![json!("0.5"), json!(true)]),
        ("syncFrequency", vec![json!("1h1.5s"), json!("0"), json!("-1m")], vec![json!(1), json!("1d"), json!(null)]),
        ("clusterDNS", vec![json!([]), json!([""]), json!([null])], vec![json!("a"), json!([1]), json!({})]),
        ("featureGates", vec![json!({}), json!({"A": false})], vec![json!({"A": "false"}), json!([]), json!(1)]),
        ("memorySwap", vec![json!({}), json!(null)], vec![json!([]), json!("")]),
        ("staticPodURLHeader", vec![json!({"A": ["b"]})], vec![json!({"A": "b"}), json!({"A": [1]})]),
        (
            "logging",
            vec![
                json!({"flushFrequency": 5, "verbosity": 0}),
                json!({"flushFrequency": "5s", "options": {"json": {"infoBufferSize": "1.5Gi"}}}),
                json!({"options": {"json": {"infoBufferSize": 0}}, "vmodule": [{"verbosity": 4}]}),
                json!({"options": {"json": {"infoBufferSize": "12e6"}}}),
            ],
            vec![
                json!({"flushFrequency": 5.5}),
                json!({"flushFrequency": "5"}),
                json!({"verbosity": -1}),
                json!({"options": {"json": {"infoBufferSize": "1GB"}}}),
                json!({"options": {"json": {"infoBufferSize": true}}}),
                json!({"options": {"json": {"infoBufferSize": ""}}}),
                json!({"vmodule": [{"filePattern": 4}]}),
                json!({"vmodule": [4]}),
            ],
        ),
    ] {
        let wrong = |value: &Value| wrong_types(&KUBELET_FIELDS, &json!({field: value})).len();
        for value in good {
            assert_eq!(wrong(&value), 0, "{field}: {value}");
        }
        for value in bad {
            assert_eq!(wrong(&value), 1, "{field}: {value}");
        }
    }
}
