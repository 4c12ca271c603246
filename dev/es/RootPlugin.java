import java.io.IOException;
import java.util.Collection;
import java.util.List;

import org.elasticsearch.Build;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.index.IndexVersion;
import org.elasticsearch.node.Node;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.xcontent.XContentBuilder;

/** Answers {@code GET /} and {@code HEAD /} like the distribution's rest-root module, which is not published: clients ping it. */
public class RootPlugin extends Handlers {
    private volatile ClusterService clusterService;

    @Override
    public Collection<?> createComponents(PluginServices services) {
        clusterService = services.clusterService();
        return List.of();
    }

    @Override
    List<RestHandler> handlers(Settings settings) {
        return List.of(new BaseRestHandler() {
            @Override
            public String getName() {
                return "facedex_root";
            }

            @Override
            public List<Route> routes() {
                return List.of(new Route(RestRequest.Method.GET, "/"), new Route(RestRequest.Method.HEAD, "/"));
            }

            @Override
            protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
                return channel -> channel.sendResponse(new RestResponse(RestStatus.OK, body(settings, channel.newBuilder())));
            }
        });
    }

    private XContentBuilder body(Settings settings, XContentBuilder json) throws IOException {
        Build build = Build.current();
        var state = clusterService.state();
        json.startObject();
        json.field("name", Node.NODE_NAME_SETTING.get(settings));
        json.field("cluster_name", state.getClusterName().value());
        json.field("cluster_uuid", state.metadata().clusterUUID());
        json.startObject("version");
        json.field("number", build.version());
        json.field("build_flavor", "default");
        json.field("build_type", build.type().displayName());
        json.field("build_hash", build.hash());
        json.field("build_date", build.date());
        json.field("build_snapshot", build.isSnapshot());
        json.field("lucene_version", IndexVersion.current().luceneVersion().toString());
        json.field("minimum_wire_compatibility_version", build.minWireCompatVersion());
        json.field("minimum_index_compatibility_version", build.minIndexCompatVersion());
        json.endObject();
        json.field("tagline", "You Know, for Search");
        return json.endObject();
    }
}
