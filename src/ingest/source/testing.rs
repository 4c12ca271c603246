//! What tests of sources share.

use super::*;

/// Walks a source and gives what it offered.
pub fn walk(source: &mut dyn Source) -> Vec<Offer> {
    let tasks = tokio::runtime::Runtime::new().unwrap();
    let (offers, taken) = async_channel::unbounded();
    let mut sink = Sink {
        shard: None,
        person_from_dir: false,
        journal: Arc::new(Journal::none()),
        budget: Budget::new(1 << 30),
        run: "r".to_owned(),
        held: offers.clone(),
        offers,
        tasks: tasks.handle().clone(),
        stop: Default::default(),
    };
    source.walk(&mut sink).unwrap();
    drop(sink);
    std::iter::from_fn(|| taken.try_recv().ok()).collect()
}

/// The keys of the photos, the reasons of the failures, the number of skipped files.
pub fn outline(offers: &[Offer]) -> (Vec<&str>, Vec<&str>, usize) {
    let (mut photos, mut failures, mut skipped) = (Vec::new(), Vec::new(), 0);
    for offer in offers {
        match offer {
            Offer::Photo(item) => photos.push(item.entry.key.as_str()),
            Offer::Failed(failure) => failures.push(failure.reason.as_str()),
            Offer::Skipped => skipped += 1,
            Offer::Done => {}
        }
    }
    (photos, failures, skipped)
}
