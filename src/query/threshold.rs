//! From the error rate that somebody accepts to the similarity that a match needs, by the embedder's measured table.

use facedex_face::models::catalog::{Embedder, FmrPoint};
use serde::Serialize;

use super::QueryError;

/// The share of searches for strangers that may name somebody, where nothing else is asked for.
pub const MAX_FPIR: f64 = 0.01;

/// A similarity, and what it stands for.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Threshold {
    /// Cosine from which on two faces count as one person.
    pub similarity: f64,
    /// Share of comparisons of two different people that reach it (false-match rate).
    pub fmr: f64,
    /// For a search: the share of searches for people who are not there that would name somebody (false-positive
    /// identification rate).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fpir: Option<f64>,
    /// For a search: how many faces are compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faces_searched: Option<u64>,
    /// Whether the rate lies within what was measured; otherwise the similarity is extrapolated.
    pub calibrated: bool,
}

impl Threshold {
    /// For one comparison (verification): at most `max_fmr` of different people's pairs match.
    pub fn for_comparison(embedder: &Embedder, max_fmr: f64) -> Result<Self, QueryError> {
        check("max-fmr", max_fmr)?;
        check_table(embedder)?;
        Ok(Self {
            similarity: similarity_at(&embedder.fmr, max_fmr),
            fmr: max_fmr,
            fpir: None,
            faces_searched: None,
            calibrated: is_measured(&embedder.fmr, max_fmr),
        })
    }

    /// For a search among `faces` faces (identification): at most `max_fpir` of the searches for strangers name somebody.
    ///
    /// With independent comparisons, `1 - FPIR = (1 - FMR)^N` (ISO/IEC 19795-1): a bigger index needs a lower FMR.
    pub fn for_search(embedder: &Embedder, max_fpir: f64, faces: u64) -> Result<Self, QueryError> {
        check("max-fpir", max_fpir)?;
        check_table(embedder)?;
        // ln_1p and exp_m1 keep digits that 1 - x would lose at rates of one in a billion.
        let fmr = -((-max_fpir).ln_1p() / faces.max(1) as f64).exp_m1();
        Ok(Self {
            similarity: similarity_at(&embedder.fmr, fmr),
            fmr,
            fpir: Some(max_fpir),
            faces_searched: Some(faces),
            calibrated: is_measured(&embedder.fmr, fmr),
        })
    }

    /// A similarity that the user chose, and what it stands for.
    pub fn fixed(embedder: &Embedder, similarity: f64, faces: Option<u64>) -> Self {
        // Of a model without a table nothing is known but that everything may match.
        let fmr = if embedder.fmr.is_empty() {
            1.0
        } else {
            rate_at(&embedder.fmr, similarity)
        };
        Self {
            similarity,
            fmr,
            fpir: faces.map(|faces| -((-fmr).ln_1p() * faces.max(1) as f64).exp_m1()),
            faces_searched: faces,
            calibrated: is_measured(&embedder.fmr, fmr),
        }
    }

    /// In words, for people.
    pub fn explain(&self) -> String {
        let open = if self.calibrated {
            ""
        } else {
            " (not calibrated: extrapolated beyond the measured rates)"
        };
        match (self.fpir, self.faces_searched) {
            (_, Some(0)) => "no faces meet the conditions: nothing was searched".to_owned(),
            (Some(fpir), Some(faces)) => format!(
                "similarity >= {:.3}: about {} of searches, one a face, for a stranger among {faces} faces would name somebody{open}",
                self.similarity,
                percent(fpir)
            ),
            _ => format!(
                "similarity >= {:.3}: about {} of comparisons of two different people would match{open}",
                self.similarity,
                percent(self.fmr)
            ),
        }
    }
}

fn percent(rate: f64) -> String {
    let percent = rate * 100.0;
    if percent >= 0.01 {
        format!("{} %", (percent * 1000.0).round() / 1000.0)
    } else {
        format!("{percent:.1e} %")
    }
}

fn check(name: &'static str, value: f64) -> Result<(), QueryError> {
    if value > 0.0 && value < 1.0 {
        Ok(())
    } else {
        Err(QueryError::BadRate { name, value })
    }
}

fn check_table(embedder: &Embedder) -> Result<(), QueryError> {
    if embedder.fmr.is_empty() {
        return Err(QueryError::NotCalibrated {
            space: embedder.space.clone(),
        });
    }
    Ok(())
}

