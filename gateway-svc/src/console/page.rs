//! A page of a session: navigation and content.

use maud::{Markup, html};

use super::assets;
use super::layout;
use super::visitor::{CSRF, Visitor};

/// A part of the console, with an entry in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Overview,
    Functions,
    Invocations,
    Bindings,
    DeadLetters,
    Workers,
    Scripts,
    Subjects,
}

impl Section {
    const ALL: [Self; 8] = [
        Self::Overview,
        Self::Functions,
        Self::Invocations,
        Self::Bindings,
        Self::DeadLetters,
        Self::Workers,
        Self::Scripts,
        Self::Subjects,
    ];

    fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Functions => "Functions",
            Self::Invocations => "Invocations",
            Self::Bindings => "Events and sinks",
            Self::DeadLetters => "Dead letters",
            Self::Workers => "Workers",
            Self::Scripts => "Scripts",
            Self::Subjects => "Subjects",
        }
    }

    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Overview => "/console",
            Self::Functions => "/console/functions",
            Self::Invocations => "/console/invocations",
            Self::Bindings => "/console/bindings",
            Self::DeadLetters => "/console/dead-letters",
            Self::Workers => "/console/workers",
            Self::Scripts => "/console/scripts",
            Self::Subjects => "/console/subjects",
        }
    }

    fn is_for_admins(self) -> bool {
        matches!(self, Self::Workers | Self::Subjects)
    }
}

/// A page with this title in a section. Its heading is the title.
pub(super) fn page(visitor: &Visitor, section: Section, title: &str, content: &Markup) -> Markup {
    let seen = |section: &Section| visitor.is_admin() || !section.is_for_admins();
    let body = html! {
        a.skip href="#main" { "Skip to the content" }
        header.bar {
            a.brand href="/console" { img src=(assets::path("icon.svg")) alt="" width="20" height="20"; span { "FunLess Mesh" } }
            nav aria-label="Main" {
                ul {
                    @for one in Section::ALL.into_iter().filter(seen) {
                        li { a href=(one.path()) aria-current=[(one == section).then_some("page")] { (one.title()) } }
                    }
                }
            }
            form.who method="post" action="/console/sign-out" {
                (csrf(visitor))
                span { (visitor.caller.owner()) @if visitor.is_admin() { " " span.quiet { "administrator" } } }
                button.plain type="submit" { "Sign out" }
            }
        }
        main id="main" {
            h1 { (title) }
            (content)
        }
    };
    layout::document(title, "console", &body)
}

/// The field that each form of the session has.
pub(super) fn csrf(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name=(CSRF) value=(visitor.csrf.expose()); }
}
