//! Prints the OpenAPI document, for `gateway-svc/openapi.json`.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    let document = gateway_svc::openapi().to_pretty_json().map_err(std::io::Error::other)?;
    writeln!(std::io::stdout(), "{document}")
}
