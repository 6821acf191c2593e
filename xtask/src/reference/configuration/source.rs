//! The source of the `Config` types: fields with their comments, constants, and the bodies of `Default`.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context as _, bail};
use syn::{Attribute, Expr, ExprStruct, Item, ItemEnum, ItemStruct, Stmt, Type};

use crate::workspace;

/// The scope of the types that services share.
pub(super) const SHARED: &str = "mesh";

/// The files, and the scopes to which their types belong.
const FILES: [(&str, &str); 12] = [
    ("gateway", "gateway-svc/src/config.rs"),
    ("registry", "registry-svc/src/config.rs"),
    ("scheduler", "scheduler-svc/src/config.rs"),
    ("worker", "worker-svc/src/config.rs"),
    ("connector", "connector-svc/src/config.rs"),
    ("sink", "sink-svc/src/config.rs"),
    (SHARED, "gateway-svc/src/config/console.rs"),
    (SHARED, "mesh/src/config.rs"),
    (SHARED, "mesh/src/egress/config.rs"),
    (SHARED, "mesh/src/telemetry/config.rs"),
    (SHARED, "mesh/src/tls.rs"),
    (SHARED, "mesh/src/wasm.rs"),
];

/// Types other than tables, and what their values are called.
const WORDS: [(&str, &str); 19] = [
    ("bool", "true or false"),
    ("u8", "integer"),
    ("u16", "integer"),
    ("u32", "integer"),
    ("u64", "integer"),
    ("usize", "integer"),
    ("f64", "number"),
    ("String", "text"),
    ("PathBuf", "path"),
    ("Url", "URL"),
    ("ProxyUrl", "URL"),
    ("Endpoint", "endpoint"),
    ("Advertise", "endpoint or `none`"),
    ("Listen", "address"),
    ("AdminListen", "address or `off`"),
    ("DatabaseUrl", "database"),
    ("Secret", "secret"),
    ("Rule", "rule"),
    ("Ports", "ports"),
];

type Named<T> = HashMap<(&'static str, String), T>;

/// What is in the files, by scope and name.
#[derive(Default)]
pub(super) struct Sources {
    structs: Named<ItemStruct>,
    enums: Named<ItemEnum>,
    constants: Named<Expr>,
    /// The struct that `Default` makes.
    defaults: Named<ExprStruct>,
}

/// A field of a `Config` type.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) comment: String,
    pub(super) kind: Kind,
}

/// The type of a field: `name` is that of the value, or of the elements of a list or table.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    Optional,
    List,
    /// A table whose keys users choose.
    Map,
}

impl Sources {
    pub(super) fn read() -> anyhow::Result<Self> {
        let mut sources = Self::default();
        for (scope, path) in FILES {
            let text = fs::read_to_string(workspace::root().join(path)).with_context(|| path)?;
            for item in syn::parse_file(&text).with_context(|| path)?.items {
                sources.add(scope, item);
            }
        }
        Ok(sources)
    }

    fn add(&mut self, scope: &'static str, item: Item) {
        match item {
            Item::Struct(item) => drop(self.structs.insert((scope, item.ident.to_string()), item)),
            Item::Enum(item) => drop(self.enums.insert((scope, item.ident.to_string()), item)),
            Item::Const(item) => drop(self.constants.insert((scope, item.ident.to_string()), *item.expr)),
            Item::Impl(item) => {
                let is_default = item.trait_.as_ref().is_some_and(|(_, path, _)| path.is_ident("Default"));
                let body = item.items.into_iter().find_map(|inner| match inner {
                    syn::ImplItem::Fn(function) => function.block.stmts.into_iter().next_back(),
                    _ => None,
                });
                if let (true, Type::Path(of), Some(Stmt::Expr(Expr::Struct(made), None))) =
                    (is_default, *item.self_ty, body)
                    && let Some(name) = of.path.get_ident()
                {
                    self.defaults.insert((scope, name.to_string()), made);
                }
            }
            _ => {}
        }
    }

    /// The fields of a struct.
    pub(super) fn fields(&self, scope: &str, name: &str) -> anyhow::Result<Vec<Field>> {
        let item =
            find(&self.structs, scope, name).with_context(|| format!("no struct {name} in {FILES:?}"))?;
        let field = |field: &syn::Field| -> anyhow::Result<_> {
            let name = field.ident.as_ref().context("expected a name for each field")?.to_string();
            let comment = comment(&field.attrs);
            if comment.is_empty() {
                bail!("{name}: expected a comment");
            }
            let kind = kind(&field.ty).with_context(|| name.clone())?;
            Ok(Field { name, comment, kind })
        };
        item.fields.iter().map(field).collect()
    }

