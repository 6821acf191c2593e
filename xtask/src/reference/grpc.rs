//! The gRPC API, from the descriptors of the protobufs.

mod descriptors;

use std::collections::BTreeSet;

use anyhow::Context as _;

use self::descriptors::{Descriptors, Enum, Field, Message, Method};
use super::markdown::{Page, code, line, link};

/// The prefix of all packages, which headings leave out.
const PACKAGES: &str = "funless.";

/// The page.
pub(super) fn page() -> anyhow::Result<String> {
    let descriptors = Descriptors::read(proto::FILE_DESCRIPTOR_SET)?;
    let mut page = Page::new("gRPC API", "the protobufs in proto/");
    write_introduction(&mut page);
    let mut reached = BTreeSet::new();
    let methods: Vec<_> = gateway_svc::client_methods().collect();
    for service in &descriptors.services {
        let of_clients = service.methods.iter().filter_map(|method| {
            let path = format!("/{}/{}", service.name, method.name);
            let (_, for_admins) = methods.iter().find(|(allowed, _)| *allowed == path)?;
            Some((method, *for_admins))
        });
        let of_clients: Vec<_> = of_clients.collect();
        if of_clients.is_empty() {
            continue;
        }
        page.heading(2, &code(short(&service.name)));
        write_comment(&mut page, &service.comment);
        for (method, for_admins) in of_clients {
            write_method(&mut page, short(&service.name), method, for_admins);
            descriptors.reach(&method.request, &mut reached);
            descriptors.reach(&method.response, &mut reached);
        }
    }
    page.heading(2, "Messages");
    for name in reached {
        if let Some(message) = descriptors.messages.get(&name) {
            write_message(&mut page, &name, message);
        } else {
            let values = descriptors.enums.get(&name).with_context(|| format!("no type {name}"))?;
            write_enum(&mut page, &name, values);
        }
    }
    Ok(page.into_text())
}

fn write_introduction(page: &mut Page) {
    page.push(
        "The gateway serves this API on port 4010. It has what REST has, and streams of changes and logs. The protobufs are in \
         [proto/](https://github.com/funlessdev/funless-mesh/tree/main/proto/funless); a client without them can use \
         server reflection (v1 and v1alpha), which needs no token. The names below have the prefix `funless.`.",
    );
    page.push(
        "- Send the token in the metadata: `authorization: Bearer TOKEN`.\n\
         - Every error has a `google.rpc.ErrorInfo` in its details, with the domain `funless.dev` and a \
           [reason](../errors.md). Match the reason, not the message.\n\
         - Set a deadline. It is passed on to the function, which is stopped when it expires. Subscriptions have none.\n\
         - The response to a write has the registry's revision in the metadata `x-funless-revision`. An invocation waits \
           until its scheduler has reached the revision that it names (`min_revision`).\n\
         - [Who may do what](../access.md) says what each call does for whom.",
    );
}

fn write_method(page: &mut Page, service: &str, method: &Method, for_admins: bool) {
    page.heading(3, &code(&format!("{service}/{}", method.name)));
    write_comment(page, &method.comment);
    let stream = |is_stream| if is_stream { "a stream of " } else { "" };
    let request = format!("{}{}", stream(method.streams_requests), type_link(&method.request));
    let response = format!("{}{}", stream(method.streams_responses), type_link(&method.response));
    page.push(&format!("Request: {request}. Response: {response}."));
    if for_admins {
        page.push("Requires an administrator's token.");
    }
}

fn write_message(page: &mut Page, name: &str, message: &Message) {
    page.heading(3, &code(short(name)));
    write_comment(page, &message.comment);
    if message.fields.is_empty() {
        page.push("No fields.");
    }
    let row = |field: &Field| {
        let one_of = field.one_of.as_ref().map(|name| format!("One of {}. ", code(name)));
        let meaning = format!("{}{}", one_of.unwrap_or_default(), line(&field.comment));
        [code(&field.name), type_of(field), meaning]
    };
    let rows: Vec<_> = message.fields.iter().map(row).collect();
    page.table(["field", "type", "meaning"], &rows);
}

fn write_enum(page: &mut Page, name: &str, values: &Enum) {
    page.heading(3, &code(short(name)));
    write_comment(page, &values.comment);
    let rows: Vec<_> = values.values.iter().map(|(name, comment)| [code(name), line(comment)]).collect();
    page.table(["value", "meaning"], &rows);
}

fn write_comment(page: &mut Page, comment: &str) {
    comment.split("\n\n").for_each(|paragraph| page.push(&line(paragraph)));
}

fn type_of(field: &Field) -> String {
    if let Some((key, value)) = &field.map {
        return format!("map from {} to {}", type_link(key), type_link(value));
    }
    let list = if field.is_list { "list of " } else { "" };
    format!("{list}{}", type_link(&field.kind))
}

/// A type of ours with a link, or a scalar or well-known type by its name.
fn type_link(name: &str) -> String {
    name.strip_prefix(PACKAGES).map_or_else(|| code(name), link)
}

fn short(name: &str) -> &str {
    name.strip_prefix(PACKAGES).unwrap_or(name)
}
