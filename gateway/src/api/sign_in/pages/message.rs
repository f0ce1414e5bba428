//! A page that says one thing, and the ways on from there.

use http::StatusCode;
use maud::html;

use super::Page;

/// What happened, what to do about it, and where to go.
#[derive(Debug)]
pub(in super::super) struct Message<'a> {
    pub(in super::super) status: StatusCode,
    pub(in super::super) heading: &'a str,
    /// Sentences.
    pub(in super::super) explanation: &'a str,
    /// What the person can do, in sentences.
    pub(in super::super) advice: Option<&'a str>,
    /// The first is the one most people want.
    pub(in super::super) ways: &'a [Way<'a>],
}

/// A link out of a page.
#[derive(Clone, Debug)]
pub(in super::super) struct Way<'a> {
    pub(in super::super) text: &'a str,
    /// A path of the gateway.
    pub(in super::super) href: &'a str,
}

impl Message<'_> {
    pub(in super::super) fn page(&self) -> Page {
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
