import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.cache.CuratorCache;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.recipes.locks.InterProcessMutex;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.zookeeper.CreateMode;

/** Curator, unmodified, behind one line of JSON per call. The end of the input ends the process without closing its sessions. */
public final class CuratorDriver {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final PrintStream OUT = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
  private static final Map<String, CuratorFramework> CLIENTS = new ConcurrentHashMap<>();
  private static final Map<String, ServiceDiscovery<String>> DISCOVERIES = new ConcurrentHashMap<>();
  private static final Map<String, ServiceInstance<String>> REGISTERED = new ConcurrentHashMap<>();
  private static final Map<String, CuratorCache> CACHES = new ConcurrentHashMap<>();
  private static final Map<String, LeaderLatch> LATCHES = new ConcurrentHashMap<>();

  private static CuratorFramework client(JsonNode call) {
    String name = call.path("client").asText("one") + "@" + call.get("addr").asText();
    return CLIENTS.computeIfAbsent(name, unused -> {
      CuratorFramework client = CuratorFrameworkFactory.newClient(call.get("addr").asText(), 10000, 10000, new ExponentialBackoffRetry(200, 8));
      client.start();
      return client;
    });
  }

  private static ServiceDiscovery<String> discovery(JsonNode call) {
    return DISCOVERIES.computeIfAbsent(call.get("addr").asText(), unused -> {
      try {
        ServiceDiscovery<String> discovery = ServiceDiscoveryBuilder.builder(String.class).client(client(call)).basePath("/services").build();
        discovery.start();
        return discovery;
      } catch (Exception problem) {
        throw new IllegalStateException(problem);
      }
    });
  }

  private static Object run(JsonNode call) throws Exception {
    switch (call.get("op").asText()) {
      case "curator.register": {
        ServiceInstance<String> instance = ServiceInstance.<String>builder()
            .name(call.get("service").asText()).id(call.get("instance").asText())
            .address(call.get("host").asText()).port(call.get("port").asInt()).build();
        discovery(call).registerService(instance);
        REGISTERED.put(instance.getId(), instance);
        return true;
      }
      case "curator.unregister": {
        discovery(call).unregisterService(REGISTERED.remove(call.get("instance").asText()));
        return true;
      }
      case "curator.names": return JSON.valueToTree(discovery(call).queryForNames());
      case "curator.instances": {
        ArrayNode rows = JSON.createArrayNode();
        for (ServiceInstance<String> instance : discovery(call).queryForInstances(call.get("service").asText())) {
          rows.add(instance.getAddress() + ":" + instance.getPort());
        }
        return rows;
      }
      case "curator.create": {
        return client(call).create().creatingParentContainersIfNeeded()
            .withMode(CreateMode.valueOf(call.get("mode").asText())).forPath(call.get("path").asText(), call.get("data").asText().getBytes(StandardCharsets.UTF_8));
      }
      case "curator.cache": {
        CuratorCache cache = CuratorCache.build(client(call), call.get("path").asText());
        cache.start();
        CACHES.put(call.get("path").asText(), cache);
        return true;
      }
      case "curator.cached": {
        ObjectNode all = JSON.createObjectNode();
        CACHES.get(call.get("path").asText()).stream().forEach(one -> all.put(one.getPath(), new String(one.getData(), StandardCharsets.UTF_8)));
        return all;
      }
      case "curator.lock": {
        InterProcessMutex mutex = new InterProcessMutex(client(call), call.get("path").asText());
        boolean held = mutex.acquire(call.get("wait_ms").asLong(), TimeUnit.MILLISECONDS);
        if (held && !call.path("keep").asBoolean(false)) {
          mutex.release();
        }
        return held;
      }
      case "curator.latch": {
        LeaderLatch latch = new LeaderLatch(client(call), call.get("path").asText(), call.get("client").asText());
        latch.start();
        LATCHES.put(call.get("client").asText(), latch);
        return true;
      }
      case "curator.leads": return LATCHES.get(call.get("client").asText()).hasLeadership();
      case "curator.resign": LATCHES.remove(call.get("client").asText()).close(); return true;
      default: throw new IllegalArgumentException("no operation " + call.get("op").asText());
    }
  }

  private static void answer(JsonNode call) {
    ObjectNode line = JSON.createObjectNode();
    line.set("id", call.get("id"));
    try {
      line.set("ok", JSON.valueToTree(run(call)));
    } catch (Throwable problem) {
      line.put("error", problem.toString());
    }
    synchronized (OUT) {
      OUT.println(line);
    }
  }

  public static void main(String[] arguments) throws Exception {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    String line;
    while ((line = in.readLine()) != null) {
      JsonNode call = JSON.readTree(line);
      Thread thread = new Thread(() -> answer(call));
      thread.setDaemon(true);
      thread.start();
    }
    System.exit(0);
  }
}
