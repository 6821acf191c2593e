//! The manifests for Kubernetes, and the Helm chart.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::LazyLock;

use serde_json::Value;
use tests::process::repository;

use crate::settings::{SERVICES, Settings, service_of};
use crate::tools;

/// The overlays, and the base.
pub const OVERLAYS: [&str; 5] =
    ["base", "overlays/dev", "overlays/production", "overlays/linkerd", "overlays/istio"];
/// The name and the path in the image of the volume with the secrets.
const SECRETS: (&str, &str) = ("secrets", "/etc/funless/secrets");
const PART: &str = "app.kubernetes.io/part-of";

/// What kustomize makes of a folder, validated.
pub fn kustomize(folder: &str) -> Vec<Value> {
    let text = tools::output("bin/kubectl", &["kustomize", folder]);
    tools::validate("kubernetes", &text).as_array().expect("documents").clone()
}

/// What kustomize makes of the overlays, each made once.
static RENDERED: LazyLock<BTreeMap<&str, Vec<Value>>> = LazyLock::new(|| {
    let render = |name| (name, kustomize(&format!("deploy/k8s/{name}")));
    OVERLAYS.into_iter().map(render).collect()
});

/// What kustomize makes of an overlay in deploy/k8s.
pub fn overlay(name: &str) -> &'static [Value] {
    &RENDERED[name]
}

/// The resources of a kind.
pub fn of_kind<'a>(resources: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    resources.iter().filter(move |resource| resource["kind"] == kind)
}

/// The members of a list; none if it is absent.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("expected a text, not {value}"))
}

/// The workloads of the mesh: the service, and the specification of its pods.
fn workloads(resources: &[Value]) -> BTreeMap<&'static str, &Value> {
    let workloads = of_kind(resources, "Deployment").chain(of_kind(resources, "DaemonSet"));
    let pods = workloads.map(|workload| &workload["spec"]["template"]["spec"]);
    pods.filter_map(|pod| Some((service_of(text(&pod["containers"][0]["image"]))?, pod))).collect()
}

/// The environment of a pod, with values for what is known only in a cluster.
pub fn settings(pod: &Value) -> Settings {
    let mut settings = Settings::default();
    for entry in list(&pod["containers"][0]["env"]) {
        let name = text(&entry["name"]);
        let value = match &entry["valueFrom"]["fieldRef"]["fieldPath"] {
            Value::Null => text(&entry["value"]).to_owned(),
            field if field == "status.podIP" => "10.1.2.3".into(),
            field if field == "spec.nodeName" => "node-1".into(),
            field => panic!("{name}: {field}"),
        };
        let known = settings.0.iter();
        let value = known.fold(value, |value, (name, known)| value.replace(&format!("$({name})"), known));
        settings.0.insert(name.to_owned(), value);
    }
    settings
}

/// The settings of each service in an overlay.
pub fn services(resources: &[Value]) -> BTreeMap<&'static str, Settings> {
    workloads(resources).into_iter().map(|(service, pod)| (service, settings(pod))).collect()
}

fn check_ports(service: &str, pod: &Value, settings: &Settings, resources: &[Value]) {
    let container = &pod["containers"][0];
    let ports: BTreeMap<_, _> = list(&container["ports"])
        .iter()
        .map(|port| (text(&port["name"]), port["containerPort"].as_u64().expect("a port")))
        .collect();
    let listens: BTreeSet<_> = settings.ports(service).into_iter().map(u64::from).collect();
    assert_eq!(ports.values().copied().collect::<BTreeSet<_>>(), listens, "{service}");
    for (probe, path) in
        [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]
    {
        let probe = &container[probe]["httpGet"];
        assert_eq!((text(&probe["path"]), text(&probe["port"])), (path, "admin"), "{service}");
    }
    let name = format!("funless-{service}");
    let entry = of_kind(resources, "Service").find(|entry| entry["metadata"]["name"] == name.as_str());
    for port in list(&entry.expect("a Service")["spec"]["ports"]) {
        assert_eq!(Some(&port["port"]), Some(&Value::from(ports[text(&port["targetPort"])])), "{service}");
    }
}

fn check_secrets(service: &str, pod: &Value, settings: &Settings) {
    let (volume, folder) = SECRETS;
    let named = |value: &Value, list: &str| {
        let found = self::list(&value[list]).iter().find(|entry| entry["name"] == volume).cloned();
        found.unwrap_or_else(|| panic!("{service}: {list}"))
    };
    assert_eq!(named(&pod["containers"][0], "volumeMounts")["mountPath"], folder, "{service}");
    let items = named(pod, "volumes")["secret"]["items"].clone();
    let mounted: BTreeSet<_> =
        list(&items).iter().map(|item| format!("{folder}/{}", text(&item["path"]))).collect();
    let read: BTreeSet<_> = settings.files().map(str::to_owned).collect();
    assert_eq!(mounted, read, "{service} gets the secrets that it reads");
}

