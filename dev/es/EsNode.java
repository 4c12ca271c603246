import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.http.HttpServerTransport;
import org.elasticsearch.node.Node;

/**
 * Runs one Elasticsearch node inside this JVM: {@code EsNode HOME DIR KEY=VALUE...}.
 * HOME (es-node.jar with this class, lib, modules, plugins) is shared and only read; DIR is this node's own folder. Started by dev/node.
 * What differs between Elasticsearch's lines is in lines/.
 */
public final class EsNode {
    private static final int CLOSE_SECONDS = 20;
    private static volatile Node node;
    private static FileLock lock; // a field, so that it is held as long as the JVM lives

    public static void main(String[] args) {
        try {
            run(Path.of(args[0]), Path.of(args[1]), args);
        } catch (Throwable e) {
            e.printStackTrace();
            Throwable cause = e;
            while (cause.getCause() != null) {
                cause = cause.getCause();
            }
            System.err.println("node failed: " + cause); // after the trace: the log's tail names the cause
            System.exit(1);
        }
    }

    private static void run(Path home, Path dir, String[] args) throws Exception {
        Path pid = dir.resolve("pid");
        Path url = dir.resolve("url");
        // The kernel drops this lock with the process, so unlike a pid file it is never stale, and the first of two starts wins.
        FileChannel channel = FileChannel.open(dir.resolve("lock"), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
        for (int tries = 0; (lock = channel.tryLock()) == null; tries++) {
            if (tries == 20) {
                throw new IllegalStateException("another node is running in " + dir);
            }
            Thread.sleep(100); // a node that was just killed may still be going
        }
        Files.deleteIfExists(url);
        write(pid, Long.toString(ProcessHandle.current().pid()));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(pid, url)));
        if (Boolean.getBoolean("facedex.exit_on_stdin_eof")) {
            exitOnStdinEof();
        }

        Settings.Builder builder = Settings.builder()
            .put("path.home", home.toString())
            .put("path.data", dir.resolve("data").toString())
            .put("path.logs", dir.resolve("logs").toString());
        for (int i = 2; i < args.length; i++) {
            String[] setting = args[i].split("=", 2);
            builder.put(setting[0], setting[1]);
        }
        Settings settings = builder.build();
        LogConfigurator.registerErrorListener();
        LogConfigurator.configureWithoutConfig(Settings.builder().put("logger.level", "INFO").put(settings).build());
        LogConfigurator.configureESLogging();

        Environment env = new Environment(settings, dir.resolve("config"));
        node = new Node(env, Line.plugins(env));
        node.start(); // returns once HTTP is bound
        var http = node.injector().getInstance(HttpServerTransport.class).boundAddress().publishAddress();
        write(url, "http://" + http.getAddress() + ":" + http.getPort());
        new CountDownLatch(1).await(); // all of the node's threads are daemons; a signal or the end of stdin ends this one
    }

    /** So that a test process that is killed, however hard, leaves no node behind. */
    private static void exitOnStdinEof() {
        Thread watch = new Thread(() -> {
            try {
                while (System.in.read() != -1) {
                    continue;
                }
            } catch (IOException e) {
                // a broken stdin ends the node as well
            }
            System.exit(0);
        }, "stdin-watch");
        watch.setDaemon(true);
        watch.start();
    }

    private static void close(Path pid, Path url) {
        Thread limit = new Thread(() -> {
            try {
                Thread.sleep(TimeUnit.SECONDS.toMillis(CLOSE_SECONDS));
            } catch (InterruptedException e) {
                return;
            }
            Runtime.getRuntime().halt(1);
        });
        limit.setDaemon(true);
        limit.start();
        try {
            Files.deleteIfExists(url); // first: nobody should find a node that is going
            if (node != null) {
                node.prepareForClose();
                node.close();
                node.awaitClose(CLOSE_SECONDS, TimeUnit.SECONDS);
            }
            Files.deleteIfExists(pid);
        } catch (Exception e) {
            e.printStackTrace();
        }
    }

    /** Whole or not at all: readers poll for these files. */
    private static void write(Path file, String line) throws IOException {
        Path part = file.resolveSibling(file.getFileName() + ".part");
        Files.writeString(part, line + "\n");
        Files.move(part, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    }
}
