//! Pages of lists, as in <https://google.aip.dev/158>: a list that is too long for a message is read page by page.

use std::cmp::Ordering;

use prost::Message;

/// The approximate maximum size of the items of a page. A single item may be larger.
const MAX_PAGE_BYTES: usize = 4 << 20;

/// The next page of `items`, which are ordered by their keys: those after the key `token`, at most `size` (0: any number).
/// Returns the token of the page after it, too; empty for the last page.
pub fn page<T: Message>(
    items: Vec<T>,
    size: u32,
    token: &str,
    key: impl Fn(&T) -> &str,
    order: impl Fn(&str, &str) -> Ordering,
) -> (Vec<T>, String) {
    let mut page = Page::new(size);
    for item in items {
        if !token.is_empty() && order(key(&item), token) != Ordering::Greater {
            continue;
        }
        if !page.add(item) {
            let next = page.items.last().map(|last| key(last).to_owned());
            return (page.items, next.unwrap_or_default());
        }
    }
    (page.items, String::new())
}

/// A page that is filled item by item.
#[derive(Debug)]
pub struct Page<T> {
    /// The items so far.
    pub items: Vec<T>,
    bytes: usize,
    size: usize,
}

impl<T: Message> Page<T> {
    /// An empty page of at most `size` items (0: any number).
    pub fn new(size: u32) -> Self {
        let size = if size == 0 { usize::MAX } else { size as usize };
        Self { items: Vec::new(), bytes: 0, size }
    }

    /// Adds the next item. False: the page is full, and the item belongs to the next one.
    pub fn add(&mut self, item: T) -> bool {
        self.bytes = self.bytes.saturating_add(item.encoded_len());
        let is_full =
            self.items.len() == self.size || (self.bytes > MAX_PAGE_BYTES && !self.items.is_empty());
        if !is_full {
            self.items.push(item);
        }
        !is_full
    }
}

/// The items of all pages. `get` returns the page with a token, and the token of the next one.
pub async fn all<T, E, F>(mut get: impl FnMut(String) -> F) -> Result<Vec<T>, E>
where
    F: Future<Output = Result<(Vec<T>, String), E>>,
{
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let (items, next) = get(token).await?;
        all.extend(items);
        if next.is_empty() {
            return Ok(all);
        }
        token = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pages of these names, which are their own keys.
    async fn pages(names: &[String], size: u32) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        let all = all(|token| {
            let (items, next) = page(names.to_vec(), size, &token, String::as_str, str::cmp);
            pages.push(items.clone());
            std::future::ready(Ok::<_, ()>((items, next)))
        });
        assert_eq!(all.await.as_deref(), Ok(names), "nothing is missing and nothing comes twice");
        pages
    }

    #[tokio::test]
    async fn pages_are_bounded_by_number_and_by_bytes() {
        let names: Vec<_> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        let lengths = |pages: Vec<Vec<String>>| pages.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(pages(&names, 2).await), [2, 2, 1]);
        assert_eq!(lengths(pages(&names, 5).await), [5]);
        assert_eq!(lengths(pages(&names, 0).await), [5]);
        assert_eq!(lengths(pages(&[], 0).await), [0]);
        let half = MAX_PAGE_BYTES / 2 - 100;
        let large: Vec<_> = ["a", "b", "c", "d"].map(|name| name.repeat(half)).to_vec();
        assert_eq!(lengths(pages(&large, 0).await), [2, 2]);
        let larger: Vec<_> = ["a", "b"].map(|name| name.repeat(MAX_PAGE_BYTES + 1)).to_vec();
        assert_eq!(lengths(pages(&larger, 0).await), [1, 1]);
    }

    #[test]
    fn a_page_begins_after_the_token_even_if_its_item_is_gone() {
        let names: Vec<_> = ["a", "c"].map(str::to_owned).to_vec();
        assert_eq!(page(names, 1, "b", String::as_str, str::cmp), (vec!["c".to_owned()], String::new()));
    }
}
