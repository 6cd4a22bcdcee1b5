//! Functions of one float that ops share.

pub(super) fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

pub(super) fn sign(x: f32) -> f32 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        x
    }
}

pub(super) fn exp(x: f32) -> f32 {
    f64::from(x).exp() as f32
}

pub(super) fn log(x: f32) -> f32 {
    f64::from(x).ln() as f32
}

pub(super) fn sin(x: f32) -> f32 {
    f64::from(x).sin() as f32
}

pub(super) fn cos(x: f32) -> f32 {
    f64::from(x).cos() as f32
}

pub(super) fn tanh(x: f32) -> f32 {
    f64::from(x).tanh() as f32
}

pub(super) fn sigmoid(x: f32) -> f32 {
    (1.0 / (1.0 + (-f64::from(x)).exp())) as f32
}

pub(super) fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

pub(super) fn softplus(x: f32) -> f32 {
    let wide = f64::from(x);
    (wide.max(0.0) + (-wide.abs()).exp().ln_1p()) as f32
}

pub(super) fn hard_sigmoid(x: f32, alpha: f32, beta: f32) -> f32 {
    (alpha * x + beta).clamp(0.0, 1.0)
}

pub(super) fn hard_swish(x: f32) -> f32 {
    x * hard_sigmoid(x, 1.0 / 6.0, 0.5)
}

pub(super) fn leaky_relu(x: f32, alpha: f32, _: f32) -> f32 {
    if x < 0.0 { alpha * x } else { x }
}

pub(super) fn elu(x: f32, alpha: f32, _: f32) -> f32 {
    if x < 0.0 { (f64::from(alpha) * f64::from(x).exp_m1()) as f32 } else { x }
}

pub(super) fn selu(x: f32, alpha: f32, gamma: f32) -> f32 {
    gamma * elu(x, alpha, 0.0)
}

pub(super) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

pub(super) fn gelu_tanh(x: f32) -> f32 {
    let inner = 0.797_884_6 * (x + 0.044_715 * x * x * x);
    0.5 * x * (1.0 + tanh(inner))
}

/// The error function: a series near 0, a continued fraction farther off; in float64.
pub(super) fn erf(x: f32) -> f32 {
    let wide = f64::from(x);
    let size = wide.abs();
    if size.is_nan() {
        return x;
    }
    let value = if size < 2.5 {
        let (mut term, mut sum, mut n) = (size, size, 0.0);
        while term.abs() > 1e-17 * sum.abs() && n < 100.0 {
            n += 1.0;
            term *= -size * size / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else if size < 6.0 {
        let mut fraction = 0.0;
        for k in (1..60).rev() {
            fraction = f64::from(k) / 2.0 / (size + fraction);
        }
        1.0 - (-size * size).exp() / (size + fraction) * std::f64::consts::FRAC_2_SQRT_PI / 2.0
    } else {
        1.0
    };
    value.copysign(wide) as f32
}
