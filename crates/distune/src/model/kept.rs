//! What an optimizer keeps of the weights from step to step. The engine holds it.

use distune_kernels::exchange;

use crate::model::thawed::Thawed;
use crate::model::weights::Parameters;

/// What an optimizer keeps of each tensor that trains; empty where it has no use for it.
#[derive(Debug)]
pub struct Kept<T> {
    /// First moments.
    pub first_moments: Parameters<T>,
    /// Second moments.
    pub second_moments: Parameters<T>,
    /// The moving average of the weights; the weights, while their average is in their place.
    pub average: Parameters<T>,
    /// Whether it is.
    exchanged: bool,
}

impl<T: Copy + Default + Send + Sync> Kept<T> {
    /// Before the first step: moments, as far as there are such, are zeros, and the average, if there is one, is the weights.
    pub fn new(weights: &Parameters<T>, thawed: &Thawed, moments: [bool; 2], average: bool) -> Self {
        let zeros = |kept: bool| Parameters::zeros_where(weights.table(), |tensor| kept && thawed.trains(tensor));
        let (first_moments, second_moments) = (zeros(moments[0]), zeros(moments[1]));
        let mut kept = Self { first_moments, second_moments, average: zeros(average), exchanged: false };
        for tensor in thawed.tensors().filter(|_| average) {
            kept.average.tensor_mut(tensor).copy_from_slice(weights.tensor(tensor));
        }
        kept
    }

    /// Whether there are first moments, second moments, an average.
    pub fn kinds(&self) -> [bool; 3] {
        [&self.first_moments, &self.second_moments, &self.average].map(|kept| !kept.is_empty())
    }

    /// First moments, second moments, average.
    pub fn arrays(&mut self) -> [&mut Parameters<T>; 3] {
        [&mut self.first_moments, &mut self.second_moments, &mut self.average]
    }

    /// Whether readers of the weights find their average, or there is none.
    pub fn shows_average(&self) -> bool {
        self.exchanged || self.average.is_empty()
    }

    /// Puts the average in the weights' place, or the weights back, without rounding.
    pub fn show_average(&mut self, weights: &mut Parameters<T>, wanted: bool) {
        if self.average.is_empty() || self.exchanged == wanted {
            return;
        }
        let pairs = weights.tensors_mut().into_iter().zip(self.average.tensors_mut());
        for (w, average) in pairs.filter(|(_, average)| !average.is_empty()) {
            exchange(w, average);
        }
        self.exchanged = wanted;
    }
}
