//! The arithmetic of distune: slices in, slices out. No I/O and no model; the only crate with `unsafe`.
//!
//! Every function is generic over [`Real`], so that the code that trains in f32 is the code whose gradients the
//! tests check by finite differences in f64.
//!
//! Legend: B sequences, T tokens (rows), D width, H heads, F feed-forward width, C classes. Matrices are row-major
//! and written `[rows, columns]`. `dx` is the gradient of the loss with respect to `x`.
//!
//! Results do not depend on the number of threads: work is split over outputs, never over a sum.

mod attention;
mod dropout;
mod embeddings;
mod first_tokens;
mod gelu;
mod gemm;
mod isa;
mod large_pages;
mod layer_norm;
mod loss;
mod low_rank;
mod matmul;
mod optimizer;
mod packed;
mod parallel;
mod pool;
mod profile;
mod real;
mod small_matmul;

pub use attention::{Heads, attention, attention_backward};
pub use dropout::{Dropout, Site};
pub use embeddings::{Words, embed, embed_backward};
pub use first_tokens::{
    FirstTokens, FirstTokensGradient, Folded, first_token_attention, first_token_attention_backward,
};
pub use gelu::{gelu, gelu_backward};
pub use gemm::{Activation, Buffers, Epilogue, Matrix, Precision, Quantized, int8_instructions, multiply, peak};
pub use isa::{Isa, MultiplyAdd, isa};
pub use large_pages::LargePages;
pub use layer_norm::{LAYER_NORM_EPSILON, layer_norm, layer_norm_backward};
pub use loss::{LossOptions, Targets, loss, sigmoid, softmax};
pub use low_rank::{Columns, low_rank_down, low_rank_gradient, low_rank_up, low_rank_width};
pub use matmul::{Products, feed_forward, linear, linear_backward_input, linear_backward_weight};
pub use optimizer::{Decay, Optimizer, OptimizerStep, Update, Weight, gradient_norm, optimizer_step};
pub use packed::PackedWeights;
pub use parallel::{add, exchange, gather_rows, relu, relu_backward, scatter_add_rows};
pub use pool::inside_pool;
pub use profile::{Operation, OperationProfile, start_profile, stop_profile};
pub use real::Real;
