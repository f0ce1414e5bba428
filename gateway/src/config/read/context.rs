//! What every reader of a section shares: the environment and the problems found so far.

use std::{cell::RefCell, collections::BTreeSet};

use toml::de::DeTable;

use super::super::{Diagnostic, source::Source};

/// Collects problems and warnings while the files are read.
pub(in super::super) struct Context<'a> {
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
    problems: RefCell<Vec<(usize, Diagnostic)>>,
    warnings: RefCell<Vec<(usize, Diagnostic)>>,
    /// Stands for sections that are not in the file.
    pub(super) empty: DeTable<'static>,
    /// Every section and key a reader asked for; the manual must have them all.
    pub(super) known: RefCell<BTreeSet<(&'static str, &'static str)>>,
}

impl<'a> Context<'a> {
    pub(in super::super) fn new(environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            environment,
            problems: RefCell::default(),
            warnings: RefCell::default(),
            empty: DeTable::new(),
            known: RefCell::default(),
        }
    }

    /// `order` is the [`Source::order`] of the file the problem is in.
    pub(in super::super) fn problem(&self, order: usize, problem: Diagnostic) {
        self.problems.borrow_mut().push((order, problem));
    }

    pub(in super::super) fn warning(&self, order: usize, warning: Diagnostic) {
        self.warnings.borrow_mut().push((order, warning));
    }

    /// How many problems there are; unchanged over a section, the section is sound.
    pub(super) fn count(&self) -> usize {
        self.problems.borrow().len()
    }

    /// The problems and the warnings, each in the order of the files and lines.
    pub(in super::super) fn into_parts(self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        (
            sorted(self.problems.into_inner()),
            sorted(self.warnings.into_inner()),
        )
    }
}

fn sorted(mut found: Vec<(usize, Diagnostic)>) -> Vec<Diagnostic> {
    found.sort_by_key(|(order, diagnostic)| (*order, diagnostic.line, diagnostic.column));
    found
        .into_iter()
        .map(|(_, diagnostic)| diagnostic)
        .collect()
}

/// How much of the file a problem shows.
#[derive(Clone, Copy, PartialEq)]
pub(in super::super) enum Shown {
    /// The line, and where in it.
    Line,
    /// The line, with the span starred out.
    Masked,
    /// Nothing: the environment is meant.
    File,
}

/// A span in a file that something can be said about.
#[derive(Clone, Copy)]
pub(in super::super) struct Place<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) source: &'a Source,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) shown: Shown,
}

impl Place<'_> {
    /// For what is wrong with the environment and stands in no line of the file.
    pub(super) fn outside_text(&self) -> Self {
        Self {
            shown: Shown::File,
            ..*self
        }
    }

    /// For a span that is a secret.
    pub(super) fn masked(&self) -> Self {
        Self {
            shown: Shown::Masked,
            ..*self
        }
    }

    pub(super) fn error(&self, message: impl Into<String>) {
        self.record(message.into(), None);
    }

    pub(super) fn error_hint(&self, message: impl Into<String>, hint: impl Into<String>) {
        self.record(message.into(), Some(hint.into()));
    }

    pub(super) fn fault(&self, fault: Fault) {
        self.record(fault.message, fault.hint);
    }

    pub(super) fn warn(&self, message: impl Into<String>, hint: impl Into<String>) {
        let warning = self.diagnostic(message.into(), Some(hint.into()));
        self.context.warning(self.source.order, warning);
    }

    fn record(&self, message: String, hint: Option<String>) {
        let problem = self.diagnostic(message, hint);
        self.context.problem(self.source.order, problem);
    }

    fn diagnostic(&self, message: String, hint: Option<String>) -> Diagnostic {
        let span = self.start..self.end;
        match self.shown {
            Shown::Line => self.source.diagnostic(span, message, hint),
            Shown::Masked => self.source.secret_diagnostic(span, message, hint),
            Shown::File => Diagnostic {
                hint,
                ..Diagnostic::of_file(&self.source.path, message)
            },
        }
    }

    /// `portunus.toml:12`, to name a second place in a message.
    pub(super) fn name(&self) -> String {
        format!(
            "{}:{}",
            self.source.path.display(),
            self.source.line(self.start)
        )
    }
}

/// What is wrong with a value, before it is known where the value stands.
#[derive(Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}
