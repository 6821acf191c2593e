//! Greets people: `{"name":"Ada"}` gives `{"payload":"Hello Ada!"}`. With a `url`, the result has the status that it
//! responds with.

use funless::Error;
use funless::http::Request;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Arguments {
    #[serde(default)]
    name: String,
    url: Option<String>,
}

#[derive(Serialize)]
struct Greeting {
    payload: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

#[funless::function]
fn hello(Arguments { name, url }: Arguments) -> Result<Greeting, Error> {
    if name.is_empty() {
        return Err(Error::new("\"name\" is missing"));
    }
    log::info!("greeting {name}");
    let status = match url {
        Some(url) => Some(Request::get(&url).send()?.status),
        None => None,
    };
    Ok(Greeting { payload: format!("Hello {name}!"), status })
}

#[cfg(test)]
mod tests {
    use funless::http::Response;
    use funless::testing::Host;
    use serde_json::json;

    #[test]
    fn greets() {
        let invocation = Host::new().invoke::<super::hello>(json!({ "name": "Ada" }));
        assert_eq!(invocation.result, Ok(json!({ "payload": "Hello Ada!" })));
        assert_eq!(invocation.log, ["INFO greeting Ada"]);
    }

    #[test]
    fn calls_the_url() {
        let host = Host::new().http(|_| Some(Response::new(204, "")));
        let invocation = host.invoke::<super::hello>(json!({ "name": "Ada", "url": "http://a/" }));
        assert_eq!(invocation.result, Ok(json!({ "payload": "Hello Ada!", "status": 204 })));
    }

    #[test]
    fn needs_a_name() {
        let invocation = Host::new().invoke::<super::hello>(json!({}));
        assert_eq!(invocation.result, Err("\"name\" is missing".into()));
    }
}