fn check_sandbox(service: &str, pod: &Value) {
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["readOnlyRootFilesystem"], true, "{service}");
    assert_eq!(container["capabilities"]["drop"][0], "ALL", "{service}");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{service}");
    assert_eq!(pod["automountServiceAccountToken"], false, "{service}");
    assert_eq!(pod["enableServiceLinks"], false, "{service}: such variables are refused");
    assert!(pod["containers"][0]["resources"]["limits"]["memory"].is_string(), "{service}");
}

fn check_all(resources: &[Value], origin: &str) {
    let workloads = workloads(resources);
    assert_eq!(workloads.keys().copied().collect::<BTreeSet<_>>(), BTreeSet::from(SERVICES), "{origin}");
    for (service, pod) in workloads {
        let settings = settings(pod);
        settings.check(service, origin);
        check_ports(service, pod, &settings, resources);
        check_secrets(service, pod, &settings);
        check_sandbox(service, pod);
    }
    // Selectors of services, budgets and monitors find the pods by their labels.
    for resource in resources.iter().filter(|resource| resource["metadata"]["name"] == "funless-gateway") {
        let labels = resource["metadata"]["labels"].as_object().expect("labels");
        assert_eq!(labels[PART], "funless", "{origin}: {resource}");
    }
}

#[test]
fn services_accept_what_the_overlays_say() {
    for name in OVERLAYS {
        check_all(overlay(name), name);
    }
}

#[test]
fn a_worker_can_run_on_each_node() {
    let folder = tempfile::tempdir_in(repository().join("target")).expect("a folder");
    let at = |component: &str| format!("../../deploy/k8s/{component}");
    let (base, workers, tracing) = (at("base"), at("components/worker-daemonset"), at("components/tracing"));
    let kustomization = format!("resources: [{base}]\ncomponents: [{workers}, {tracing}]\n");
    fs::write(folder.path().join("kustomization.yaml"), kustomization).expect("a file");
    let resources = kustomize(&folder.path().display().to_string());
    check_all(&resources, "worker-daemonset");
    assert_eq!(of_kind(&resources, "DaemonSet").count(), 1);
    for (service, settings) in services(&resources) {
        assert!(settings.value(service, "TELEMETRY__OTLP_ENDPOINT").is_some(), "{service}: tracing");
    }
}

#[test]
fn the_chart_and_the_overlays_are_the_same() {
    let chart = |set: &[&str]| {
        let arguments =
            [&["template", "funless", "deploy/helm", "--set", "secretName=funless"], set].concat();
        by_name(&tools::validate("kubernetes", &tools::output("bin/helm", &arguments)))
    };
    let of_overlay = |name| by_name(&Value::from(overlay(name).to_vec()));
    assert_eq!(chart(&[]), of_overlay("base"));
    let all = "autoscaling.enabled=true,monitoring.enabled=true,gatewayApi.enabled=true";
    assert_eq!(chart(&["--set", all]), of_overlay("overlays/production"));
    let changed = chart(&[
        "--set",
        "worker.image=example/worker-svc:2,worker.env[0].name=FUNLESS_WORKER_MAX_CONCURRENT,networkPolicies.enabled=false",
        "--set-string",
        "worker.env[0].value=64",
    ]);
    let worker = &changed["Deployment/funless-worker"]["spec"]["template"]["spec"];
    assert_eq!(worker["containers"][0]["image"], "example/worker-svc:2");
    assert_eq!(settings(worker).value("worker", "MAX_CONCURRENT"), Some("64"));
    assert!(!changed.keys().any(|name| name.starts_with("NetworkPolicy/")));
}

/// The resources by kind and name, without namespaces: helm has a flag for them.
fn by_name(resources: &Value) -> BTreeMap<String, Value> {
    let resources = list(resources).iter().filter(|resource| resource["kind"] != "Namespace");
    let named = resources.map(|resource| {
        let mut resource = resource.clone();
        resource["metadata"].as_object_mut().expect("metadata").remove("namespace");
        (format!("{}/{}", text(&resource["kind"]), text(&resource["metadata"]["name"])), resource)
    });
    named.collect()
}

#[test]
fn the_development_overlay_has_all_secrets() {
    let resources = overlay("overlays/dev");
    let secret = of_kind(resources, "Secret").next().expect("a Secret");
    let keys: BTreeSet<_> = secret["data"].as_object().expect("data").keys().map(String::as_str).collect();
    for pod in workloads(resources).into_values() {
        let volumes = list(&pod["volumes"]).iter().filter(|volume| volume["secret"].is_object());
        for item in volumes.flat_map(|volume| list(&volume["secret"]["items"])) {
            assert!(keys.contains(text(&item["key"])), "{item}");
        }
    }
}

#[test]
fn routes_lead_to_the_gateway() {
    let resources = overlay("overlays/production");
    let ports = services(resources)["gateway"].ports("gateway");
    for kind in ["HTTPRoute", "GRPCRoute"] {
        let route = of_kind(resources, kind).next().expect("a route");
        let backend = &route["spec"]["rules"][0]["backendRefs"][0];
        assert_eq!(backend["name"], "funless-gateway", "{kind}");
        assert!(ports.iter().any(|port| backend["port"] == *port), "{kind}: {backend}");
    }
}