fn is_measured(table: &[FmrPoint], fmr: f64) -> bool {
    // The table falls from the highest rate to the lowest; rows that were drawn out from the tail are no measurements.
    let shown = table.iter().rfind(|point| !point.extrapolated);
    let (Some(highest), Some(lowest)) = (table.first(), shown) else {
        return false;
    };
    // Rates come out of logarithms: a rounding error must not turn the table's own ends into extrapolations.
    fmr <= highest.fmr * (1.0 + 1e-9) && fmr >= lowest.fmr * (1.0 - 1e-9)
}

/// No rate asks for more: the same picture twice must stay the same face, whatever rounding does to its cosine.
const HIGHEST: f64 = 0.999;

/// The similarity at a rate: linear in the rate's logarithm between the rows, and along the outer rows beyond them.
fn similarity_at(table: &[FmrPoint], fmr: f64) -> f64 {
    let (a, b) = segment(table, |point| point.fmr <= fmr);
    let share = (fmr.ln() - a.fmr.ln()) / (b.fmr.ln() - a.fmr.ln());
    (a.similarity + share * (b.similarity - a.similarity)).clamp(-1.0, HIGHEST)
}

/// The rate at a similarity; the inverse of [`similarity_at`].
fn rate_at(table: &[FmrPoint], similarity: f64) -> f64 {
    let (a, b) = segment(table, |point| point.similarity >= similarity);
    let share = (similarity - a.similarity) / (b.similarity - a.similarity);
    (a.fmr.ln() + share * (b.fmr.ln() - a.fmr.ln())).exp().clamp(0.0, 1.0)
}

/// The two neighbouring rows around the first one that is `beyond`, or the outermost two. The catalog guarantees two.
fn segment(table: &[FmrPoint], beyond: impl Fn(&FmrPoint) -> bool) -> (FmrPoint, FmrPoint) {
    let after = table.iter().position(beyond).unwrap_or(table.len());
    let upper = after.clamp(1, table.len() - 1);
    (table[upper - 1], table[upper])
}

#[cfg(test)]
mod tests {
    use super::*;
    use facedex_face::models::catalog::Catalog;

    fn embedder() -> Embedder {
        Catalog::builtin().unwrap().default_embedder().embedder.clone().unwrap()
    }

    #[test]
    fn the_table_s_rows_are_met_and_between_them_it_is_monotone() {
        let embedder = embedder();
        for row in &embedder.fmr {
            let threshold = Threshold::for_comparison(&embedder, row.fmr).unwrap();
            assert!((threshold.similarity - row.similarity).abs() < 1e-9);
            assert_eq!(threshold.calibrated, !row.extrapolated);
            assert!((rate_at(&embedder.fmr, row.similarity) / row.fmr - 1.0).abs() < 1e-9);
        }
        let mut last = -1.0;
        for exponent in 5..100 {
            let threshold = Threshold::for_comparison(&embedder, 10f64.powf(-f64::from(exponent) / 10.0)).unwrap();
            assert!(threshold.similarity >= last);
            last = threshold.similarity;
        }
    }

    #[test]
    fn a_bigger_index_needs_more_similarity_and_says_when_it_guesses() {
        let embedder = embedder();
        let at = |faces| Threshold::for_search(&embedder, 0.01, faces).unwrap();
        // FMR = 1 - 0.99^(1/N)
        assert!((at(1).fmr - 0.01).abs() < 1e-12);
        assert!((at(7701).fmr - (1.0 - 0.99f64.powf(1.0 / 7701.0))).abs() < 1e-12);
        assert!(at(10).similarity < at(1000).similarity && at(1000).similarity < at(1_000_000).similarity);
        assert!(at(1000).calibrated && !at(7701).calibrated);
        assert!(!at(1_000_000_000).calibrated);
        assert!(at(1_000_000_000).explain().contains("not calibrated"));
    }

    #[test]
    fn a_fixed_similarity_tells_its_price() {
        // DESIGN: with the 1:1 threshold of OpenCV and 7,701 faces, 98 of 100 strangers get a name.
        let threshold = Threshold::fixed(&embedder(), 0.363, Some(7701));
        assert!(threshold.fpir.unwrap() > 0.98, "{threshold:?}");
    }

    #[test]
    fn rates_outside_0_to_1_are_refused() {
        for rate in [0.0, 1.0, -0.1, f64::NAN] {
            assert!(Threshold::for_comparison(&embedder(), rate).is_err());
            assert!(Threshold::for_search(&embedder(), rate, 10).is_err());
        }
    }
}
