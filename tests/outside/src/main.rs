//! `outside ELASTICSEARCH COLLECTION STORED ASKED`: stores the first photo's faces and says where the second one's are found.

use std::{env, error::Error, path::Path, sync::Arc};

use facedex_elastic::schema::document::{FaceFields, image_hash};
use facedex_elastic::write::store::{PhotoFacts, PhotoRecord, WriteMode, store};
use facedex_elastic::{Client, Destination, read::search, schema::make, transport::connection::Connection};
use facedex_face::{FaceEngine, Photo};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let [_, url, name, stored, asked] = &env::args().collect::<Vec<_>>()[..] else {
        return Err("four, please".into());
    };
    let (mut engine, client) = (
        FaceEngine::open(1)?,
        Arc::new(Client::new(&Connection::to(url.parse()?))?),
    );
    let space = engine.embedder().embedding_space();
    let collection = make::open_or_create(&client, name, &space, &Default::default()).await?;
    let photo = Photo::open(Path::new(stored), &mut engine)?;
    let (hash, size) = (image_hash(&std::fs::read(stored)?), photo.pixels.dimensions());
    let facts = PhotoFacts {
        uri: stored,
        hash: &hash,
        size,
        space: &space.name,
        engine: engine.fingerprint(),
        ..Default::default()
    };
    let faces = photo
        .faces
        .into_iter()
        .map(|face| (FaceFields::of(face.embedding, face.bbox), None))
        .collect();
    let to = Destination::new(client.clone(), &collection, Default::default());
    store(&to, WriteMode::Create, &[PhotoRecord::new(&facts, faces)]).await?;
    to.refresh().await?;
    for face in Photo::open(Path::new(asked), &mut engine)?.faces {
        for hit in search::nearest(&client, &collection, &face.embedding, 1).await? {
            println!("{:.3} {}", hit.similarity, hit.image);
        }
    }
    Ok(())
}
