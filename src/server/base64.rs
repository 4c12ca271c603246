//! Base64 as people's tools make it: both doors take the same forms.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes of a photo: in the standard or the URL-safe alphabet, with or without padding, line ends and
/// `data:image/...;base64,` before it.
pub fn decode(text: &str) -> Result<Vec<u8>, String> {
    let plain = match text.split_once(',') {
        Some((kind, rest)) if is_data_url(kind) => rest,
        _ => text,
    };
    let scheme = plain.get(..8).unwrap_or_default().to_ascii_lowercase();
    if scheme.starts_with("http://") || scheme == "https://" {
        return Err("an address: photos are not fetched; send the file's bytes in base64".to_owned());
    }
    let is_usual = |byte: u8| !(byte.is_ascii_whitespace() || matches!(byte, b'-' | b'_'));
    let plain: Cow<'_, [u8]> = match plain.bytes().all(is_usual) {
        true => Cow::Borrowed(plain.as_bytes()),
        false => plain
            .bytes()
            .filter(|byte| !byte.is_ascii_whitespace())
            .map(|byte| match byte {
                b'-' => b'+',
                b'_' => b'/',
                other => other,
            })
            .collect(),
    };
    ENGINE
        .decode(plain)
        .map_err(|error| format!("no base64 ({error}); send the file's bytes in base64"))
}

fn is_data_url(kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    kind.starts_with("data:") && kind.ends_with(";base64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_form_is_read() {
        // The bytes have both characters in which the alphabets differ.
        let bytes = [0xFB, 0xEF, 0xFF, 1];
        for form in [
            "++//AQ==",
            "++//AQ",
            "--__AQ==",
            "--__AQ",
            "++//\r\nAQ==\n",
            "data:image/jpeg;base64,++//AQ==",
            "DATA:image/jpeg;BASE64,++//AQ==",
        ] {
            assert_eq!(decode(form).unwrap(), bytes, "{form}");
        }
        for (form, word) in [
            ("*", "no base64"),
            ("https://x/y.jpg", "not fetched"),
            ("a", "no base64"),
        ] {
            assert!(decode(form).unwrap_err().contains(word), "{form}");
        }
    }
}
