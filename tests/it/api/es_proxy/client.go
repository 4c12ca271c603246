// Searches through the proxy with go-elasticsearch, as any service would. Prints what was found as one line of JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/elastic/go-elasticsearch/v9"
	"github.com/elastic/go-elasticsearch/v9/typedapi/types"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	url, collection := os.Args[1], os.Args[2]
	photo, err := os.ReadFile(os.Args[3])
	must(err)
	client, err := elasticsearch.NewTypedClient(elasticsearch.Config{Addresses: []string{url}})
	must(err)
	ctx := context.Background()
	info, err := client.Info().Do(ctx)
	must(err)
	k, candidates, model := 3, 50, "facedex"
	builder := types.QueryVectorBuilder{TextEmbedding: &types.TextEmbedding{ModelId: &model, ModelText: string(photo)}}
	knn := types.KnnSearch{Field: "face.embedding", K: &k, NumCandidates: &candidates, QueryVectorBuilder: &builder}
	answer, err := client.Search().Index(collection).Knn(&knn).Do(ctx)
	must(err)
	persons := []string{}
	for _, hit := range answer.Hits.Hits {
		var face struct{ Person struct{ Id string } }
		must(json.Unmarshal(hit.Source_, &face))
		persons = append(persons, face.Person.Id)
	}
	counted, err := client.Count().Index(collection).Do(ctx)
	must(err)
	refused := "nothing"
	var refusal *types.ElasticsearchError
	if _, err = client.Search().Index("no-such-collection").Knn(&knn).Do(ctx); errors.As(err, &refusal) {
		refused = fmt.Sprintf("%d %s", refusal.Status, refusal.ErrorCause.Type)
	}
	// What is not done here: none of it may look like the absence of what was asked for.
	undone := map[string]string{}
	refuse := func(name string, done any, err error) {
		var refusal *types.ElasticsearchError
		switch {
		case errors.As(err, &refusal):
			undone[name] = fmt.Sprintf("%d %s", refusal.Status, refusal.ErrorCause.Type)
		case err != nil:
			undone[name] = err.Error()
		default:
			undone[name] = fmt.Sprintf("done: %v", done)
		}
	}
	all := &types.Query{MatchAll: types.NewMatchAllQuery()}
	got, err := client.Get(collection, "a-0").Do(ctx)
	refuse("get", got, err)
	exists, err := client.Exists(collection, "a-0").IsSuccess(ctx)
	refuse("exists", exists, err)
	deleted, err := client.Delete(collection, "a-0").Do(ctx)
	refuse("delete", deleted, err)
	indexed, err := client.Index(collection).Id("a-0").Document(map[string]int{"a": 1}).Do(ctx)
	refuse("index", indexed, err)
	several, err := client.Mget().Index(collection).Ids("a-0").Do(ctx)
	refuse("mget", several, err)
	fields, err := client.FieldCaps().Index(collection).Fields("*").Do(ctx)
	refuse("field_caps", fields, err)
	gone, err := client.DeleteByQuery(collection).Query(all).Do(ctx)
	refuse("delete_by_query", gone, err)
	pit, err := client.OpenPointInTime(collection).KeepAlive("1m").Do(ctx)
	refuse("open_point_in_time", pit, err)
	index, err := client.Indices.Get(collection).Do(ctx)
	refuse("indices.get", index, err)
	created, err := client.Indices.Create(collection).Do(ctx)
	refuse("indices.create", created, err)
	removed, err := client.Indices.Delete(collection).Do(ctx)
	refuse("indices.delete", removed, err)
	health, err := client.Cluster.Health().Do(ctx)
	refuse("cluster.health", health, err)
	there, err := client.Indices.Exists(collection).IsSuccess(ctx)
	must(err)
	must(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"server": info.Version.Int, "search": persons, "count": counted.Count, "refused": refused,
		"exists": there, "undone": undone,
	}))
}
