import com.alibaba.nacos.api.NacosFactory;
import com.alibaba.nacos.api.config.ConfigService;
import com.alibaba.nacos.api.config.listener.Listener;
import com.alibaba.nacos.api.naming.NamingService;
import com.alibaba.nacos.api.naming.listener.NamingEvent;
import com.alibaba.nacos.api.naming.pojo.Instance;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Nacos' own Java client, unmodified, behind one line of JSON per call: {"id":1,"op":"register",...} in, {"id":1,"ok":...} or
 * {"id":1,"error":"..."} out. The end of the input ends the process without deregistering anything.
 */
public final class NacosDriver {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final PrintStream OUT = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
  private static final Map<String, NamingService> NAMING = new ConcurrentHashMap<>();
  private static final Map<String, ConfigService> CONFIGS = new ConcurrentHashMap<>();
  private static final Map<String, List<String>> SEEN = new ConcurrentHashMap<>();
  private static final Map<String, List<String>> HEARD = new ConcurrentHashMap<>();

  private static Properties properties(String addr) {
    Properties properties = new Properties();
    properties.setProperty("serverAddr", addr);
    properties.setProperty("username", "nacos");
    properties.setProperty("password", "nacos");
    return properties;
  }

  private static NamingService naming(JsonNode call) {
    return NAMING.computeIfAbsent(call.get("addr").asText(), addr -> {
      try {
        return NacosFactory.createNamingService(properties(addr));
      } catch (Exception problem) {
        throw new IllegalStateException(problem);
      }
    });
  }

  private static ConfigService configs(JsonNode call) {
    return CONFIGS.computeIfAbsent(call.get("addr").asText(), addr -> {
      try {
        return NacosFactory.createConfigService(properties(addr));
      } catch (Exception problem) {
        throw new IllegalStateException(problem);
      }
    });
  }

  private static List<String> hosts(List<Instance> all) {
    List<String> hosts = new ArrayList<>();
    for (Instance it : all) {
      if (it.isEnabled() && it.isHealthy()) {
        hosts.add(it.getIp() + ":" + it.getPort());
      }
    }
    hosts.sort(null);
    return hosts;
  }

  private static Object answer(JsonNode call) throws Exception {
    String service = call.path("service").asText();
    String group = call.path("group").asText();
    String data = call.path("data").asText();
    String ip = call.path("ip").asText();
    int port = call.path("port").asInt();
    switch (call.get("op").asText()) {
      case "register": {
        Instance instance = new Instance();
        instance.setIp(ip);
        instance.setPort(port);
        call.path("metadata").fields().forEachRemaining(it -> instance.addMetadata(it.getKey(), it.getValue().asText()));
        naming(call).registerInstance(service, group, instance);
        return true;
      }
      case "deregister":
        naming(call).deregisterInstance(service, group, ip, port);
        return true;
      case "list":
        return hosts(naming(call).getAllInstances(service, group, false));
      case "services":
        return naming(call).getServicesOfServer(1, 100, group).getData();
      case "subscribe":
        naming(call).subscribe(service, group, event -> {
          if (event instanceof NamingEvent) {
            SEEN.put(service, hosts(((NamingEvent) event).getInstances()));
          }
        });
        return true;
      case "seen":
        return SEEN.get(service);
      case "publish":
        return configs(call).publishConfig(data, group, call.get("content").asText());
      case "get":
        return configs(call).getConfig(data, group, 5000);
      case "remove":
        return configs(call).removeConfig(data, group);
      case "listen":
        configs(call).addListener(data, group, new Listener() {
          @Override public Executor getExecutor() { return null; }
          @Override public void receiveConfigInfo(String content) {
            HEARD.compute(data, (key, all) -> {
              List<String> more = all == null ? new ArrayList<>() : new ArrayList<>(all);
              more.add(content);
              return more;
            });
          }
        });
        return true;
      case "heard":
        return HEARD.get(data);
      default:
        throw new IllegalArgumentException("no operation " + call.get("op"));
    }
  }

  private static void run(JsonNode call) {
    ObjectNode line = JSON.createObjectNode();
    line.set("id", call.get("id"));
    try {
      line.set("ok", JSON.valueToTree(answer(call)));
    } catch (Throwable problem) {
      line.put("error", String.valueOf(problem));
    }
    synchronized (OUT) {
      OUT.println(line);
    }
  }

  /** Reads calls until the input ends. */
  public static void main(String[] arguments) throws Exception {
    // Libraries may print: standard output belongs to the answers.
    System.setOut(System.err);
    ExecutorService calls = Executors.newFixedThreadPool(16);
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      JsonNode call = JSON.readTree(line);
      calls.submit(() -> run(call));
    }
    Runtime.getRuntime().halt(0);
  }
}
