//! The job for Nomad.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::Value;
use tests::process::repository;

use crate::kubernetes::{list, text};
use crate::settings::{SERVICES, Settings};
use crate::tools;

/// The groups of the job, by name.
fn groups() -> BTreeMap<String, Value> {
    let file = fs::read_to_string(repository().join("deploy/nomad/funless.nomad.hcl")).expect("a file");
    let job = &tools::validate("hcl", &file)["job"][0]["funless"];
    let groups = list(&job["group"]).iter().flat_map(|group| group.as_object().expect("a group"));
    groups.map(|(name, group)| (name.clone(), group.clone())).collect()
}

/// What the variables of Nomad would be.
fn settings(task: &Value) -> Settings {
    let values = task["env"][0].as_object().expect("variables").iter();
    let values = values.filter(|(name, _)| name.starts_with("FUNLESS_")).map(|(name, value)| {
        let value = text(value)
            .replace("${attr.unique.network.ip-address}", "10.1.2.3")
            .replace("${node.unique.name}", "node-1")
            .replace("${NOMAD_ALLOC_DIR}", "/alloc")
            .replace("${NOMAD_SECRETS_DIR}", "secrets");
        assert!(!value.contains("${"), "{name}: {value}");
        (name.clone(), value)
    });
    Settings(values.collect())
}

#[test]
fn services_accept_what_the_job_says() {
    let groups = groups();
    assert_eq!(groups.keys().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(SERVICES));
    let of = |service: &str| settings(&groups[service]["task"][0][service]);
    for service in SERVICES {
        let group = &groups[service];
        let settings = of(service);
        settings.check(service, "funless.nomad.hcl");
        let ports: BTreeMap<_, _> = list(&group["network"][0]["port"])
            .iter()
            .flat_map(|port| port.as_object().expect("a port"))
            .filter_map(|(name, port)| Some((name.as_str(), port["static"].as_u64()?)))
            .collect();
        let listens: BTreeSet<_> = settings.ports(service).into_iter().map(u64::from).collect();
        assert_eq!(ports.values().copied().collect::<BTreeSet<_>>(), listens, "{service}");
        let check = &group["service"][0]["check"][0];
        assert_eq!((text(&check["port"]), text(&check["path"])), ("admin", "/readyz"), "{service}");

        let task = &group["task"][0][service];
        let templates = list(&task["template"]).iter().map(|template| text(&template["destination"]));
        assert_eq!(templates.collect::<BTreeSet<_>>(), settings.files().collect(), "{service}");
        assert_eq!(task["config"][0]["image"], format!("funless/{service}-svc:0.1.0"));
        // Calls go to the names and ports of the services.
        for address in settings.0.values().flat_map(|value| value.split("http://funless-").skip(1)) {
            let (callee, port) =
                address.trim_end_matches(['"', ']']).split_once(".service.consul:").expect(address);
            assert!(
                of(callee).ports(callee).contains(&port.parse().expect("a port")),
                "{service}: {address}"
            );
        }
    }
}
