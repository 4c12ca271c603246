//! Makes a collection, writes three vectors and finds one: `cargo run -p facedex-elastic --example search http://127.0.0.1:9200`.

use std::sync::Arc;

use facedex_base::{Metric, Rect, Space};
use facedex_elastic::read::search;
use facedex_elastic::schema::document::{FaceFields, Person, image_hash};
use facedex_elastic::schema::layout::Layout;
use facedex_elastic::schema::make;
use facedex_elastic::transport::connection::Connection;
use facedex_elastic::transport::retry::RetryPolicy;
use facedex_elastic::write::store::{PhotoFacts, PhotoRecord, WriteMode, store};
use facedex_elastic::{Client, Destination};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("give the address of Elasticsearch")?;
    let client = Arc::new(Client::new(&Connection::to(url.parse()?))?);
    let space = Space {
        name: "example".to_owned(),
        dims: 3,
        metric: Metric::Cosine,
    };
    let collection = make::open_or_create(&client, "example", &space, &Layout::default()).await?;
    let to = Destination::new(Arc::clone(&client), &collection, RetryPolicy::default());

    let people = [
        ("ada", [1.0, 0.0, 0.0]),
        ("bob", [0.0, 1.0, 0.0]),
        ("cyd", [0.0, 0.0, 1.0]),
    ];
    let photos = people.map(|(id, vector)| {
        let bbox = Rect {
            x: 10.0,
            y: 10.0,
            width: 80.0,
            height: 100.0,
        };
        let photo = PhotoFacts {
            uri: id,
            hash: &image_hash(id.as_bytes()),
            size: (100, 120),
            space: &space.name,
            engine: "example/1",
            run: "example",
            ..PhotoFacts::default()
        };
        let person = Person {
            id: id.to_owned(),
            name: None,
        };
        PhotoRecord::new(&photo, vec![(FaceFields::of(vector.to_vec(), bbox), Some(person))])
    });
    store(&to, WriteMode::Create, &photos).await?;
    to.refresh().await?;

    for hit in search::nearest(&client, &collection, &[0.1, 0.9, 0.0], 1).await? {
        println!("{:.3} {:?}", hit.similarity, hit.person.map(|person| person.id));
    }
    Ok(())
}
