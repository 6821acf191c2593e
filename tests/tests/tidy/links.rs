//! Links of all pages lead to files and headings that exist, and every page of docs/ is in the table of contents.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{BrokenLink, Event, LinkType, Options, Parser, Tag, TagEnd};
use tests::process::repository;

/// Files of the repository, as pages of the book link to them: the book does not contain them.
const REPOSITORY: &str = "https://github.com/funlessdev/funless-mesh/";
/// The table of contents of the book.
const SUMMARY: &str = "docs/SUMMARY.md";

/// What a page links to, and what can be linked to on it.
#[derive(Default)]
struct Page {
    /// Line numbers and destinations.
    links: Vec<(usize, String)>,
    anchors: BTreeSet<String>,
    /// References without a definition.
    undefined: Vec<String>,
}

impl Page {
    fn read(text: &str) -> Self {
        let mut undefined = Vec::new();
        let mut remember = |link: BrokenLink<'_>| {
            // Brackets alone are text.
            if matches!(link.link_type, LinkType::Reference | LinkType::Collapsed) {
                undefined.push(link.reference.into_string());
            }
            None
        };
        let mut page = Self::default();
        let mut heading: Option<String> = None;
        let mut seen = HashMap::<String, usize>::new();
        let options = Options::ENABLE_TABLES;
        let parser = Parser::new_with_broken_link_callback(text, options, Some(&mut remember));
        for (event, range) in parser.into_offset_iter() {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    let line = text[..range.start].matches('\n').count() + 1;
                    page.links.push((line, dest_url.into_string()));
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(words) | Event::Code(words) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&words);
                    }
                }
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = anchor_of(&heading.take().unwrap_or_default());
                    let before = seen.entry(anchor.clone()).or_default();
                    page.anchors.insert(if *before == 0 { anchor } else { format!("{anchor}-{before}") });
                    *before += 1;
                }
                _ => {}
            }
        }
        page.undefined = undefined;
        page
    }
}

/// The anchor of a heading, as GitHub and mdBook make it.
fn anchor_of(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' '));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn pages() -> BTreeMap<PathBuf, Page> {
    let read = |text: crate::Text| (PathBuf::from(text.path), Page::read(&text.content));
    crate::texts(&["."], &[".md"]).into_iter().map(read).collect()
}

/// The path without `.` and `..`; `None` if it leaves the repository.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::ParentDir if normal.pop() => {}
            _ => return None,
        }
    }
    Some(normal)
}

/// What is wrong with a link on the page `from`.
fn problem(pages: &BTreeMap<PathBuf, Page>, from: &Path, link: &str) -> Option<String> {
    let (target, anchor) =
        link.split_once('#').map_or((link, None), |(target, anchor)| (target, Some(anchor)));
    let of_repository = target.strip_prefix(REPOSITORY).filter(|rest| !rest.is_empty());
    let path = match of_repository {
        Some(rest) => {
            let (kind, path) = rest.split_once("/main/")?;
            let is_kind = match kind {
                "tree" => repository().join(path).is_dir(),
                _ => repository().join(path).is_file(),
            };
            if !is_kind {
                return Some(format!("{path} is no {}", if kind == "tree" { "folder" } else { "file" }));
            }
            PathBuf::from(path)
        }
        None if target.contains("://") || target.starts_with("mailto:") => return None,
        None if target.is_empty() => from.to_owned(),
        None => {
            let Some(path) = normal(&from.parent().unwrap_or(Path::new("")).join(target)) else {
                return Some("it leaves the repository".into());
            };
            if from.starts_with("docs") && !path.starts_with("docs") {
                return Some(format!(
                    "the book does not contain it: write {REPOSITORY}blob/main/{}",
                    path.display()
                ));
            }
            if !repository().join(&path).exists() {
                return Some("there is no such file".into());
            }
            path
        }
    };
    let anchor = anchor.filter(|_| path.extension().is_some_and(|extension| extension == "md"))?;
    let known = pages.get(&path).is_some_and(|page| page.anchors.contains(anchor));
    (!known).then(|| format!("{} has no heading with this anchor", path.display()))
}

#[test]
fn links_lead_somewhere() {
    let pages = pages();
    let mut problems = Vec::new();
    for (path, page) in &pages {
        for (line, link) in &page.links {
            if let Some(problem) = problem(&pages, path, link) {
                problems.push(format!("{}:{line}: {link}: {problem}", path.display()));
            }
        }
        problems
            .extend(page.undefined.iter().map(|name| format!("{}: [{name}] is not defined", path.display())));
    }
    crate::assert_none("links that lead nowhere", problems);
}

