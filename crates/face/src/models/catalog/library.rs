//! ONNX Runtime's libraries: which, and where they come from.

use std::env::consts::{ARCH, OS};

use serde::{Deserialize, Serialize};

use super::Digest;

/// ONNX Runtime: which release, and where it comes from on each platform.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeFacts {
    /// The library's name, for people.
    pub name: String,
    /// The release that is fetched.
    pub version: String,
    /// The oldest release that works.
    pub minimum: String,
    /// SPDX identifier of its licence.
    pub licence: String,
    /// The package that holds it, with its version.
    pub package: String,
    /// The platforms for which its digests are known.
    pub platforms: Vec<Platform>,
}

/// One platform's shared library.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// As in `std::env::consts::OS`.
    pub os: String,
    /// As in `std::env::consts::ARCH`.
    pub arch: String,
    /// The wheel that holds the library.
    pub wheel: PlatformWheel,
    /// The library's path inside the wheel.
    pub member: String,
    /// The library's digest.
    pub sha256: Digest,
    /// Libraries that must lie in the same folder.
    #[serde(default)]
    pub beside: Vec<Beside>,
}

/// A library that another one loads.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    /// Its path inside the wheel; it keeps its name.
    pub member: String,
    /// Its digest.
    pub sha256: Digest,
}

/// What runs the embedders. Detectors and landmark models always run on ONNX Runtime's own kernels, so that no box moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum Provider {
    /// ONNX Runtime itself
    #[default]
    Cpu,
    /// OpenVINO, for x86-64; where it cannot be used, ONNX Runtime itself
    #[cfg_attr(feature = "clap", value(name = "openvino"))]
    OpenVino,
}

impl std::fmt::Display for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::OpenVino => "openvino",
        })
    }
}

/// A wheel as pip is asked for it, whatever Python asks.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformWheel {
    /// pip's platform tag.
    pub platform: String,
    /// pip's Python version.
    pub python: String,
    /// The wheel's digest.
    pub sha256: Digest,
}

impl RuntimeFacts {
    /// This machine's platform, if its library is known.
    pub fn platform(&self) -> Option<&Platform> {
        self.platforms.iter().find(|p| p.os == OS && p.arch == ARCH)
    }
}
