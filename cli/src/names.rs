//! The names of modules and functions, and those that come closest to one that does not exist.

use reqwest::Method;
use serde::Deserialize;

use crate::client::{Client, Refusal, data};

/// How similar a name has to be to be suggested, from 0 to 1.
const SIMILAR: f64 = 0.7;
/// The most names that are suggested.
const MAX_SUGGESTED: usize = 3;

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Module {
    functions: Vec<Named>,
}

fn names_of(named: Vec<Named>) -> Vec<String> {
    named.into_iter().map(|named| named.name).collect()
}

/// The modules that the user may see.
pub async fn modules(client: &Client) -> anyhow::Result<Vec<String>> {
    let body = client.send(client.request(Method::GET, &["fn"])?).await?;
    Ok(names_of(data(&body)?))
}

/// The functions of a module.
pub async fn functions(client: &Client, module: &str) -> anyhow::Result<Vec<String>> {
    let body = client.send(client.request(Method::GET, &["fn", module])?).await?;
    Ok(names_of(data::<Module>(&body)?.functions))
}

/// Adds to the error that something does not exist the names that come closest.
pub async fn suggest(
    error: anyhow::Error,
    client: &Client,
    module: &str,
    function: Option<&str>,
) -> anyhow::Error {
    match error.downcast::<Refusal>() {
        Ok(refusal) if refusal.is_not_found => {
            // The first error says more than one of the lists.
            let advice = advice(client, module, function).await.ok().flatten();
            advice.into_iter().fold(refusal, Refusal::with_advice).into()
        }
        Ok(refusal) => refusal.into(),
        Err(error) => error,
    }
}

async fn advice(client: &Client, module: &str, function: Option<&str>) -> anyhow::Result<Option<String>> {
    let modules = modules(client).await?;
    if modules.iter().all(|name| name != module) {
        return Ok(Some(did_you_mean("", module, modules).unwrap_or_else(|| "see `fl mod list`".to_owned())));
    }
    let Some(function) = function else { return Ok(None) };
    let functions = functions(client, module).await?;
    if functions.iter().any(|name| name == function) {
        return Ok(None);
    }
    let nearest = did_you_mean(&format!("{module}/"), function, functions);
    Ok(Some(nearest.unwrap_or_else(|| format!("see `fl fn list {module}`"))))
}

/// A question for the names that come closest, the closest first, each after `prefix`; `None` if none is similar.
fn did_you_mean(prefix: &str, wanted: &str, names: Vec<String>) -> Option<String> {
    let mut similar: Vec<_> = names
        .into_iter()
        .map(|name| (strsim::jaro(wanted, &name), name))
        .filter(|(similarity, _)| *similarity > SIMILAR)
        .collect();
    similar.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    similar.truncate(MAX_SUGGESTED);
    let names: Vec<_> = similar.into_iter().map(|(_, name)| format!("{prefix}{name}")).collect();
    (!names.is_empty()).then(|| format!("did you mean {}?", names.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_names_are_suggested() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let all = names(&["_", "shop", "shop_2", "warehouse", "shops"]);
        for (wanted, expected) in [
            ("shpo", Some("did you mean shop or shops or shop_2?")),
            ("warhouse", Some("did you mean warehouse?")),
            ("xyz", None),
        ] {
            assert_eq!(did_you_mean("", wanted, all.clone()).as_deref(), expected, "{wanted}");
        }
        assert_eq!(did_you_mean("", "x", Vec::new()), None);
        assert_eq!(did_you_mean("m/", "shpo", names(&["shop"])).as_deref(), Some("did you mean m/shop?"));
    }
}
