//! How much memory clients may take up with what they send slowly or do not take: `extract` holds a share of it for a large body, `answer`
//! for a large answer. What is small is not counted: the number of connections bounds it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// Bytes up to which nothing is counted.
pub(crate) const SMALL: usize = 64 * 1024;
/// Bodies of the largest size that there is room for.
const BODIES: usize = 64;
/// Bytes of the unit that is counted.
const UNIT: usize = 1024;

/// What is left.
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    all: u32,
}

/// A share of it, given back when it is dropped. Nothing at first.
#[derive(Default)]
pub(crate) struct Held(Option<OwnedSemaphorePermit>);

impl Budget {
    /// For bodies of so many bytes at most.
    pub(crate) fn new(payload_limit: usize) -> Self {
        let units = payload_limit.saturating_mul(BODIES).div_ceil(UNIT).min(Semaphore::MAX_PERMITS);
        let all = u32::try_from(units).unwrap_or(u32::MAX);
        Self { units: Arc::new(Semaphore::new(all as usize)), all }
    }

    /// Bytes that are held.
    pub(crate) fn held(&self) -> usize {
        (self.all as usize - self.units.available_permits()) * UNIT
    }

    /// Lets a share grow to so many bytes; what is larger than all there is may be alone.
    pub(crate) fn hold(&self, held: &mut Held, bytes: usize) -> Result<(), ApiError> {
        if bytes <= SMALL {
            return Ok(());
        }
        let wanted = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.all);
        let missing = wanted.saturating_sub(held.0.as_ref().map_or(0, |units| units.num_permits() as u32));
        let more = self.units.clone().try_acquire_many_owned(missing).map_err(|_| ApiError::overloaded())?;
        match &mut held.0 {
            Some(units) => units.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}
