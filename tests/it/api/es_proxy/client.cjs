// Searches through the proxy with @elastic/elasticsearch, as any service would. Prints what was found as one line of JSON.
const fs = require('node:fs')
const { Client } = require('@elastic/elasticsearch')
const manifest = `${process.env.NODE_PATH}/@elastic/elasticsearch/package.json`

const [url, collection, photo] = process.argv.slice(2)
const face = { face_embedding: { image: fs.readFileSync(photo, 'utf8'), face: 'largest' } }
const knn = { field: 'face.embedding', query_vector_builder: face, k: 3, num_candidates: 50 }
const typed = { text_embedding: { model_id: 'facedex', model_text: fs.readFileSync(photo, 'utf8') } }
const persons = (answer) => answer.hits.hits.map((hit) => hit._source.person?.id ?? null)

async function main () {
  const found = { client: JSON.parse(fs.readFileSync(manifest, 'utf8')).version }
  for (const compression of [false, true]) {
    const client = new Client({ node: url, auth: { apiKey: 'dGhlaXI6a2V5' }, compression })
    if (!(await client.ping())) throw new Error('no ping')
    found.server = (await client.info()).version.number
    found.search = persons(await client.search({ index: collection, knn, _source: ['person'] }))
    found.typed = persons(await client.search({ index: collection, knn: { ...knn, query_vector_builder: typed } }))
    const query = { bool: { must: [{ knn }], filter: [{ exists: { field: 'person.id' } }] } }
    found.query = persons(await client.search({ index: collection, query, size: 3 }))
    found.retriever = persons(await client.search({ index: collection, retriever: { knn }, size: 3 }))
    found.count = (await client.count({ index: collection })).count
    const searches = [{}, { knn }, { index: '*' }, {}, {}, { size: 1 }]
    const several = (await client.msearch({ index: collection, searches })).responses
    found.msearch = [persons(several[0]), several[1].error.type, several[2].status]
    found.refused = []
    for (const call of [
      () => client.search({ index: '*' }),
      () => client.search({ index: 'no-such-collection' }),
      () => client.search({ index: collection, script_fields: { x: { script: '1' } } }),
      () => client.indices.get({ index: collection })
    ]) {
      found.refused.push(await call().then(() => null, (error) => [error.name, error.statusCode, error.body.error.type]))
    }
    // What is not done here throws something that is no 404: nobody takes it for absence.
    const id = (await client.search({ index: collection, size: 1 })).hits.hits[0]._id
    if (!(await client.indices.exists({ index: collection }))) throw new Error('it is there')
    if (await client.indices.exists({ index: 'no-such-collection' })) throw new Error('it is not there')
    const index = collection
    const ignore = { ignore: [404] }
    for (const [name, call] of Object.entries({
      exists: () => client.exists({ index, id }),
      existsSource: () => client.existsSource({ index, id }),
      get: () => client.get({ index, id }, ignore),
      mget: () => client.mget({ index, ids: [id] }, ignore),
      index: () => client.index({ index, document: {} }, ignore),
      update: () => client.update({ index, id, doc: {} }, ignore),
      delete: () => client.delete({ index, id }, ignore),
      deleteByQuery: () => client.deleteByQuery({ index, query: { match_all: {} } }, ignore),
      bulk: () => client.bulk({ index, operations: [{ delete: { _id: id } }] }, ignore),
      fieldCaps: () => client.fieldCaps({ index, fields: '*' }, ignore),
      explain: () => client.explain({ index, id, query: { match_all: {} } }, ignore),
      create: () => client.indices.create({ index }, ignore),
      remove: () => client.indices.delete({ index }, ignore),
      alias: () => client.indices.existsAlias({ name: index }),
      health: () => client.cluster.health({}, ignore),
      nodes: () => client.nodes.info({}, ignore)
    })) {
      const status = await call().then(() => 200, (error) => error.statusCode)
      if (![400, 403, 405].includes(status)) throw new Error(`${name}: ${status}`)
    }
    await client.close()
  }
  console.log(JSON.stringify(found))
}

main().catch((error) => { console.error(error); process.exit(1) })
