//! GELU in its erf form: `gelu(x) = x Φ(x)` (Hendrycks & Gimpel 2016), as `torch.nn.functional.gelu`.

use rayon::prelude::*;

use crate::Real;
use crate::isa::vectorize;
use crate::parallel::ELEMENTS;
use crate::profile::{Operation, timer};

/// `y = gelu(x)`. Overwrites `y`, of the length of `x`.
pub fn gelu<T: Real>(y: &mut [T], x: &[T]) {
    let _timer = timer(Operation::Gelu, 0);
    assert_eq!(y.len(), x.len());
    y.par_chunks_mut(ELEMENTS).zip(x.par_chunks(ELEMENTS)).for_each(|(y, x)| {
        vectorize(
            #[inline(always)]
            || {
                for (y, &x) in y.iter_mut().zip(x) {
                    *y = x * x.normal().0;
                }
            },
        );
    });
}

/// `dy` becomes `dx = dy (Φ(x) + x φ(x))`, in place; `x` is the input of [`gelu`].
pub fn gelu_backward<T: Real>(dy: &mut [T], x: &[T]) {
    let _timer = timer(Operation::GeluBackward, 0);
    assert_eq!(dy.len(), x.len());
    dy.par_chunks_mut(ELEMENTS).zip(x.par_chunks(ELEMENTS)).for_each(|(dy, x)| {
        vectorize(
            #[inline(always)]
            || {
                for (dy, &x) in dy.iter_mut().zip(x) {
                    let (cumulative, density) = x.normal();
                    *dy *= cumulative + x * density;
                }
            },
        );
    });
}
