import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import com.netflix.appinfo.ApplicationInfoManager;
import com.netflix.appinfo.InstanceInfo;
import com.netflix.appinfo.MyDataCenterInstanceConfig;
import com.netflix.appinfo.providers.EurekaConfigBasedInstanceInfoProvider;
import com.netflix.discovery.DefaultEurekaClientConfig;
import com.netflix.discovery.DiscoveryClient;
import com.netflix.discovery.shared.Application;
import java.io.BufferedReader;
import java.io.FileOutputStream;
import java.io.FileDescriptor;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Netflix' own Eureka client, unmodified, behind one line of JSON per call: {"id":1,"op":"eureka.register",...} in,
 * {"id":1,"ok":...} or {"id":1,"error":"..."} out. The end of the input ends the process without cancelling anything.
 */
public final class Driver {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final PrintStream OUT = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
  private static final Map<String, DiscoveryClient> REGISTERED = new ConcurrentHashMap<>();
  private static final Map<String, DiscoveryClient> READERS = new ConcurrentHashMap<>();

  /** One second where the client's default is thirty: the protocol is the same, only the waiting is shorter. */
  private static final class Settings extends DefaultEurekaClientConfig {
    private final String url;
    private final boolean registers;

    Settings(String url, boolean registers) {
      this.url = url;
      this.registers = registers;
    }

    @Override public List<String> getEurekaServerServiceUrls(String zone) { return List.of(url); }
    @Override public boolean shouldRegisterWithEureka() { return registers; }
    @Override public boolean shouldFetchRegistry() { return !registers; }
    @Override public boolean shouldFilterOnlyUpInstances() { return false; }
    @Override public boolean shouldOnDemandUpdateStatusChange() { return true; }
    @Override public boolean shouldEnforceRegistrationAtInit() { return registers; }
    @Override public int getRegistryFetchIntervalSeconds() { return 1; }
    @Override public int getInstanceInfoReplicationIntervalSeconds() { return 1; }
    @Override public int getInitialInstanceInfoReplicationIntervalSeconds() { return 1; }
  }

  private static final class Instance extends MyDataCenterInstanceConfig {
    private final JsonNode call;

    Instance(JsonNode call) { this.call = call; }

    @Override public String getInstanceId() { return call.get("instance").asText(); }
    @Override public String getAppname() { return call.get("app").asText(); }
    @Override public String getHostName(boolean refresh) { return call.get("host").asText(); }
    @Override public String getIpAddress() { return call.get("ip").asText(); }
    @Override public int getNonSecurePort() { return call.get("port").asInt(); }
    @Override public String getVirtualHostName() { return call.get("app").asText(); }
    @Override public boolean isInstanceEnabledOnit() { return true; }
    @Override public int getLeaseRenewalIntervalInSeconds() { return 1; }
  }

  public static void main(String[] arguments) throws Exception {
    // Libraries may print: standard output belongs to the answers.
    System.setOut(System.err);
    ExecutorService calls = Executors.newCachedThreadPool(task -> {
      Thread thread = new Thread(task);
      thread.setDaemon(true);
      return thread;
    });
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      JsonNode call = JSON.readTree(line);
      calls.execute(() -> answer(call));
    }
    Runtime.getRuntime().halt(0);
  }

  private static void answer(JsonNode call) {
    ObjectNode answer = JSON.createObjectNode().put("id", call.get("id").asLong());
    try {
      answer.set("ok", perform(call));
    } catch (Throwable problem) {
      answer.put("error", String.valueOf(problem));
    }
    synchronized (OUT) {
      OUT.println(answer);
    }
  }

  private static JsonNode perform(JsonNode call) {
    String key = call.path("app").asText() + "/" + call.path("instance").asText();
    switch (call.get("op").asText()) {
      case "eureka.register": {
        Instance config = new Instance(call);
        InstanceInfo info = new EurekaConfigBasedInstanceInfoProvider(config).get();
        ApplicationInfoManager manager = new ApplicationInfoManager(config, info);
        info.setStatus(InstanceInfo.InstanceStatus.UP);
        REGISTERED.put(key, new DiscoveryClient(manager, new Settings(call.get("addr").asText(), true)));
        return JSON.getNodeFactory().booleanNode(true);
      }
      case "eureka.status": {
        DiscoveryClient client = known(key);
        client.getApplicationInfoManager().setInstanceStatus(InstanceInfo.InstanceStatus.valueOf(call.get("status").asText()));
        return JSON.getNodeFactory().booleanNode(true);
      }
      case "eureka.cancel": {
        known(key).shutdown();
        REGISTERED.remove(key);
        return JSON.getNodeFactory().booleanNode(true);
      }
      case "eureka.read": {
        String addr = call.get("addr").asText();
        DiscoveryClient reader = READERS.computeIfAbsent(addr, Driver::reader);
        ArrayNode rows = JSON.createArrayNode();
        Application application = reader.getApplication(call.get("app").asText().toUpperCase());
        if (application != null) {
          for (InstanceInfo one : application.getInstances()) {
            rows.addObject().put("instance", one.getId()).put("ip", one.getIPAddr()).put("port", one.getPort())
                .put("status", one.getStatus().name()).put("vip", one.getVIPAddress());
          }
        }
        ObjectNode read = JSON.createObjectNode();
        read.put("hashcode", reader.getApplications().getAppsHashCode());
        read.set("rows", rows);
        return read;
      }
      default:
        throw new IllegalArgumentException("no operation " + call.get("op"));
    }
  }

  private static DiscoveryClient reader(String addr) {
    MyDataCenterInstanceConfig config = new MyDataCenterInstanceConfig() {
      @Override public String getAppname() { return "reader"; }
      @Override public String getHostName(boolean refresh) { return "reader"; }
      @Override public String getIpAddress() { return "127.0.0.1"; }
    };
    InstanceInfo info = new EurekaConfigBasedInstanceInfoProvider(config).get();
    return new DiscoveryClient(new ApplicationInfoManager(config, info), new Settings(addr, false));
  }

  private static DiscoveryClient known(String key) {
    DiscoveryClient client = REGISTERED.get(key);
    if (client == null) {
      throw new IllegalStateException("nothing registered as " + key);
    }
    return client;
  }
}
