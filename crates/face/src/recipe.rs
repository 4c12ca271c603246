//! What an engine is made of: which models, and how much work it does for its vectors.

use serde::{Deserialize, Serialize};

use crate::models::catalog::{Catalog, CatalogError, Embedder, Model, Role};

/// Raised when a change of the stages' code can move boxes, landmarks or vectors.
const REVISION: u32 = 1;
/// Long side, in pixels, of the look that finds small faces. Detectors see faces of about 10 to 300 pixels.
const FINE: u32 = 1280;
/// The same where speed comes first.
const FINE_ENOUGH: u32 = 640;
/// Long side of the look that finds faces too large for the fine one.
const COARSE: u32 = 320;

/// How much work goes into a photo. Vectors of all three may be compared with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// One look at a long side of 640 pixels, and the detector's own landmarks
    Fast,
    /// Two scales, at 1280 and 320 pixels, and refined landmarks
    #[default]
    Balanced,
    /// The same, and the mean of each face's vector and its mirror image's
    Best,
}

impl Precision {
    /// All of them, from the quickest on.
    pub const ALL: [Self; 3] = [Self::Fast, Self::Balanced, Self::Best];

    /// At which sizes photos are looked at.
    pub fn detection_scales(self) -> DetectionScales {
        match self {
            Self::Fast => DetectionScales {
                fine: FINE_ENOUGH,
                coarse: None,
            },
            Self::Balanced | Self::Best => DetectionScales::default(),
        }
    }

    /// Whether landmarks are refined.
    pub fn refines(self) -> bool {
        self != Self::Fast
    }

    /// Whether a face is embedded together with its mirror image.
    pub fn mirrors(self) -> bool {
        self == Self::Best
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fast => "fast",
            Self::Balanced => "balanced",
            Self::Best => "best",
        })
    }
}

/// Long sides, in pixels, at which a photo is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DetectionScales {
    fine: u32,
    coarse: Option<u32>,
}

impl Default for DetectionScales {
    fn default() -> Self {
        Self {
            fine: FINE,
            coarse: Some(COARSE),
        }
    }
}

impl DetectionScales {
    /// The factors (at most 1) by which a photo is scaled: small photos are seen once as they are, larger ones at the fine
    /// and the coarse size, so that faces from a thirtieth to the whole of the long side lie in the detector's range.
    pub fn for_size(self, width: u32, height: u32) -> Vec<f32> {
        let long = width.max(height);
        let fine = (self.fine as f32 / long as f32).min(1.0);
        match self.coarse {
            Some(coarse) if long > coarse => vec![fine, coarse as f32 / long as f32],
            _ => vec![fine],
        }
    }

    /// The name of this rule in an engine's fingerprint.
    fn name(self) -> String {
        match self.coarse {
            Some(coarse) => format!("{}+{coarse}", self.fine),
            None => self.fine.to_string(),
        }
    }
}

/// The models of an engine, and how they are used.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Finds faces.
    pub detector: Model,
    /// The detector's later stages.
    pub stages: Vec<Model>,
    /// Improves landmarks; absent where they are not refined.
    pub refiner: Option<Model>,
    /// Embedders with their weights; one, of weight 1, where the embedder is no ensemble.
    pub members: Vec<(Model, f64)>,
    /// What the vectors mean.
    pub embedder: Embedder,
    /// How much work goes into a photo.
    pub precision: Precision,
}

impl Recipe {
    /// A recipe of the catalog's models, of the default ones where none is named.
    ///
    /// # Errors
    ///
    /// Fails where the catalog lacks a model of this name for its stage.
    pub fn new(
        catalog: &Catalog,
        detector: Option<&str>,
        embedder: Option<&str>,
        precision: Precision,
    ) -> Result<Self, CatalogError> {
        let detector = match detector {
            Some(name) => catalog.model_for(Role::Detector, name)?,
            None => catalog.default_detector(),
        };
        let stages = detector.detector.iter().flat_map(|facts| &facts.stages);
        let embedder = embedder.unwrap_or(&catalog.default_embedder().name);
        let (members, facts) = match catalog.ensembles.iter().find(|ensemble| ensemble.name == embedder) {
            Some(ensemble) => {
                let model = |name: &str| catalog.model_for(Role::Embedder, name).cloned();
                let members = ensemble
                    .members
                    .iter()
                    .map(|member| Ok((model(&member.model)?, member.weight)));
                (members.collect::<Result<_, CatalogError>>()?, Some(&ensemble.embedder))
            }
            None if catalog.embedders().contains(&embedder) => {
                let model = catalog.model(embedder)?;
                (vec![(model.clone(), 1.0)], model.embedder.as_ref())
            }
            None => (Vec::new(), None),
        };
        let unknown = || CatalogError::UnknownModel {
            name: embedder.to_owned(),
            known: catalog.embedders().join(", "),
        };
        Ok(Self {
            stages: stages
                .map(|name| catalog.model(name).cloned())
                .collect::<Result<_, _>>()?,
            detector: detector.clone(),
            refiner: precision.refines().then(|| catalog.default_refiner().clone()),
            members,
            embedder: facts.ok_or_else(unknown)?.clone(),
            precision,
        })
    }

