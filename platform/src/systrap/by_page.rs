//! Rewritten sites as a context has to do with them: which calls are worth it, what a signal there means.
//!
//! And what it has of its guest thread's page ([`Page`]), and how it shows a thread that has one: as if there were none.
//!
//! The thread finds its page by its gs base. It is given the page's address when it is to have 0 there, which is what programs have that do not
//! use it; the sentry shows 0 in turn. A program that sets its own has no page as long as it does.

use abi::x86::UserRegs;

use super::rewrite::{Middle, Page, Progress, Request, Stage, TextMap, unwind};
use super::spin::Spin;
use crate::Facts;

/// How many call sites are watched, and how many calls make one worth rewriting: more than a program makes to start.
const SITES: usize = 64;
const OFTEN: u8 = 24;
/// After so many calls by rewritten sites a thread is worth a page.
const MANY: u32 = 64;
/// How many sites are remembered.
const KNOWN: usize = 16;

/// See the module.
pub struct ByPage {
    page: Option<Page>,
    /// Calls that could have gone by page, while there is none.
    calls: u32,
    /// When it is used to hand over.
    pub spin: Spin,
    /// What the call that came last by page has been answered. The thread may not have seen it yet.
    answered: Option<u64>,
    /// It waits for that in a call to the host, or is on its way there.
    owed: bool,
    /// Sites by the code that the requests came from.
    known: [(u64, u64); KNOWN],
}

impl ByPage {
    /// None so far.
    pub fn new(spin: bool) -> ByPage {
        ByPage {
            page: None,
            calls: 0,
            spin: Spin::new(spin),
            answered: None,
            owed: false,
            known: [(0, 0); KNOWN],
        }
    }

    /// A call has come by the host.
    pub fn missed(&mut self, by_site: bool) {
        self.answered = None;
        if self.page.is_some() {
            self.spin.called(by_site);
        } else if by_site {
            self.calls = self.calls.saturating_add(1);
        }
    }

    /// Should there be one? Asked once in a while.
    pub fn wanted(&mut self) -> bool {
        let wanted = self.page.is_none() && self.calls == MANY;
        if wanted {
            self.calls += 1;
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

    /// The guest thread is about to be let go. `Some`: from now on the wake-up shall hand over on one processor, or not.
    pub fn letting_go(&mut self) -> Option<bool> {
        let page = self.page.as_ref()?;
        let change = self.spin.answering();
        page.listen(self.spin.is_on());
        change.map(|by_page| !by_page)
    }

    /// The next call, if it comes by page, and where from.
    pub fn look(&mut self, text: Option<&TextMap>) -> Option<(Request, u64)> {
        let page = self.page.as_ref().filter(|_| self.spin.is_on())?;
        let request = self.spin.look(|| page.take());
        let request = request.or_else(|| page.turn_away())?;
        self.answered = None;
        let slot = self.known.get_mut((request.link >> 6) as usize % KNOWN)?;
        if slot.0 != request.link {
            let site = text.and_then(|text| text.caller(request.link.wrapping_add(2)));
            *slot = (request.link, site.unwrap_or(request.link));
        }
        Some((request, slot.1))
    }

    /// The result of a call that came by page. `Err` if it has to be brought to the guest thread by another way; `Ok(Some)` as in
    /// [`ByPage::letting_go`].
    pub fn answer(&mut self, value: u64) -> Result<Option<bool>, ()> {
        let page = self.page.as_ref().ok_or(())?;
        self.answered = Some(value);
        let change = self.spin.answering();
        if page.answer(value, self.spin.is_on()) {
            Ok(change.map(|by_page| !by_page))
        } else {
            self.spin.miss();
            self.owed = true;
            Err(())
        }
    }

    /// It has been brought.
    pub fn brought(&mut self) {
        (self.answered, self.owed) = (None, false);
    }

    /// The call that came by page is to be made.
    pub fn redo(&self) {
        if let Some(page) = &self.page {
            page.redo();
        }
    }

    /// Shows what a thread has in its registers as the guest is to see it; how far it had come in the code of a site. `text` is looked at for a
    /// thread that may be there.
    pub fn show(&self, text: Option<&TextMap>, user: &mut UserRegs) -> Option<Progress> {
        let mut stage = None;
        if let Some(page) = &self.page {
            if user.gs_base == page.address {
                user.gs_base = 0;
            }
            stage = unwind(user, |at| page.word(at));
        }
        let progress = text?.show_thread(user)?;
        let result = self
            .answered
            .filter(|_| stage == Some(Stage::Asked) || self.owed);
        match result {
            Some(result) if progress == Progress::Before => {
                user.rax = result;
                user.rip = user.rip.wrapping_add(2);
                (user.rcx, user.r11) = (user.rip, user.eflags);
                Some(Progress::After)
            }
            _ => Some(progress),
        }
    }

    /// What a thread is to have in its registers.
    pub fn hidden(&self, mut user: UserRegs) -> UserRegs {
        if let Some(page) = &self.page
            && user.gs_base == 0
        {
            user.gs_base = page.address;
        }
        user
    }
}

/// Call sites that are not rewritten.
pub struct Watched(Box<[(u64, u8); SITES]>);

impl Default for Watched {
    fn default() -> Watched {
        Watched(Box::new([(0, 0); SITES]))
    }
}

impl Watched {
    /// Counts a call. Has it come from there often enough?
    pub fn often(&mut self, rip: u64) -> bool {
        let slot = self.0.get_mut((rip >> 1) as usize % SITES);
        slot.is_some_and(|(at, count)| {
            if *at != rip {
                (*at, *count) = (rip, 0);
            }
            *count = count.saturating_add(1);
            *count == OFTEN
        })
    }
}

/// What a signal is that came to a thread in a rewritten site.
pub enum InSite {
    /// The site's call.
    Call,
    /// Nothing that the guest would know of.
    Nothing,
}

/// Shows a thread to which a signal came in the code or in the middle of a rewritten site as it would be without.
pub fn in_site(
    by_page: &mut ByPage,
    text: &TextMap,
    signal: i32,
    code: i32,
    user: &mut UserRegs,
) -> Option<InSite> {
    let progress = by_page.show(Some(text), user);
    by_page.brought();
    if let Some(progress) = progress {
        return match signal {
            // It may be followed step by step: all that is before the call, and the call, is one.
            libc::SIGSEGV | libc::SIGBUS | libc::SIGTRAP
                if code > 0 && progress == Progress::Before =>
            {
                user.rip += 2;
                Some(InSite::Call)
            }
            libc::SIGTRAP if code > 0 => Some(InSite::Nothing),
            _ => None,
        };
    }
    if signal != libc::SIGILL || code <= 0 {
        return None;
    }
    match text.middle(user)? {
        Middle::Call(_) => {
            user.rip += 2;
            Some(InSite::Call)
        }
        Middle::Compared => Some(InSite::Nothing),
    }
}
