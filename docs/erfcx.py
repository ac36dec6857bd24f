"""Makes the polynomial for erfcx in crates/kernels/src/real.rs. Needs numpy and mpmath.

erfcx(x) = exp(x^2) erfc(x) for x in [0, 20] as a polynomial of degree 9 in t = 1 / (1 + x / 2): least squares of the
relative error at Chebyshev nodes, reweighted until the error is nearly level. Prints the coefficients, highest power
first, and the largest relative error of the f32 evaluation.
"""
import mpmath
import numpy as np

mpmath.mp.dps = 40
DEGREE, NODES, LOW, HIGH = 9, 200, 1 / 11, 1.0


def erfcx(t):
    x = (1 / mpmath.mpf(t) - 1) * 2
    return float(mpmath.exp(x * x) * mpmath.erfc(x))


u = np.cos(np.pi * (np.arange(NODES) + 0.5) / NODES)
y = np.array([erfcx((LOW + HIGH) / 2 + (HIGH - LOW) / 2 * v) for v in u])
basis, weight, best = np.polynomial.chebyshev.chebvander(u, DEGREE), np.ones(NODES), None
for _ in range(60):
    scale = np.sqrt(weight) / y
    c = np.linalg.lstsq(basis * scale[:, None], y * scale, rcond=None)[0]
    error = np.abs((basis @ c - y) / y)
    if best is None or error.max() < best[0]:
        best = (error.max(), c)
    weight *= error / error.mean() + 1e-3
    weight /= weight.mean()
power = np.polynomial.chebyshev.Chebyshev(best[1], domain=[LOW, HIGH]).convert(kind=np.polynomial.Polynomial)
coefficients = power.coef[::-1].astype(np.float32)
t = np.linspace(LOW, HIGH, 5000)
value = np.full(5000, coefficients[0], np.float32)
for c in coefficients[1:]:
    value = (value * t.astype(np.float32) + c).astype(np.float32)
print("fit", best[0], "f32", np.abs(value / np.array([erfcx(v) for v in t]) - 1).max())
print([repr(float(c)) for c in coefficients])
