// Searches through the door with go-elasticsearch, as any service would. Prints what was found as one line of JSON.
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
	must(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"server": info.Version.Int, "search": persons, "count": counted.Count, "refused": refused,
	}))
}
