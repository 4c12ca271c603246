//! How usable a face is: what is stored with it.

use serde::{Deserialize, Serialize};

/// What can be said of a face's picture besides who it shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Quality {
    /// Shorter side of the box, in photo pixels.
    pub size: f32,
    /// Variance of the Laplacian of the aligned crop's luma (0..255): low is blurred.
    pub sharpness: f32,
    /// Mean luma of the aligned crop, 0 (black) to 1 (white).
    pub brightness: f32,
    /// Standard deviation of the aligned crop's luma, 0 to 0.5.
    pub contrast: f32,
    /// Turn of the head from the landmarks: 0 is frontal, -1 and 1 are profiles.
    pub yaw: f32,
    /// In-plane rotation of the face, in degrees: 0 is upright.
    pub roll: f32,
    /// Share of the box that lies inside the photo, 0 to 1.
    pub visible: f32,
}
