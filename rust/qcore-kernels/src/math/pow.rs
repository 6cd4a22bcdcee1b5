//! Powers, in double precision and plain arithmetic: the same everywhere.

/// `x` to the power of `y`, within 1 unit in the last place, with the special cases of IEEE 754.
pub(crate) fn pow(x: f32, y: f32) -> f32 {
    // What is a few multiplications or a root is that, and exact.
    match y {
        0.0 => return 1.0,
        1.0 => return x,
        2.0 => return x * x,
        3.0 => return x * x * x,
        -1.0 => return 1.0 / x,
        0.5 if x >= 0.0 => return x.sqrt() + 0.0,
        _ => {}
    }
    if x == 1.0 {
        return 1.0;
    }
    if x.is_nan() || y.is_nan() {
        return x + y;
    }
    let whole = y == y.trunc();
    // From 2^24 on every float is even.
    let odd = whole && y.abs() < 16_777_216.0 && (y as i32) & 1 == 1;
    let sign = if odd && x.is_sign_negative() { -1.0 } else { 1.0 };
    let size = x.abs();
    if size == 0.0 || size == f32::INFINITY {
        let grows = (size == 0.0) == (y < 0.0);
        return if grows { sign * f32::INFINITY } else { sign * 0.0 };
    }
    if x < 0.0 && !whole && !y.is_infinite() {
        return f32::NAN;
    }
    if y.is_infinite() {
        return match (size == 1.0, (size > 1.0) == (y > 0.0)) {
            (true, _) => 1.0,
            (_, true) => f32::INFINITY,
            (_, false) => 0.0,
        };
    }
    let power = f64::from(y) * log2(f64::from(size));
    sign * exp2(power)
}

/// The base-2 logarithm of a normal double: a relative error of about 1e-15 of 1 + its size.
fn log2(x: f64) -> f64 {
    let bits = x.to_bits();
    // The mantissa from √½ to √2.
    let power = (bits.wrapping_sub(0x3fe6_a09e_667f_3bcd) as i64) >> 52;
    let mantissa = f64::from_bits(bits.wrapping_sub((power << 52) as u64));
    // ln m = 2 atanh((m - 1) / (m + 1)), whose argument is at most 0.1716: the series to the 21st power.
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let square = z * z;
    let mut sum = 0.0;
    for k in (0..=10).rev() {
        sum = sum * square + 1.0 / f64::from(2 * k + 1);
    }
    2.0 * z * sum * std::f64::consts::LOG2_E + power as f64
}

/// `2^x` as a float.
fn exp2(x: f64) -> f32 {
    if x >= 128.5 {
        return f32::INFINITY;
    }
    if x <= -160.0 {
        return 0.0;
    }
    // From 2^52 on every double is an integer; what is rounded is well below.
    let magic = 6_755_399_441_055_744.0;
    let power = (x + magic) - magic;
    let rest = (x - power) * std::f64::consts::LN_2;
    // |rest| <= 0.347: the series to the 13th power.
    let mut sum = 1.0;
    for k in (1..=13).rev() {
        sum = sum * rest / f64::from(k) + 1.0;
    }
    let scale = f64::from_bits(((power as i64 + 1023) as u64) << 52);
    (sum * scale) as f32
}

#[cfg(test)]
mod tests {
    use super::pow;

    #[test]
    fn it_is_the_power() {
        let values = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            -0.5,
            2.0,
            -2.0,
            3.0,
            1e-40,
            1e-30,
            7.25,
            -7.0,
            100.5,
            1e30,
            f32::MAX,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            1.000_001,
            0.999_999,
            16_777_216.0,
        ];
        let more = (0..400).map(|i| (i as f32 - 200.0) * 0.173);
        let values: Vec<f32> = values.into_iter().chain(more).collect();
        for &x in &values {
            for &y in &values {
                let (found, exact) = (pow(x, y), f64::from(x).powf(f64::from(y)) as f32);
                let near = (found.to_bits() as i64 - exact.to_bits() as i64).abs() <= 1;
                assert!(near || found.is_nan() && exact.is_nan(), "{x}^{y}: {found} not {exact}");
            }
        }
    }
}
