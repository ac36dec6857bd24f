//! GELU in its erf form: `gelu(x) = x Φ(x)` (Hendrycks & Gimpel 2016), as `torch.nn.functional.gelu`.

use crate::Real;
use crate::isa::{vectorize, vectorize_fused};
use crate::parallel::{ELEMENTS, STRETCH, ask_ahead};
use crate::pool::each;
use crate::profile::{Operation, timer};

/// `y = gelu(x)`. Overwrites `y`; `x`, of the same length, holds the slope `Φ(x) + x φ(x)` afterwards, for the backward pass.
pub fn gelu<T: Real>(y: &mut [T], x: &mut [T]) {
    let _timer = timer(Operation::Gelu, 0);
    assert_eq!(y.len(), x.len());
    each(y.chunks_mut(ELEMENTS).zip(x.chunks_mut(ELEMENTS)), |(y, x)| {
        vectorize_fused(
            #[inline(always)]
            |how| {
                for (y, x) in y.chunks_mut(STRETCH).zip(x.chunks_mut(STRETCH)) {
                    ask_ahead(y);
                    ask_ahead(x);
                    for (y, x) in y.iter_mut().zip(x) {
                        let (cumulative, density) = x.normal(how);
                        *y = *x * cumulative;
                        *x = cumulative + *x * density;
                    }
                }
            },
        );
    });
}

/// `x = gelu(x)`, in place and without the slope, for inference.
pub(crate) fn gelu_in_place<T: Real>(x: &mut [T]) {
    let _timer = timer(Operation::Gelu, 0);
    each(x.chunks_mut(ELEMENTS), |x| {
        vectorize_fused(
            #[inline(always)]
            |how| {
                for x in x {
                    let (cumulative, _) = x.normal(how);
                    *x *= cumulative;
                }
            },
        );
    });
}

/// `dy` becomes `dx`, in place; `slope` is what [`gelu`] left.
pub fn gelu_backward<T: Real>(dy: &mut [T], slope: &[T]) {
    let _timer = timer(Operation::GeluBackward, 0);
    assert_eq!(dy.len(), slope.len());
    each(dy.chunks_mut(ELEMENTS).zip(slope.chunks(ELEMENTS)), |(dy, slope)| {
        vectorize(
            #[inline(always)]
            || {
                for (dy, slope) in dy.iter_mut().zip(slope) {
                    *dy *= *slope;
                }
            },
        );
    });
}
