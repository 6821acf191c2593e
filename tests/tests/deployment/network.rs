//! Network policies allow the calls that services make, and no others.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::kubernetes::{OVERLAYS, list, of_kind, overlay, services, text};
use crate::settings::SERVICES;

/// Caller, callee and port.
type Arrow = (String, String, u64);

/// The calls that services make: those to the endpoints in their settings, and those of schedulers to workers.
fn calls(resources: &[Value]) -> BTreeSet<Arrow> {
    let mut arrows = BTreeSet::from([("scheduler".into(), "worker".into(), 4003)]);
    for (caller, settings) in services(resources) {
        let own = format!("FUNLESS_{}_", caller.to_uppercase());
        for (name, value) in settings.0 {
            if name.starts_with(&format!("{own}ADVERTISE")) {
                continue;
            }
            for part in value.split("http://funless-").skip(1) {
                let (callee, port) = part.split_once(':').expect("an endpoint");
                let port: String = port.chars().take_while(char::is_ascii_digit).collect();
                arrows.insert((caller.into(), callee.into(), port.parse().expect("a port")));
            }
        }
    }
    arrows
}

/// The service that a selector selects; `None` for all of the mesh, and for others.
fn selected(selector: &Value) -> Option<String> {
    let name = text(selector["matchLabels"].get("app.kubernetes.io/name")?);
    SERVICES.contains(&name).then(|| name.to_owned())
}

/// What the policies allow between services, by the side on which they do.
fn allowed(resources: &[Value], direction: &str, peers: &str) -> BTreeSet<Arrow> {
    let mut arrows = BTreeSet::new();
    for policy in of_kind(resources, "NetworkPolicy") {
        let Some(subject) = selected(&policy["spec"]["podSelector"]) else { continue };
        for rule in list(&policy["spec"][direction]) {
            for peer in list(&rule[peers]).iter().filter_map(|peer| selected(&peer["podSelector"])) {
                for port in list(&rule["ports"]) {
                    let port = port["port"].as_u64().expect("a port");
                    let (caller, callee) = if peers == "to" { (&subject, &peer) } else { (&peer, &subject) };
                    arrows.insert((caller.clone(), callee.clone(), port));
                }
            }
        }
    }
    arrows
}

#[test]
fn policies_allow_the_calls_of_services_and_no_others() {
    for name in OVERLAYS {
        let resources = overlay(name);
        let calls = calls(resources);
        assert!(calls.len() > 10, "{calls:?}");
        assert_eq!(allowed(resources, "egress", "to"), calls, "{name}: egress");
        assert_eq!(allowed(resources, "ingress", "from"), calls, "{name}: ingress");
    }
}

#[test]
fn whatever_is_not_allowed_is_denied() {
    let resources = overlay("base");
    let policies: Vec<_> = of_kind(resources, "NetworkPolicy").collect();
    let default =
        policies.iter().find(|policy| policy["metadata"]["name"] == "funless-default").expect("a policy");
    assert_eq!(default["spec"]["policyTypes"], serde_json::json!(["Ingress", "Egress"]));
    assert_eq!(default["spec"]["podSelector"]["matchLabels"].as_object().expect("labels").len(), 1);
    let open = policies.iter().filter(|policy| {
        let rules = list(&policy["spec"]["ingress"]);
        rules.iter().any(|rule| list(&rule["from"]).is_empty())
    });
    let open: Vec<_> = open.map(|policy| text(&policy["metadata"]["name"])).collect();
    assert_eq!(open, ["funless-gateway"], "only the gateway is open to all");
}

/// The callers that Linkerd or Istio let through to each service.
fn identities(
    resources: &[Value],
    kind: &str,
    callers: impl Fn(&Value) -> Vec<String>,
) -> BTreeSet<(String, String)> {
    let mut pairs = BTreeSet::new();
    for policy in of_kind(resources, kind) {
        let callee = text(&policy["metadata"]["labels"]["app.kubernetes.io/name"]);
        for caller in callers(policy) {
            let caller = caller.rsplit("funless-").next().expect("a service account").to_owned();
            pairs.insert((caller, callee.to_owned()));
        }
    }
    pairs
}

#[test]
fn service_meshes_let_the_same_callers_through() {
    let pairs = |resources: &[Value]| -> BTreeSet<_> {
        calls(resources).into_iter().map(|(caller, callee, _)| (caller, callee)).collect()
    };
    let linkerd = overlay("overlays/linkerd");
    let found = identities(linkerd, "MeshTLSAuthentication", |policy| {
        list(&policy["spec"]["identityRefs"])
            .iter()
            .map(|account| text(&account["name"]).to_owned())
            .collect()
    });
    assert_eq!(found, pairs(linkerd));
    let istio = overlay("overlays/istio");
    let found = identities(istio, "AuthorizationPolicy", |policy| {
        let rule = &policy["spec"]["rules"][0];
        let principals = list(&rule["from"][0]["source"]["principals"]);
        principals.iter().map(|principal| text(principal).to_owned()).collect()
    });
    assert_eq!(found, pairs(istio));
    // Each of them names the service accounts of the pods.
    for account in of_kind(istio, "ServiceAccount") {
        let name = text(&account["metadata"]["name"]);
        assert!(SERVICES.iter().any(|service| name == format!("funless-{service}")), "{name}");
    }
}
