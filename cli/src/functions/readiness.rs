//! Which workers can run a function that was uploaded.

use anyhow::bail;
use serde::Deserialize;

use crate::client::data;

/// What the mesh answered an upload; absent when nobody waited for the workers.
#[derive(Deserialize)]
struct Uploaded {
    workers: Option<Workers>,
}

#[derive(Deserialize)]
struct Workers {
    ready: Vec<String>,
    failed: Vec<Failure>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Failure {
    worker: String,
    message: String,
}

/// The warnings about workers that cannot run the function. Fails when none can.
pub fn warnings(answer: &str) -> anyhow::Result<Vec<String>> {
    let Uploaded { workers: Some(Workers { ready, failed, message }) } = data(answer)? else {
        return Ok(Vec::new());
    };
    let failed: Vec<_> =
        failed.into_iter().map(|Failure { worker, message }| format!("{worker}: {message}")).collect();
    if ready.is_empty() && !failed.is_empty() {
        bail!(
            "the function is stored, but no worker can run it; correct it, and use `fl fn update`:\n  {}",
            failed.join("\n  ")
        );
    }
    let failed = failed.into_iter().map(|failure| format!("not ready on {failure}"));
    Ok(message.into_iter().chain(failed).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_cannot_run_a_function_are_named() {
        let read = |workers: &str| {
            let answer = format!(r#"{{"data":{{"name":"f","workers":{workers}}}}}"#);
            warnings(&answer).map_err(|error| error.to_string())
        };
        let pi = r#"{"worker":"pi","message":"too little memory"}"#;
        assert_eq!(read("null"), Ok(vec![]));
        assert_eq!(read(r#"{"ready":["a"],"failed":[]}"#), Ok(vec![]));
        assert_eq!(read(r#"{"ready":[],"failed":[]}"#), Ok(vec![]), "no worker is there yet");
        let some = read(&format!(r#"{{"ready":["a"],"failed":[{pi}]}}"#));
        assert_eq!(some, Ok(vec!["not ready on pi: too little memory".into()]));
        let unknown = read(r#"{"ready":[],"failed":[],"message":"the scheduler did not say"}"#);
        assert_eq!(unknown, Ok(vec!["the scheduler did not say".into()]));
        let none = read(&format!(r#"{{"ready":[],"failed":[{pi}]}}"#)).expect_err("no worker");
        assert!(
            none.contains("no worker can run it") && none.ends_with("\n  pi: too little memory"),
            "{none}"
        );
        assert!(warnings(r#"{"data":{"name":"f"}}"#).expect("an answer").is_empty(), "nobody waited");
    }
}
