import co.elastic.clients.elasticsearch.ElasticsearchClient;
import co.elastic.clients.elasticsearch._types.ElasticsearchException;
import co.elastic.clients.elasticsearch._types.KnnSearch;
import co.elastic.clients.elasticsearch.core.SearchResponse;
import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** Searches through the door with elasticsearch-java's own types. Prints what was found as one line of JSON. */
public class Client {
    public static void main(String[] arguments) throws Exception {
        String collection = arguments[1], photo = Files.readString(Path.of(arguments[2]));
        try (ElasticsearchClient client = ElasticsearchClient.of(c -> c.host(arguments[0]))) {
            String server = client.info().version().number();
            KnnSearch knn = KnnSearch.of(k -> k.field("face.embedding").k(3).numCandidates(50)
                .queryVectorBuilder(b -> b.textEmbedding(t -> t.modelId("facedex/largest").modelText(photo))));
            SearchResponse<JsonNode> found = client.search(s -> s.index(collection).knn(knn), JsonNode.class);
            List<String> persons = found.hits().hits().stream().map(hit -> hit.source().path("person").path("id").asText()).toList();
            String refused;
            try {
                client.search(s -> s.index("no-such-collection").knn(knn), JsonNode.class);
                refused = "nothing";
            } catch (ElasticsearchException error) {
                refused = error.status() + " " + error.error().type();
            }
            long count = client.count(c -> c.index(collection)).count();
            System.out.printf("{\"server\": \"%s\", \"search\": [\"%s\"], \"count\": %d, \"refused\": \"%s\"}%n",
                server, String.join("\", \"", persons), count, refused);
        }
    }
}
