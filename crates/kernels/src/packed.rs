//! Weights of linear layers as inference multiplies with them: arranged once, when a model is loaded, not in every product.

use crate::gelu::gelu_in_place;
use crate::gemm::{
    Activation, Arranged, Epilogue, Int8Panels, Matrix, Precision, Quantized, multiply_arranged, multiply_int8,
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
