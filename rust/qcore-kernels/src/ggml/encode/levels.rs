//! What codes stand for, before they are scaled.

/// Levels in ascending order or not; a code numbers one.
pub(super) trait Levels: Copy {
    /// The code whose level is nearest.
    fn code(self, value: f32) -> i32;
    /// The level of a code.
    fn level(self, code: i32) -> f32;
    /// The least and the greatest level.
    fn ends(self) -> [f32; 2];
    /// About how many levels there are to a side.
    #[inline(always)]
    fn side(self) -> f32 {
        self.ends()[1]
    }
    /// The level that is nearest.
    #[inline(always)]
    fn nearest(self, value: f32) -> f32 {
        self.level(self.code(value))
    }
}

/// The integers from one to another.
#[derive(Clone, Copy)]
pub(super) struct Integers(pub(super) i32, pub(super) i32);

impl Levels for Integers {
    #[inline(always)]
    fn code(self, value: f32) -> i32 {
        value.round_ties_even().clamp(self.0 as f32, self.1 as f32) as i32
    }

    #[inline(always)]
    fn level(self, code: i32) -> f32 {
        code as f32
    }

    #[inline(always)]
    fn ends(self) -> [f32; 2] {
        [self.0 as f32, self.1 as f32]
    }
}

/// Sixteen levels in ascending order, and what code each has.
#[derive(Clone, Copy)]
pub(super) struct Sixteen {
    pub(super) levels: &'static [i8; 16],
    pub(super) codes: &'static [u8; 16],
}

impl Sixteen {
    /// The place among the levels, ascending.
    #[inline(always)]
    fn place(self, value: f32) -> usize {
        let middles = self.levels.windows(2).map(|pair| f32::from(pair[0]) + f32::from(pair[1]));
        middles.map(|twice| usize::from(value * 2.0 > twice)).sum()
    }
}

impl Levels for Sixteen {
    #[inline(always)]
    fn code(self, value: f32) -> i32 {
        i32::from(self.codes[self.place(value)])
    }

    #[inline(always)]
    fn level(self, code: i32) -> f32 {
        let place = self.codes.iter().position(|&other| i32::from(other) == code);
        f32::from(self.levels[place.unwrap_or(0)])
    }

    #[inline(always)]
    fn nearest(self, value: f32) -> f32 {
        f32::from(self.levels[self.place(value)])
    }

    #[inline(always)]
    fn ends(self) -> [f32; 2] {
        [f32::from(self.levels[0]), f32::from(self.levels[15])]
    }

    #[inline(always)]
    fn side(self) -> f32 {
        8.0
    }
}
