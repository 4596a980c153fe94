//! Waiting for a channel on a thread that belongs to no async runtime: the lanes of a stream.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::task::coop::unconstrained;

use super::clock::Moment;

/// Waits for a future until `deadline` at most: `None` past it. The future must need no runtime:
/// channels, not timers or sockets. Tokio's budget of polls is not kept: were it spent, a task that calls this would
/// be told to come again and never get there.
pub fn until<Fut: Future>(future: Fut, deadline: Moment) -> Option<Fut::Output> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(unconstrained(future));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = deadline.remaining();
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

/// Wakes a thread that waits for a future.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;
    use crate::tasks;

    #[test]
    fn an_answer_wakes_and_a_deadline_ends_the_wait() {
        let (sender, receiver) = oneshot::channel();
        let thread = tasks::thread("answer", move || assert_eq!(sender.send(7), Ok(()))).expect("a thread");
        assert_eq!(until(receiver, Moment::now().after(Duration::from_mins(1))), Some(Ok(7)));
        thread.join().expect("ended");
        let (_kept, receiver) = oneshot::channel::<u8>();
        assert_eq!(until(receiver, Moment::now()), None);
    }

    #[tokio::test]
    async fn a_task_that_waits_often_is_not_told_to_come_again() {
        for turn in 0..1_000 {
            let (sender, receiver) = oneshot::channel();
            assert_eq!(sender.send(turn), Ok(()));
            // A spent budget would make this pending for ever.
            assert_eq!(until(receiver, Moment::now()), Some(Ok(turn)));
        }
    }
}
