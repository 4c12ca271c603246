import co.elastic.clients.elasticsearch.ElasticsearchClient;
import co.elastic.clients.elasticsearch._types.ElasticsearchException;
import co.elastic.clients.elasticsearch._types.KnnSearch;
import co.elastic.clients.elasticsearch.core.SearchResponse;
import co.elastic.clients.transport.TransportException;
import com.fasterxml.jackson.databind.JsonNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/** Searches through the proxy with elasticsearch-java's own types. Prints what was found as one line of JSON. */
public class Client {
    interface Call {
        Object run() throws Exception;
    }

    /** How a call is refused, or what it gave. */
    static String refusal(Call call) {
        try {
            return "done: " + call.run();
        } catch (ElasticsearchException error) {
            return error.status() + " " + error.error().type();
        } catch (TransportException error) {
            return error.statusCode() + " without a body";
        } catch (Exception error) {
            return error.getClass().getSimpleName();
        }
    }

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
            // What is not done here: none of it may look like the absence of what was asked for.
            Map<String, Call> calls = new LinkedHashMap<>();
            calls.put("get", () -> client.get(g -> g.index(collection).id("a-0"), JsonNode.class).found());
            calls.put("exists", () -> client.exists(e -> e.index(collection).id("a-0")).value());
            calls.put("exists_source", () -> client.existsSource(e -> e.index(collection).id("a-0")).value());
            calls.put("delete", () -> client.delete(d -> d.index(collection).id("a-0")).result());
            calls.put("index", () -> client.index(i -> i.index(collection).id("a-0").document(Map.of("a", 1))).result());
            calls.put("bulk", () -> client.bulk(b -> b.operations(o -> o.delete(d -> d.index(collection).id("a-0")))).errors());
            calls.put("mget", () -> client.mget(m -> m.index(collection).ids("a-0"), JsonNode.class).docs().size());
            calls.put("field_caps", () -> client.fieldCaps(f -> f.index(collection).fields("*")).fields().size());
            calls.put("delete_by_query", () -> client.deleteByQuery(d -> d.index(collection).query(q -> q.matchAll(m -> m))).deleted());
            calls.put("open_point_in_time", () -> client.openPointInTime(o -> o.index(collection).keepAlive(t -> t.time("1m"))).id());
            calls.put("indices.get", () -> client.indices().get(g -> g.index(collection)).indices().size());
            calls.put("indices.create", () -> client.indices().create(c -> c.index(collection)).acknowledged());
            calls.put("indices.delete", () -> client.indices().delete(d -> d.index(collection)).acknowledged());
            calls.put("indices.exists_alias", () -> client.indices().existsAlias(e -> e.name(collection)).value());
            calls.put("cluster.health", () -> client.cluster().health().status());
            String undone = calls.entrySet().stream()
                .map(call -> "\"" + call.getKey() + "\": \"" + refusal(call.getValue()) + "\"").collect(Collectors.joining(", "));
            boolean there = client.indices().exists(e -> e.index(collection)).value();
            long count = client.count(c -> c.index(collection)).count();
            System.out.printf("{\"server\": \"%s\", \"search\": [\"%s\"], \"count\": %d, \"refused\": \"%s\", \"exists\": %b, \"undone\": {%s}}%n",
                server, String.join("\", \"", persons), count, refused, there, undone);
        }
    }
}
