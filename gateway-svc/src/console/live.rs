//! Server-sent events: parts of pages that are rendered again while somebody looks.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::future::BoxFuture;
use futures::{Stream, StreamExt as _, stream};
use maud::Markup;
use mesh::hash::Hash;

use super::failure::Failure;
use super::visitor::Visitor;

/// How often a part is rendered again.
pub(super) const EVERY: Duration = Duration::from_secs(2);

/// A stream of events to the browser.
pub(super) fn events(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(KeepAlive::default()).into_response()
}

/// Parts of a page by the name of their event, or why they cannot be rendered.
pub(super) type Parts = Result<Vec<(&'static str, Markup)>, Failure>;

/// Renders parts; `S` is what is kept from one time to the next.
pub(super) type Render<S> = for<'a> fn(&'a Visitor, S) -> BoxFuture<'a, (S, Parts)>;

/// Calls `render` every two seconds and sends the parts that have changed, until the session or the gateway ends.
pub(super) fn refreshed<S: Send + 'static>(
    visitor: Visitor,
    kept: S,
    render: Render<S>,
) -> Result<Response, Failure> {
    let end = visitor.subscribe()?;
    let state = (visitor, kept, HashMap::<&'static str, Hash>::new());
    let changes = stream::unfold(state, move |(visitor, kept, mut sent)| async move {
        tokio::time::sleep(EVERY).await;
        let (kept, parts) = render(&visitor, kept).await;
        // What cannot be rendered now is tried again; the page still shows what it showed last.
        let changed: Vec<_> = parts
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(name, part)| {
                let text = part.into_string();
                let hash = Hash::of(text.as_bytes());
                (sent.insert(name, hash) != Some(hash)).then(|| Event::default().event(name).data(text))
            })
            .collect();
        Some((stream::iter(changed), (visitor, kept, sent)))
    });
    Ok(events(changes.flatten().take_until(Box::pin(end))))
}
