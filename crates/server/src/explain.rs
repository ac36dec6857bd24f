//! Explanations wait here for a thread of their own: they take so long that predictions must not wait for them.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use distune::Error;
use distune::attribution::{Attribution, Explainer, Options};
use distune::tokenize::Traced;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, oneshot};

use crate::error::{ApiError, ErrorType};
use crate::model::{Version, locked};

/// A text whose prediction is to be explained. Who has asked holds the other end of `answer`.
struct Job {
    version: Arc<Version>,
    text: Traced,
    class: Option<usize>,
    answer: oneshot::Sender<Result<Attribution, Error>>,
    _turn: OwnedSemaphorePermit,
}

/// The way to that thread.
pub(crate) struct Explanations {
    thread: Mutex<Option<Sender<Job>>>,
    /// One, of the text that the thread has. The others wait where they were read, so that nothing is kept of clients who leave.
    turn: Arc<Semaphore>,
    /// One for each explanation that may be worked on or wait.
    places: Semaphore,
}

/// The other end of it.
pub(crate) struct Explaining(Receiver<Job>);

/// Of so many at once, at most.
pub(crate) fn explanations(most: usize) -> (Explanations, Explaining) {
    let (to, from) = channel();
    let (turn, places) = (Arc::new(Semaphore::new(1)), Semaphore::new(most));
    (Explanations { thread: Mutex::new(Some(to)), turn, places }, Explaining(from))
}

impl Explanations {
    /// Lets an explanation in, until the permit is dropped, if there are not too many: all that the server lets in would leave no request for
    /// predictions.
    pub(crate) fn place(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        self.places.try_acquire().map_err(|_| ApiError::overloaded())
    }

    /// What the logit of a class, or of the most probable one, rests on.
    pub(crate) async fn explain(
        &self,
        version: Arc<Version>,
        text: Traced,
        class: Option<usize>,
    ) -> Result<Attribution, ApiError> {
        let turn = self.turn.clone().acquire_owned().await.map_err(|_| ApiError::no_answer())?;
        let (answer, explained) = oneshot::channel();
        let job = Job { version, text, class, answer, _turn: turn };
        if locked(&self.thread).as_ref().is_none_or(|thread| thread.send(job).is_err()) {
            return Err(ApiError::no_answer());
        }
        let explained = explained.await.map_err(|_| ApiError::new(ErrorType::Backend, "the explanation failed"))?;
        explained.map_err(|error| ApiError::new(ErrorType::Backend, error))
    }

    /// Lets [`Explaining::work`] end when nothing is left to explain.
    pub(crate) fn close(&self) {
        locked(&self.thread).take();
    }
}

impl Explaining {
    /// Explains what comes. A client that leaves ends the work for it.
    pub(crate) fn work(self) {
        for Job { version, text, class, answer, _turn } in self.0 {
            if answer.is_closed() {
                continue;
            }
            let explain = || {
                let model = version.weights()?;
                Explainer::new(&model, Options::default()).explain(&text, class, &mut |_, _| !answer.is_closed())
            };
            let explained = std::panic::catch_unwind(std::panic::AssertUnwindSafe(explain));
            match explained {
                // who has left does not hear it
                Ok(explained) => drop(answer.send(explained)),
                Err(_) => tracing::error!("an explanation failed"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn so_many_wait_and_no_more() {
        let (explanations, _explaining) = explanations(2);
        let (one, _another) = (explanations.place().unwrap(), explanations.place().unwrap());
        assert_eq!(explanations.place().unwrap_err().kind, ErrorType::Overloaded);
        drop(one);
        assert!(explanations.place().is_ok());
    }
}