#[test]
fn the_table_of_contents_has_every_page() {
    let pages = pages();
    let contents = pages.get(Path::new(SUMMARY)).expect("a table of contents");
    let mut listed: Vec<_> = contents.links.iter().map(|(_, link)| Path::new("docs").join(link)).collect();
    listed.sort();
    let of_book = pages.keys().filter(|path| path.starts_with("docs") && *path != Path::new(SUMMARY));
    assert_eq!(listed, of_book.cloned().collect::<Vec<_>>(), "{SUMMARY} lists each page once");
}

#[test]
fn broken_links_are_found() {
    let from = PathBuf::from("docs/a.md");
    let text = "# A\n\n## B `c`-d!\n\n## B `c`-d!\n\n[x](b.md) [y][z] [text]\n";
    let pages = BTreeMap::from([(from.clone(), Page::read(text))]);
    let page = &pages[&from];
    assert_eq!(page.links, [(7, "b.md".to_owned())]);
    assert_eq!(page.undefined, ["z"]);
    assert_eq!(page.anchors.iter().collect::<Vec<_>>(), ["a", "b-c-d", "b-c-d-1"]);
    for (link, expected) in [
        ("#a", None),
        ("#b-c-d-1", None),
        ("#z", Some("docs/a.md has no heading with this anchor")),
        ("events.md", None),
        ("nothing.md", Some("there is no such file")),
        ("../README.md", Some("the book does not contain it")),
        ("../../README.md", Some("it leaves the repository")),
        ("https://example.org/#x", None),
        ("https://github.com/funlessdev/funless-mesh/tree/main/deploy/k8s", None),
        ("https://github.com/funlessdev/funless-mesh/blob/main/deploy/k8s", Some("deploy/k8s is no file")),
        ("https://github.com/funlessdev/funless-mesh", None),
    ] {
        let found = problem(&pages, &from, link);
        assert_eq!(found.is_some(), expected.is_some(), "{link}: {found:?}");
        assert!(found.unwrap_or_default().starts_with(expected.unwrap_or_default()), "{link}");
    }
}

/// The program that scripts/test installs, or another one.
fn mdbook() -> PathBuf {
    let installed = repository().join("target/tools/python/bin");
    tests::process::installed("mdbook", &[&*installed.to_string_lossy()])
}

/// The values of an attribute in a page of HTML.
fn attributes<'a>(html: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let start = format!(" {name}=\"");
    html.split(&start).skip(1).filter_map(|rest| rest.split('"').next()).collect::<Vec<_>>().into_iter()
}

#[test]
fn the_book_has_no_broken_link_and_loads_nothing_from_elsewhere() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = std::process::Command::new(mdbook());
    let output =
        command.arg("build").arg("--dest-dir").arg(folder.path()).arg(repository().join("docs")).output();
    let output = output.expect("mdbook runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !log.contains("WARN") && !log.contains("ERROR"), "{log}");
    let mut files = Vec::new();
    crate::collect(folder.path(), &mut files);
    // That of the page for unknown addresses is relative to the root of a server.
    files.retain(|path| !path.ends_with("404.html"));
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "html");
    let pages: BTreeMap<_, _> = files
        .iter()
        .filter(|path| is_page(path))
        .map(|path| (path.clone(), fs::read_to_string(path).expect("UTF-8")))
        .collect();
    assert!(pages.len() > 40, "{} pages", pages.len());
    let anchors: BTreeMap<_, BTreeSet<_>> =
        pages.iter().map(|(path, html)| (path.clone(), attributes(html, "id").collect())).collect();
    let mut problems = Vec::new();
    for (path, html) in &pages {
        for link in attributes(html, "href").chain(attributes(html, "src")) {
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            if target.contains("://") {
                continue;
            }
            let joined = path.parent().unwrap_or(path).join(target);
            let file = if target.is_empty() { path.clone() } else { normal_absolute(&joined) };
            let has_anchor = || anchors.get(&file).is_none_or(|anchors| anchors.contains(anchor));
            if !file.is_file() || (!anchor.is_empty() && !has_anchor()) {
                problems.push(format!("{}: {link}", path.display()));
            }
        }
        let loads = attributes(html, "src")
            .chain(html.split("<link ").skip(1).filter_map(|rest| rest.split('>').next()));
        problems
            .extend(loads.filter(|it| it.contains("://")).map(|it| format!("{} loads {it}", path.display())));
    }
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "css")) {
        let style = fs::read_to_string(path).expect("UTF-8");
        if style.contains("url(http") || style.contains("@import") {
            problems.push(format!("{} loads something", path.display()));
        }
    }
    crate::assert_none("links of the book that lead nowhere, or away when it is read", problems);
}

fn normal_absolute(path: &Path) -> PathBuf {
    let relative = path.strip_prefix("/").unwrap_or(path);
    Path::new("/").join(normal(relative).unwrap_or_default())
}
