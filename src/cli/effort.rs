//! `--candidates` and `--rescored`, and what became of the flags before them.

use clap::Args;
use facedex_elastic::read::effort::{Asked, MAX_CANDIDATES};

use crate::error::Error;

/// How far to look.
#[derive(Debug, Args)]
#[command(next_help_heading = "Search")]
pub struct EffortArgs {
    /// How many faces each shard's graph is searched for: more find more of the true neighbours and take longer [default: by
    /// the size of the collection and by the question: docs/scale.md]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_CANDIDATES as i64))]
    pub candidates: Option<u16>,

    /// How many of the candidates are compared again with full-precision vectors, where the index compares shortened ones
    /// [default: 5 for each result; all candidates of a bbq_hnsw index]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=MAX_CANDIDATES as i64))]
    pub rescored: Option<u16>,

    #[command(flatten)]
    former: FormerArgs,
}

impl EffortArgs {
    /// What was asked for.
    pub fn asked(&self) -> Result<Asked, Error> {
        self.former.refuse(FORMER_OVERSAMPLE)?;
        let asked = Asked {
            candidates: self.candidates,
            rescored: self.rescored,
            former: None,
        };
        asked.check().map_err(Error::Effort)?;
        Ok(asked)
    }
}

/// What `--oversample` was where nobody said.
pub const FORMER_OVERSAMPLE: f32 = 5.0;

/// The flags of before. Elasticsearch reads such numbers in other ways since 9.3, so they are refused with what they meant.
#[derive(Debug, Args)]
pub struct FormerArgs {
    #[arg(long, hide = true, value_delimiter = ',')]
    num_candidates: Vec<u16>,
    #[arg(long, hide = true, value_delimiter = ',')]
    oversample: Vec<f32>,
}

impl FormerArgs {
    /// Refuses both, with the flags that ask for the same; `usual` is the oversampling where nobody said.
    pub fn refuse(&self, usual: f32) -> Result<(), Error> {
        if self.num_candidates.is_empty() && self.oversample.is_empty() {
            return Ok(());
        }
        let times = match self.oversample.as_slice() {
            [] => &[usual],
            given => given,
        };
        let products = self.num_candidates.iter().flat_map(|&candidates| {
            times.iter().map(move |times| {
                let product = (f32::from(candidates) * times).ceil() as usize;
                product.min(MAX_CANDIDATES).to_string()
            })
        });
        let products = products.collect::<Vec<_>>().join(",");
        let instead = match products.is_empty() {
            true => "leave it out, or say how many with --candidates and --rescored".to_owned(),
            false => format!(
                "what you ask for is --candidates {products} --rescored {products} (in an hnsw index, --candidates as it was)"
            ),
        };
        Err(Error::Effort(format!(
            "--num-candidates and --oversample (num-candidates and oversample in facedex.toml) are gone, since elasticsearch reads them in two ways: {instead}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn former_flags_are_refused_with_what_they_asked_for() {
        let refusal = |num_candidates: &[u16], oversample: &[f32]| {
            let former = FormerArgs {
                num_candidates: num_candidates.to_vec(),
                oversample: oversample.to_vec(),
            };
            former.refuse(FORMER_OVERSAMPLE).err().map(|error| error.to_string())
        };
        assert_eq!(refusal(&[], &[]), None);
        for (num_candidates, oversample, wanted) in [
            (&[400][..], &[][..], "--candidates 2000 --rescored 2000"),
            (&[100, 200], &[1.5], "--candidates 150,300 --rescored 150,300"),
            (&[9000], &[2.0], "--candidates 10000"),
            (&[], &[3.0], "leave it out"),
        ] {
            let said = refusal(num_candidates, oversample).unwrap();
            assert!(said.contains(wanted), "{said}");
        }
    }
}
