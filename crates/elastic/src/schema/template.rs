//! What an index is made with: the template that all share, and what is a collection's own.

use elasticsearch::http::Method;
use facedex_base::space::{Metric, Space};
use serde_json::{Value, json};

use crate::schema::collection::Collection;
use crate::schema::layout::{IndexType, Layout};
use crate::schema::mapping::{FACES, Schema};
use crate::transport::client::Payload;
use crate::transport::node_versions::{Version, Versions};
use crate::{Client, ElasticError};

/// Its name in the cluster.
pub(crate) const TEMPLATE_NAME: &str = "facedex-faces";

/// Whether the search of a graph may end early: a setting, below `index`.
pub(crate) const EARLY_TERMINATION: &str = "dense_vector.hnsw_enable_early_termination";
/// All versions of Elasticsearch from here on know it.
pub(crate) const KNOWN_FROM: Version = Version::new(9, 2, 0);

/// Settings and metadata of an index of a collection; the template has the rest.
pub(crate) fn index_body(layout: &Layout, space: &Space, collection_id: &str, versions: &Versions) -> Value {
    let mut settings = index_settings(layout);
    if layout.index_type != IndexType::Flat {
        add_settings(&mut settings, versions);
    }
    json!({
        "settings": {"index": settings},
        "mappings": {
            "_meta": {
                "space": space.name,
                "collection_id": collection_id,
                "created_by": concat!("facedex ", env!("CARGO_PKG_VERSION")),
            },
            "properties": {"face": {"properties": {"embedding": vector_field(space.dims, space.metric, layout)}}},
        },
    })
}

/// Adds to an index's settings what its searches rest on, where the cluster knows it.
fn add_settings(index: &mut Value, versions: &Versions) {
    if versions.all_from(KNOWN_FROM) {
        index[EARLY_TERMINATION] = json!(false);
    }
}

/// What Elasticsearch calls a metric.
fn similarity_name(metric: Metric) -> &'static str {
    match metric {
        Metric::Cosine => "cosine",
        Metric::Euclidean => "l2_norm",
    }
}

fn index_settings(layout: &Layout) -> Value {
    match layout.replicas {
        Some(replicas) => json!({"number_of_shards": layout.shards, "number_of_replicas": replicas}),
        None => json!({"number_of_shards": layout.shards, "auto_expand_replicas": "0-1"}),
    }
}

fn index_options(layout: &Layout) -> Value {
    match layout.index_type {
        IndexType::Flat => json!({"type": "flat"}),
        graph => json!({"type": graph.name(), "m": layout.m, "ef_construction": layout.ef_construction}),
    }
}

/// The vector field of an index of this layout.
fn vector_field(dims: usize, metric: Metric, layout: &Layout) -> Value {
    json!({
        "type": "dense_vector",
        "dims": dims,
        "index": true,
        "similarity": similarity_name(metric),
        "index_options": index_options(layout),
    })
}

/// The template with the collection's own vector field, as its index should be.
pub(crate) fn wanted_template(collection: &Collection) -> Result<Value, ElasticError> {
    let mut template = FACES.definition()?;
    template["template"]["mappings"]["properties"]["face"]["properties"]["embedding"] =
        vector_field(collection.dims as usize, collection.metric, &collection.layout());
    Ok(template)
}

/// The version of an index template that the cluster has.
pub(crate) async fn installed_template_version(client: &Client, name: &str) -> Result<Option<i64>, ElasticError> {
    let path = format!("/_index_template/{name}");
    let installed: Result<Value, _> = client
        .json("read the index template", Method::Get, &path, &[], Payload::None)
        .await;
    match installed {
        Ok(reply) => Ok(reply["index_templates"][0]["index_template"]["version"].as_i64()),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the cluster has an older template of faces indices than ours, or none.
pub(crate) async fn is_older(client: &Client) -> Result<bool, ElasticError> {
    let wanted = FACES.definition()?["version"].as_i64();
    Ok(installed_template_version(client, TEMPLATE_NAME).await? < wanted)
}

/// Puts the template of faces indices where it is missing or older than ours.
pub(crate) async fn install_faces_template(client: &Client) -> Result<(), ElasticError> {
    install_template(client, TEMPLATE_NAME, FACES).await
}

/// Puts an index template of `mappings/` where it is missing or older than ours.
pub(crate) async fn install_template(client: &Client, name: &str, schema: Schema) -> Result<(), ElasticError> {
    let template = schema.definition()?;
    let installed = installed_template_version(client, name).await?;
    if installed.is_some() && installed >= template["version"].as_i64() {
        return Ok(());
    }
    let path = format!("/_index_template/{name}");
    let _: Value = client
        .json(
            "install the index template",
            Method::Put,
            &path,
            &[],
            Payload::Json(&template),
        )
        .await?;
    Ok(())
}
