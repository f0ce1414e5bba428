//! Which file answers a request.
//!
//! In: a parsed path and the codings the client takes. Out: an open file with what its answer
//! must say about it, or the news that a directory lacks its slash, or why nothing is served.
//!
//! The plain file is opened before any precompressed sibling: what exists must not depend on
//! `Accept-Encoding`, and `backup.gz` must not answer for a directory `backup`.

use http::HeaderValue;

use super::{
    content_type::content_type,
    encoding::{Accepted, Coding},
    open::{Entry, OpenError, OpenFile, Root, Wait},
    target::Target,
};

/// A served path.
#[derive(Debug)]
pub(super) enum Found {
    File(Hit),
    /// A directory with an index was asked for without its slash.
    NeedsSlash,
}

/// A file to answer with.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) file: OpenFile,
    pub(super) content_type: HeaderValue,
    pub(super) coding: Option<Coding>,
    /// This is the fallback page, under whatever path: a deployment changes it, so ask each time.
    pub(super) revalidate: bool,
}

/// The names a server may fall back on, from its configuration.
#[derive(Debug)]
pub(super) struct Names {
    /// File names tried in a directory, in order.
    pub(super) index: Vec<Vec<u8>>,
    /// Relative to the root.
    pub(super) fallback: Option<Vec<u8>>,
}

impl Names {
    /// Finds what answers for `target`. [`OpenError::Missing`] means that not even the fallback is
    /// there. With [`Wait::Never`] any step may end it all with [`OpenError::WouldBlock`].
    pub(super) fn find(
        &self,
        root: &Root,
        target: &Target<'_>,
        accepted: Accepted,
        wait: Wait,
    ) -> Result<Found, OpenError> {
        let search = Search {
            names: self,
            root,
            accepted,
            wait,
        };
        let named = if target.directory {
            self.find_index(&search, &target.name)
        } else {
            match root.entry(&target.name, wait) {
                Ok(Entry::File(file)) => search.hit(file, &target.name),
                Ok(Entry::Directory) => {
                    return match self.find_index(&search, &target.name) {
                        Ok(_) => Ok(Found::NeedsSlash),
                        Err(OpenError::Missing) => self.find_fallback(&search),
                        Err(error) => Err(error),
                    };
                }
                Err(error) => Err(error),
            }
        };
        match named {
            Ok(hit) => Ok(Found::File(hit)),
            Err(OpenError::Missing) => self.find_fallback(&search),
            Err(error) => Err(error),
        }
    }

    fn find_index(&self, search: &Search<'_>, directory: &[u8]) -> Result<Hit, OpenError> {
        for index in &self.index {
            let joined;
            let name = if directory.is_empty() {
                index
            } else {
                joined = [directory, b"/", index].concat();
                &joined
            };
            match search.root.entry(name, search.wait) {
                Ok(Entry::File(file)) => return search.hit(file, name),
                Ok(Entry::Directory) | Err(OpenError::Missing) => {}
                Err(error) => return Err(error),
            }
        }
        Err(OpenError::Missing)
    }

    fn find_fallback(&self, search: &Search<'_>) -> Result<Found, OpenError> {
        let name = self.fallback.as_ref().ok_or(OpenError::Missing)?;
        match search.root.entry(name, search.wait)? {
            Entry::File(file) => Ok(Found::File(search.hit(file, name)?)),
            Entry::Directory => Err(OpenError::Missing),
        }
    }
}

struct Search<'a> {
    names: &'a Names,
    root: &'a Root,
    accepted: Accepted,
    wait: Wait,
}

impl Search<'_> {
    /// Puts the best precompressed sibling in the place of `file`.
    fn hit(&self, file: OpenFile, name: &[u8]) -> Result<Hit, OpenError> {
        let content_type = content_type(name);
        let revalidate = self.names.fallback.as_deref() == Some(name);
        for coding in self.accepted.iter() {
            match self
                .root
                .entry(&[name, coding.suffix()].concat(), self.wait)
            {
                Ok(Entry::File(file)) => {
                    return Ok(Hit {
                        file,
                        content_type,
                        coding: Some(coding),
                        revalidate,
                    });
                }
                Err(OpenError::WouldBlock) => return Err(OpenError::WouldBlock),
                // The plain file is open and good enough.
                _ => {}
            }
        }
        Ok(Hit {
            file,
            content_type,
            coding: None,
            revalidate,
        })
    }
}