    /// The catalog's default models at the default precision.
    ///
    /// # Errors
    ///
    /// Fails where the catalog does not have its own default models.
    pub fn default_of(catalog: &Catalog) -> Result<Self, CatalogError> {
        Self::new(catalog, None, None, Precision::default())
    }

    /// Every model whose file is needed, each once.
    pub fn models(&self) -> Vec<&Model> {
        let mut models: Vec<&Model> = vec![&self.detector];
        let others = self.stages.iter().chain(&self.refiner);
        for model in others.chain(self.members.iter().map(|(model, _)| model)) {
            if models.iter().all(|known| known.name != model.name) {
                models.push(model);
            }
        }
        models
    }

    /// Everything that can move faces, ordinals or vectors, as one string; stored with each photo's documents.
    pub fn fingerprint(&self) -> String {
        let (detector, scales) = (&self.detector.name, self.precision.detection_scales().name());
        let refiner = self.refiner.as_ref().map_or("unrefined", |model| &model.name);
        let mirror = if self.precision.mirrors() { "+mirror" } else { "" };
        let space = &self.embedder.space;
        format!("{detector}:{scales}/{refiner}/{space}{mirror}/fp32/r{REVISION}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_photo_is_seen_within_the_limits(width in 1u32..20_000, height in 1u32..20_000) {
            for precision in Precision::ALL {
                for scale in precision.detection_scales().for_size(width, height) {
                    prop_assert!(scale > 0.0 && scale <= 1.0);
                    prop_assert!(width.max(height) as f32 * scale <= FINE as f32 + 1.0);
                }
            }
        }
    }

    #[test]
    fn scales_keep_small_photos_and_shrink_large_ones() {
        let scales = |width, height| DetectionScales::default().for_size(width, height);
        assert_eq!(scales(250, 250), [1.0]);
        assert_eq!(scales(640, 480), [1.0, 0.5]);
        assert_eq!(scales(2560, 100), [0.5, 0.125]);
        let fast = |width, height| Precision::Fast.detection_scales().for_size(width, height);
        assert_eq!((fast(500, 400), fast(1280, 100)), (vec![1.0], vec![0.5]));
    }

    #[test]
    fn the_default_recipe_has_the_fingerprint_that_collections_hold() {
        let catalog = Catalog::builtin().unwrap();
        let of = |detector, embedder, precision| {
            Recipe::new(&catalog, detector, embedder, precision)
                .unwrap()
                .fingerprint()
        };
        assert_eq!(
            of(None, None, Precision::Balanced),
            "yunet-2023mar:1280+320/mtcnn-onet/sface-2021dec@arcface-112/fp32/r1"
        );
        let all = [
            of(None, None, Precision::Balanced),
            of(None, None, Precision::Fast),
            of(None, None, Precision::Best),
            of(Some("mtcnn"), None, Precision::Balanced),
            of(None, Some("mobilefacenet-192"), Precision::Balanced),
            of(None, Some("sface-2021dec+mobilefacenet-192"), Precision::Balanced),
        ];
        let different: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(different.len(), all.len(), "{all:?}");
    }

    #[test]
    fn models_are_needed_once_and_roles_are_checked() {
        let catalog = Catalog::builtin().unwrap();
        let recipe = Recipe::new(
            &catalog,
            Some("mtcnn"),
            Some("sface-2021dec+mobilefacenet-192"),
            Precision::Best,
        );
        let recipe = recipe.unwrap();
        let names: Vec<&str> = recipe.models().iter().map(|model| model.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "mtcnn",
                "mtcnn-rnet",
                "mtcnn-onet",
                "sface-2021dec",
                "mobilefacenet-192"
            ]
        );
        let error = Recipe::new(&catalog, Some("sface-2021dec"), None, Precision::Best).unwrap_err();
        assert!(error.to_string().contains("yunet-2023mar, mtcnn"), "{error}");
        assert!(Recipe::new(&catalog, None, Some("mtcnn-onet"), Precision::Best).is_err());
    }
}