    /// The struct with the keys below `name`, and how they begin, if the type is a table.
    pub(super) fn table(&self, kind: &Kind, name: &str) -> Option<(String, String)> {
        let item = find(&self.structs, SHARED, &kind.name)?;
        let is_table = matches!(item.fields, syn::Fields::Named(_));
        let below = match kind.shape {
            // A name with a slash has to be quoted in TOML.
            Shape::Map if name.ends_with("functions") => format!("{name}.\"MODULE/NAME\""),
            Shape::Map => format!("{name}.NAME"),
            _ => name.to_owned(),
        };
        is_table.then(|| (kind.name.clone(), below))
    }

    /// What the values of a type are called.
    pub(super) fn words(&self, scope: &str, kind: &Kind) -> anyhow::Result<String> {
        let values = find(&self.enums, scope, &kind.name).filter(|item| derives(&item.attrs, "Deserialize"));
        let one = match values {
            Some(item) => {
                let names = item.variants.iter().map(|variant| format!("`{}`", value_of(&variant.ident)));
                let names: Vec<_> = names.collect();
                let (last, others) = names.split_last().context("an enum without values")?;
                format!("{} or {last}", others.join(", "))
            }
            None => {
                let known = WORDS.iter().find(|(name, _)| *name == kind.name);
                known.with_context(|| format!("say in {} what a {} is", file!(), kind.name))?.1.to_owned()
            }
        };
        Ok(match kind.shape {
            Shape::List if one.ends_with('s') => format!("list of {one}"),
            Shape::List => format!("list of {one}s"),
            Shape::Map => format!("table of {one}"),
            Shape::One | Shape::Optional => one,
        })
    }

    /// The value that `Default` gives a field. `None`: the struct does not implement it in words.
    pub(super) fn default_of(&self, scope: &str, name: &str, field: &str) -> Option<&Expr> {
        let made = find(&self.defaults, scope, name)?;
        let is_it =
            |value: &&syn::FieldValue| matches!(&value.member, syn::Member::Named(name) if name == field);
        made.fields.iter().find(is_it).map(|value| &value.expr)
    }

    /// Whether the struct derives `Default`.
    pub(super) fn derives_default(&self, scope: &str, name: &str) -> bool {
        find(&self.structs, scope, name).is_some_and(|item| derives(&item.attrs, "Default"))
    }

    pub(super) fn constant(&self, scope: &str, name: &str) -> Option<&Expr> {
        find(&self.constants, scope, name)
    }

    /// The value of a variant in a file, if values of the enum are the names of its variants.
    pub(super) fn value(&self, scope: &str, name: &str, variant: &syn::Ident) -> Option<String> {
        let item = find(&self.enums, scope, name)?;
        derives(&item.attrs, "Deserialize").then(|| value_of(variant))
    }
}

/// What the service has, or else what all share.
fn find<'a, T>(all: &'a Named<T>, scope: &str, name: &str) -> Option<&'a T> {
    let of = |wanted: &str| all.iter().find(|((scope, it), _)| *scope == wanted && it == name);
    of(scope).or_else(|| of(SHARED)).map(|(_, item)| item)
}

/// All enums of configurations have `rename_all = "lowercase"`.
fn value_of(variant: &syn::Ident) -> String {
    variant.to_string().to_lowercase()
}

fn derives(attributes: &[Attribute], name: &str) -> bool {
    let mut found = false;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
        // Paths such as `clap::ValueEnum` are no error.
        let _ = attribute.parse_nested_meta(|meta| {
            found |= meta.path.is_ident(name);
            Ok(())
        });
    }
    found
}

fn comment(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn kind(of: &Type) -> anyhow::Result<Kind> {
    let Type::Path(path) = of else { bail!("expected the name of a type") };
    let last = path.path.segments.last().context("expected the name of a type")?;
    let name = last.ident.to_string();
    let shape = match name.as_str() {
        "Option" => Shape::Optional,
        "Vec" => Shape::List,
        "BTreeMap" => Shape::Map,
        _ => return Ok(Kind { name, shape: Shape::One }),
    };
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { bail!("expected <...>") };
    let Some(syn::GenericArgument::Type(inner)) = arguments.args.last() else {
        bail!("expected a type in <...>")
    };
    Ok(Kind { name: kind(inner)?.name, shape })
}
