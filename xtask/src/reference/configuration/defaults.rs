//! The defaults of keys: the expressions in `Default`, as they are written in a file.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use syn::{BinOp, Expr, ExprCall, Lit};

use super::source::{Field, Shape, Sources};

/// The default of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Default {
    /// There is none: the key has to be set.
    Required,
    /// Nothing: absent, or empty.
    None,
    /// This value.
    Value(String),
}

/// The default of a field of a struct.
pub(super) fn of(sources: &Sources, scope: &str, owner: &str, field: &Field) -> anyhow::Result<Default> {
    if let Some(expression) = sources.default_of(scope, owner, &field.name) {
        return evaluate(sources, scope, expression).with_context(|| {
            format!(
                "{} does not understand this default: write it in the comment of {} as `Default: ....`",
                file!(),
                field.name
            )
        });
    }
    let may_be_absent = field.kind.shape == Shape::Optional || sources.derives_default(scope, owner);
    Ok(if may_be_absent { Default::None } else { Default::Required })
}

/// The port of a service: the default of its field `server` is `ServerConfig::on_port(PORT)`.
pub(super) fn port(sources: &Sources, service: &str) -> Option<u64> {
    let Some(Expr::Call(call)) = sources.default_of(service, "Config", "server") else { return None };
    (function(call)? == "on_port").then_some(())?;
    number(sources, service, call.args.first()?).ok()
}

fn evaluate(sources: &Sources, scope: &str, expression: &Expr) -> anyhow::Result<Default> {
    let value = |text: String| Ok(Default::Value(text));
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(text) => value(text.value()),
            Lit::Bool(it) => value(it.value.to_string()),
            Lit::Float(it) => value(it.base10_digits().to_owned()),
            _ => value(number(sources, scope, expression)?.to_string()),
        },
        Expr::MethodCall(call) if call.method == "into" => evaluate(sources, scope, &call.receiver),
        Expr::Path(path) => {
            let mut names = path.path.segments.iter().map(|segment| &segment.ident).rev();
            match (names.next(), names.next()) {
                (Some(name), None) if name == "None" => Ok(Default::None),
                (Some(variant), Some(name)) => {
                    // A variant without a value in files stands for an absent key.
                    let known = sources.value(scope, &name.to_string(), variant);
                    Ok(known.map_or(Default::None, Default::Value))
                }
                _ => value(number(sources, scope, expression)?.to_string()),
            }
        }
        Expr::Call(call) => evaluate_call(sources, scope, call),
        Expr::Macro(list) if list.mac.path.is_ident("vec") => {
            let element: Expr = list.mac.parse_body().context("expected one element")?;
            let Default::Value(element) = evaluate(sources, scope, &element)? else {
                bail!("expected a value")
            };
            value(format!("[\"{element}\"]"))
        }
        _ => value(number(sources, scope, expression)?.to_string()),
    }
}

/// Calls that make a value: those that occur in the `Default` of configurations.
fn evaluate_call(sources: &Sources, scope: &str, call: &ExprCall) -> anyhow::Result<Default> {
    let argument = || call.args.first().context("expected an argument");
    match function(call).context("expected a function")?.as_str() {
        "new" if call.args.is_empty() => Ok(Default::None),
        "loopback" => {
            Ok(Default::Value(format!("http://127.0.0.1:{}", number(sources, scope, argument()?)?)))
        }
        "SqliteFile" => match evaluate(sources, scope, argument()?)? {
            Default::Value(path) => Ok(Default::Value(format!("sqlite:{path}"))),
            _ => bail!("expected a path"),
        },
        "Tcp" => evaluate(sources, scope, argument()?),
        // `SocketAddr::from(([127, 0, 0, 1], PORT))`
        "from" => {
            let Expr::Tuple(parts) = argument()? else { bail!("expected an address and a port") };
            let (Some(Expr::Array(address)), Some(port)) = (parts.elems.first(), parts.elems.last()) else {
                bail!("expected an address and a port")
            };
            let mut text = String::new();
            for byte in &address.elems {
                let dot = if text.is_empty() { "" } else { "." };
                write!(text, "{dot}{}", number(sources, scope, byte)?)?;
            }
            Ok(Default::Value(format!("{text}:{}", number(sources, scope, port)?)))
        }
        other => bail!("{other}() is not known here"),
    }
}

/// The last name of the function that is called.
fn function(call: &ExprCall) -> Option<String> {
    let Expr::Path(path) = &*call.func else { return None };
    path.path.segments.last().map(|segment| segment.ident.to_string())
}

fn number(sources: &Sources, scope: &str, expression: &Expr) -> anyhow::Result<u64> {
    match expression {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Int(digits) => Ok(digits.base10_parse()?),
            _ => bail!("expected an integer"),
        },
        Expr::Paren(inner) => number(sources, scope, &inner.expr),
        Expr::Path(path) => {
            let name = path.path.segments.last().context("expected a constant")?.ident.to_string();
            let constant = sources.constant(scope, &name).with_context(|| format!("no constant {name}"))?;
            number(sources, scope, constant)
        }
        Expr::Binary(both) => {
            let (left, right) = (number(sources, scope, &both.left)?, number(sources, scope, &both.right)?);
            let result = match both.op {
                BinOp::Shl(_) => left.checked_shl(u32::try_from(right)?),
                BinOp::Mul(_) => left.checked_mul(right),
                BinOp::Add(_) => left.checked_add(right),
                BinOp::Sub(_) => left.checked_sub(right),
                BinOp::Div(_) => left.checked_div(right),
                _ => bail!("this operator is not known here"),
            };
            result.context("the result is too large")
        }
        _ => bail!("expected a number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_what_a_file_would_have() {
        let sources = Sources::read().expect("the files");
        for (text, expected) in [
            ("\"info\".into()", Some("info")),
            ("64 << 20", Some("67108864")),
            ("14 * 24 * 3600", Some("1209600")),
            ("DEFAULT_MEMORY_BYTES", Some("134217728")),
            ("MetricsSource::Reports", Some("reports")),
            ("Advertise::ListenAddress", None),
            ("None", None),
            ("Vec::new()", None),
            ("Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 4010)))", Some("127.0.0.1:4010")),
            ("vec![Endpoint::loopback(4002)]", Some("[\"http://127.0.0.1:4002\"]")),
        ] {
            let expression = syn::parse_str(text).expect("Rust");
            let default = evaluate(&sources, "scheduler", &expression).expect("known");
            assert_eq!(
                default,
                expected.map_or(Default::None, |value| Default::Value(value.into())),
                "{text}"
            );
        }
        let unknown = syn::parse_str("host_name()").expect("Rust");
        assert!(evaluate(&sources, "worker", &unknown).is_err());
    }
}
