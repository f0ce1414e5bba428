//! A page that says one thing, and the ways on from there.

use http::StatusCode;
use maud::html;

use super::Page;

/// What happened, what to do about it, and where to go.
#[derive(Debug)]
pub(in crate::api) struct Message<'a> {
    pub(in crate::api) status: StatusCode,
    pub(in crate::api) heading: &'a str,
    /// Sentences.
    pub(in crate::api) explanation: &'a str,
    /// What the person can do, in sentences.
    pub(in crate::api) advice: Option<&'a str>,
    /// The first is the one most people want.
    pub(in crate::api) ways: &'a [Way<'a>],
}

/// A link out of a page.
#[derive(Clone, Debug)]
pub(in crate::api) struct Way<'a> {
    pub(in crate::api) text: &'a str,
    /// A path of the gateway.
    pub(in crate::api) href: &'a str,
}

impl Message<'_> {
    pub(in crate::api) fn page(&self) -> Page {
        let content = html! {
            h1 { (self.heading) }
            p class=[self.advice.is_some().then_some("quiet")] { (self.explanation) }
            @if let Some(advice) = self.advice { p { (advice) } }
            @if !self.ways.is_empty() {
                nav class="stack" aria-label="Go on" {
                    @for (index, way) in self.ways.iter().enumerate() {
                        a class=(if index == 0 { "button main" } else { "button" })
                            href=(way.href) { (way.text) }
                    }
                }
            }
        };
        Page::new(self.heading, content).with_status(self.status)
    }
}
