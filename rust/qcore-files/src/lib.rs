//! Tensor files: checked reading, atomic writing. No Python in sight.
