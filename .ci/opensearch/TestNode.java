import java.nio.file.Path;
import java.util.List;
import org.codelibs.opensearch.runner.OpenSearchRunner;

/**
 * One OpenSearch node on a port of our choice: {@code TestNode DIR HTTP_PORT TRANSPORT_PORT}.
 *
 * <p>The runner has a main method of its own, but that one accepts no HTTP port above 9299, silently takes another
 * when the port is in use, and leaves out the ingest role.
 */
public final class TestNode {
    public static void main(String[] args) throws Exception {
        Path home = Path.of(args[0]);
        String httpPort = args[1];
        String transportPort = args[2];

        OpenSearchRunner runner = new OpenSearchRunner();
        runner.onBuild((number, settings) -> {
            settings.put("http.port", httpPort);
            settings.put("transport.port", transportPort);
            settings.put("network.host", "127.0.0.1");
            settings.put("discovery.type", "single-node");
            // A full disk of the machine must not turn indices read-only.
            settings.put("cluster.routing.allocation.disk.threshold_enabled", false);
            settings.putList("node.roles", List.of("cluster_manager", "data", "ingest"));
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(runner)));
        runner.build(OpenSearchRunner.newConfigs().basePath(home.toString()).numOfNode(1).clusterName("audit-test"));
        Thread.currentThread().join();
    }

    private static void close(OpenSearchRunner runner) {
        try {
            runner.close();
        } catch (Exception e) {
            System.err.println("close: " + e);
        }
    }
}
