// What differs in Elasticsearch 9.5; dev/node reads the lines below, and compiles the rest with EsNode.java and RootPlugin.java.
// jdk: 21 or newer
// release: 21
// java: --enable-native-access=ALL-UNNAMED,org.elasticsearch.nativeaccess,org.apache.lucene.core
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import java.util.function.Supplier;

import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.plugins.PluginsLoader;
import org.elasticsearch.rest.RestHandler;

/** How this line loads plugins. */
final class Line {
    private Line() {}

    static PluginsLoader plugins(Environment env) {
        return PluginsLoader.createPluginsLoader(
            PluginsLoader.loadModulesBundles(env.modulesDir(), false),
            PluginsLoader.loadPluginsBundles(env.pluginsDir(), false),
            Map.of()
        );
    }
}

/** How this line asks a plugin for its handlers. */
abstract class Handlers extends Plugin implements ActionPlugin {
    abstract List<RestHandler> handlers(Settings settings);

    @Override
    public final Collection<RestHandler> getRestHandlers(
        RestHandlersServices services,
        Supplier<DiscoveryNodes> nodesInCluster,
        Predicate<NodeFeature> clusterSupportsFeature
    ) {
        return handlers(services.settings());
    }
}
