//! What a context has of its guest thread's page ([`Page`]), and how it shows a thread that has one: as if there were none.
//!
//! The thread finds its page by its gs base. It is given the page's address when it is to have 0 there, which is what programs have that do not
//! use it; the sentry shows 0 in turn. A program that sets its own has no page as long as it does.

use abi::x86::UserRegs;

use super::rewrite::{Page, unwind};
use crate::Facts;

/// After so many calls by rewritten sites a thread is worth a page.
const MANY: u32 = 64;

/// See the module.
#[derive(Default)]
pub struct ByPage {
    page: Option<Page>,
    /// Calls that could have gone by page, while there is none.
    calls: u32,
}

impl ByPage {
    /// A call of a rewritten site has come without it.
    pub fn missed(&mut self) {
        self.calls = self.calls.saturating_add(1);
    }

    /// Should there be one? Asked once in a while.
    pub fn wanted(&mut self) -> bool {
        let wanted = self.page.is_none() && self.calls == MANY;
        if wanted {
            self.missed();
        }
        wanted
    }

    /// Here it is, if there can be one.
    pub fn give(&mut self, page: Option<Page>) {
        self.page = page;
    }

    /// Is there one?
    pub fn is_there(&self) -> bool {
        self.page.is_some()
    }

    /// See [`crate::Context::publish`].
    pub fn publish(&mut self, facts: Option<Facts>) {
        if let Some(page) = &mut self.page {
            page.publish(facts);
        }
    }

    /// What a thread has in its registers, as the guest is to see it.
    pub fn shown(&self, mut user: UserRegs) -> UserRegs {
        let Some(page) = &self.page else {
            return user;
        };
        if user.gs_base == page.address {
            user.gs_base = 0;
        }
        unwind(&mut user, |at| page.word(at));
        user
    }

    /// What it is to have in them.
    pub fn hidden(&self, mut user: UserRegs) -> UserRegs {
        if let Some(page) = &self.page
            && user.gs_base == 0
        {
            user.gs_base = page.address;
        }
        user
    }
}
