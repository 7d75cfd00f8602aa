//! One piece of work at a time: whoever asks for it while it runs waits for the same outcome.

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};
use std::cell::RefCell;
use std::rc::Rc;

/// The work under way, if any.
type Slot<T> = Rc<RefCell<Option<Shared<LocalBoxFuture<'static, T>>>>>;

/// Work of one kind, of which there is one at a time. Clones share it.
pub(super) struct Flight<T: Clone>(Slot<T>);

impl<T: Clone> Clone for Flight<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone> Default for Flight<T> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

/// Makes room for the next when the work ends, also when it ends by a panic: its future would panic for ever.
struct MakesRoom<T: Clone>(Slot<T>);

impl<T: Clone> Drop for MakesRoom<T> {
    fn drop(&mut self) {
        let ended = self.0.try_borrow_mut().ok().and_then(|mut slot| slot.take());
        drop(ended);
    }
}

impl<T: Clone + 'static> Flight<T> {
    /// Waits for what is under way. False when nothing is.
    pub(super) async fn wait(&self) -> bool {
        let Some(flight) = self.0.borrow().clone() else { return false };
        flight.await;
        true
    }

    /// Joins what is under way, or starts `work`.
    pub(super) async fn join(&self, work: LocalBoxFuture<'static, T>) -> T {
        let flight = {
            let mut slot = self.0.borrow_mut();
            if let Some(flight) = &*slot {
                flight.clone()
            } else {
                let room = MakesRoom(self.0.clone());
                let guarded = async move {
                    let _room = room;
                    work.await
                };
                let flight = guarded.boxed_local().shared();
                *slot = Some(flight.clone());
                flight
            }
        };
        flight.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::{join, ready};
    use std::cell::Cell;
    use std::panic::AssertUnwindSafe;

    #[test]
    fn those_who_come_meanwhile_share_one_outcome_and_the_next_starts_anew() {
        pollster::block_on(async {
            let (flight, runs) = (Flight::<u32>::default(), Rc::new(Cell::new(0)));
            let work = || {
                let runs = runs.clone();
                async move {
                    runs.set(runs.get() + 1);
                    pause().await;
                    runs.get()
                }
            };
            assert_eq!(join(flight.join(work().boxed_local()), flight.join(work().boxed_local())).await, (1, 1));
            assert_eq!(flight.join(work().boxed_local()).await, 2);
        });
    }

    #[test]
    fn a_panic_makes_room_for_the_next() {
        pollster::block_on(async {
            let flight = Flight::<u32>::default();
            let panics = async { panic!("in the work") };
            assert!(AssertUnwindSafe(flight.join(panics.boxed_local())).catch_unwind().await.is_err());
            assert_eq!(flight.join(ready(7).boxed_local()).await, 7);
        });
    }

    async fn pause() {
        let mut paused = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut paused, true) {
                return std::task::Poll::Ready(());
            }
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
    }
}
