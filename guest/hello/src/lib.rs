//! Greets: `{"name":"Ada"}` gives `{"payload":"Hello Ada!"}`.

use serde::{Deserialize, Serialize};

/// Whom to greet.
#[derive(Deserialize)]
pub struct Person {
    name: String,
}

/// The greeting.
#[derive(Serialize)]
pub struct Greeting {
    payload: String,
}

/// Greets a person.
#[funless::function]
pub fn hello(person: Person) -> Greeting {
    log::info!("greeting {}", person.name);
    Greeting { payload: format!("Hello {}!", person.name) }
}

#[cfg(test)]
mod tests {
    use funless::serde_json::json;
    use funless::testing::Host;

    #[test]
    fn greets() {
        let invocation = Host::new().invoke::<super::hello>(json!({ "name": "Ada" }));
        assert_eq!(invocation.result, Ok(json!({ "payload": "Hello Ada!" })));
        assert_eq!(invocation.log, ["INFO greeting Ada"]);
    }

    #[test]
    fn needs_a_name() {
        let invocation = Host::new().invoke::<super::hello>(json!({}));
        let error = "invalid arguments: missing field `name` at line 1 column 1";
        assert_eq!(invocation.result, Err(error.to_owned()));
    }
}
