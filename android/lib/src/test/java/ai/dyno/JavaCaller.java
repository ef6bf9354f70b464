package ai.dyno;

import java.util.concurrent.CompletableFuture;

/** What an app that is written in Java does; docs/android.md shows it. */
final class JavaCaller {
    private JavaCaller() {}

    static CompletableFuture<DynoClient> open(String bundleFolder, String url, String token) {
        DynoClient.Builder settings = new DynoClient.Builder(bundleFolder);
        settings.setMode(ExecutionMode.PREFER_CLOUD);
        settings.setObjective(Objective.onloading(80.0));
        settings.server(url).setToken(token);
        return settings.openAsync();
    }

    static CompletableFuture<String> label(DynoClient client, byte[] jpeg) {
        return client.inferAsync(jpeg).thenApply(answer -> answer.getTop().get(0).getLabel());
    }
}
