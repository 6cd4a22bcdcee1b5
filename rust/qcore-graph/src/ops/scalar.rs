//! Functions of one float that no kernel has, and those of the gates of recurrent cells.

pub(super) fn sin(x: f32) -> f32 {
    f64::from(x).sin() as f32
}

pub(super) fn cos(x: f32) -> f32 {
    f64::from(x).cos() as f32
}

macro_rules! by_f64 {
    ($($name:ident)*) => {
        $(pub(super) fn $name(x: f32) -> f32 {
            f64::from(x).$name() as f32
        })*
    };
}

by_f64!(acos acosh asin asinh atan atanh cosh sinh tan);

pub(super) fn tanh(x: f32) -> f32 {
    f64::from(x).tanh() as f32
}

pub(super) fn softplus(x: f32) -> f32 {
    let wide = f64::from(x);
    (wide.max(0.0) + (-wide.abs()).exp().ln_1p()) as f32
}

pub(super) fn hard_sigmoid(x: f32, alpha: f32, beta: f32) -> f32 {
    (alpha * x + beta).clamp(0.0, 1.0)
}

pub(super) fn leaky_relu(x: f32, alpha: f32, _: f32) -> f32 {
    if x < 0.0 { alpha * x } else { x }
}

pub(super) fn elu(x: f32, alpha: f32, _: f32) -> f32 {
    if x < 0.0 { (f64::from(alpha) * f64::from(x).exp_m1()) as f32 } else { x }
}
