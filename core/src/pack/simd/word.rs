//! What is quantised into and shuffled: codes of one or two bytes, and the bits of f32.
#![expect(
    clippy::inline_always,
    reason = "only what is inlined is compiled for the caller's CPU features"
)]

/// What has bytes whose bits can be shuffled.
pub(in crate::pack) trait Word: Copy + Default {
    /// Byte `lane`, 0 being the least significant.
    fn byte(self, lane: u32) -> u8;

    /// The word with another byte `lane`.
    fn with_byte(self, lane: u32, byte: u8) -> Self;
}

/// What holds a code: u8 up to 256 levels, u16 above.
pub(in crate::pack) trait Code: Word + Ord + Into<u32> + Into<f64> + Send {
    /// The low bits, as many as the type has.
    fn from_low_bits(bits: u64) -> Self;
}

impl Word for u8 {
    #[inline(always)]
    fn byte(self, _lane: u32) -> u8 {
        self
    }

    #[inline(always)]
    fn with_byte(self, _lane: u32, byte: u8) -> Self {
        byte
    }
}

impl Code for u8 {
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // the low bits are what is meant
    fn from_low_bits(bits: u64) -> Self {
        bits as Self
    }
}

impl Word for u16 {
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // one byte is what is meant
    fn byte(self, lane: u32) -> u8 {
        (self >> (8 * lane)) as u8
    }

    #[inline(always)]
    fn with_byte(self, lane: u32, byte: u8) -> Self {
        self & !(0xFF << (8 * lane)) | Self::from(byte) << (8 * lane)
    }
}

impl Code for u16 {
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // the low bits are what is meant
    fn from_low_bits(bits: u64) -> Self {
        bits as Self
    }
}

impl Word for f32 {
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)] // one byte is what is meant
    fn byte(self, lane: u32) -> u8 {
        (self.to_bits() >> (8 * lane)) as u8
    }

    #[inline(always)]
    fn with_byte(self, lane: u32, byte: u8) -> Self {
        Self::from_bits(self.to_bits() & !(0xFF << (8 * lane)) | u32::from(byte) << (8 * lane))
    }
}
