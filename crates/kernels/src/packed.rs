//! Weights of linear layers as inference multiplies with them: arranged once, when a model is loaded, not in every product.

use crate::gelu::gelu_in_place;
use crate::gemm::{
    Activation, Arranged, Epilogue, Int8Panels, Matrix, Precision, Quantized, multiply_arranged, multiply_int8,
    multiply_twice,
};
use crate::matmul::Products;

/// The weights `w [N, K]` of a linear layer.
#[derive(Clone, Debug)]
pub struct PackedWeights(Form);

#[derive(Clone, Debug)]
enum Form {
    /// In panels of 48 outputs.
    Panels(Arranged),
    /// Likewise, in int8.
    Int8(Int8Panels),
}

impl PackedWeights {
    /// Weights `w [N, K]`, rounded to `precision`; `outputs` is N.
    pub fn new(w: &[f32], outputs: usize, precision: Precision) -> Self {
        Self(Form::Panels(Arranged::new(Matrix::new(w, [outputs, w.len() / outputs]).transposed(), precision)))
    }

    /// Weights of int8.
    pub fn quantized(weights: &Quantized) -> Self {
        Self(Form::Int8(Int8Panels::new(weights)))
    }

    /// Memory that they take.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Form::Panels(arranged) => arranged.bytes(),
            Form::Int8(panels) => panels.bytes(),
        }
    }

    /// `y [M, N] = gelu(x [M, K] · firstᵀ + bias) · secondᵀ + bias`. `between` has room for what the second product is of.
    pub(crate) fn multiply_twice(
        p: &mut Products,
        [y, between]: [&mut [f32]; 2],
        x: Matrix,
        layers: [(&Self, &[f32]); 2],
    ) {
        let [(first, first_bias), (second, second_bias)] = layers;
        if let (Form::Panels(first), Form::Panels(second)) = (&first.0, &second.0)
            && multiply_twice(&mut p.buffers, y, x, [(first, first_bias), (second, second_bias)])
        {
            return;
        }
        first.multiply(p, between, x, first_bias, Activation::Gelu);
        let between = Matrix::new(between, [x.shape()[0], first_bias.len()]);
        second.multiply(p, y, between, second_bias, Activation::Nothing);
    }

    /// `y [M, N] = activation(x [M, K] · wᵀ + bias)`
    pub(crate) fn multiply(&self, p: &mut Products, y: &mut [f32], x: Matrix, bias: &[f32], activation: Activation) {
        match &self.0 {
            Form::Panels(w) => multiply_arranged(&mut p.buffers, y, x, w, Epilogue::Bias(bias)),
            Form::Int8(w) => return multiply_int8(&mut p.rows, y, x, w, bias, activation),
        }
        if activation == Activation::Gelu {
            gelu_in_place(y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Weight, feed_forward, linear};

    /// Numbers in [-4, 4).
    fn values(len: usize, seed: u32) -> Vec<f32> {
        let value = |i: u32| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 21) as f32 - 4.0;
        (0..len as u32).map(value).collect()
    }

    /// Both layers at once give the bits of one after the other, whatever their shapes, and after larger ones in the same buffers.
    #[test]
    fn feed_forward_is_its_layers() {
        let mut products = Products::new(Precision::Bf16);
        for [rows, width, inner] in
            [[40, 96, 300], [33, 96, 320], [1, 384, 1536], [17, 70, 64], [129, 31, 32], [64, 16, 1504]]
        {
            let (w1, w2) = (values(inner * width, 1), values(width * inner, 2));
            let (b1, b2, mut x) = (values(inner, 3), values(width, 4), values(rows * width, 5));
            x.iter_mut().step_by(7).for_each(|x| *x = -*x / 9.0);
            (x[0], x[rows * width - 1]) = (f32::INFINITY, 1e30);
            for pack in [
                |w: &[f32], outputs| PackedWeights::new(w, outputs, Precision::Bf16),
                |w: &[f32], outputs| PackedWeights::new(w, outputs, Precision::F32),
                |w: &[f32], outputs| PackedWeights::quantized(&Quantized::new(w, outputs)),
            ] {
                let (w1, w2) = (pack(&w1, inner), pack(&w2, width));
                let [mut between, mut room] = [(); 2].map(|()| vec![0.0; rows * inner]);
                let [mut apart, mut together] = [(); 2].map(|()| vec![0.0; rows * width]);
                linear(&mut products, &mut between, &x, Weight::Packed(&w1), &b1);
                gelu_in_place(&mut between);
                linear(&mut products, &mut apart, &between, Weight::Packed(&w2), &b2);
                feed_forward(&mut products, [&mut together, &mut room], &x, [(&w1, &b1), (&w2, &b2)]);
                let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
                assert!(
                    apart[..width].iter().any(|y| y.is_nan()) && apart[width..].iter().all(|y| y.is_finite())
                        || rows == 1
                );
                assert!(bits(&apart) == bits(&together), "[{rows}, {width}] through {inner}");
            }
        }
    }
}
