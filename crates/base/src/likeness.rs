//! The coarse hash of a picture: what tells a picture that was saved again from another picture, whatever its bytes.

/// Two pictures with no more different bits than this are one.
const SAME: u32 = 8;
/// Parts of a hash: of pictures that are one, at least one part is equal in both.
const PARTS: usize = SAME as usize + 1;
/// Bits of a part.
const PART_BITS: usize = 28;

/// The coarse hash of a picture: 255 bits, of which pictures that are one differ in at most 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Likeness([u64; 4]);

impl From<[u64; 4]> for Likeness {
    /// From its bits, 64 a word.
    fn from(bits: [u64; 4]) -> Self {
        Self(bits)
    }
}

impl Likeness {
    /// Whether both are of one picture.
    pub fn is_same(self, other: Self) -> bool {
        let differ: u32 = self.0.iter().zip(other.0).map(|(a, b)| (a ^ b).count_ones()).sum();
        differ <= SAME
    }

    /// Its parts, for an index: hashes of one picture have one of them in common.
    pub fn parts(self) -> impl Iterator<Item = u32> {
        (0..PARTS).map(move |part| {
            let bits = (part * PART_BITS..(part + 1) * PART_BITS).rev();
            bits.fold(0, |value, bit| value << 1 | (self.0[bit / 64] >> (bit % 64) & 1) as u32)
        })
    }

    /// As 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|word| format!("{word:016x}")).collect()
    }

    /// From [`Likeness::to_hex`].
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut words = [0; 4];
        for (word, at) in words.iter_mut().zip((0..64).step_by(16)) {
            *word = u64::from_str_radix(&text[at..at + 16], 16).ok()?;
        }
        Some(Self(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_the_hash_again() {
        let hash = Likeness::from([0x0123_4567_89AB_CDEF, u64::MAX, 0, 7]);
        assert_eq!(Likeness::from_hex(&hash.to_hex()), Some(hash));
        assert_eq!(Likeness::from_hex("00"), None);
    }

    #[test]
    fn hashes_that_are_one_share_a_part() {
        let hash = Likeness::from([0x9E37_79B9_7F4A_7C15, 0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB, 42]);
        for start in 0..200 {
            let mut changed = hash;
            // One bit in each of as many parts as may differ.
            for step in 0..SAME as usize {
                let bit = (start + step * PART_BITS) % (PARTS * PART_BITS);
                changed.0[bit / 64] ^= 1 << (bit % 64);
            }
            assert!(hash.is_same(changed));
            assert!(hash.parts().zip(changed.parts()).any(|(a, b)| a == b), "{start}");
        }
    }
}
