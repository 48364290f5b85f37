import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;

/**
 * Dubbo, unmodified, behind one line of JSON per call: one provider or one consumer for each process, as applications have it.
 * The end of the input kills the process without a farewell.
 */
public final class DubboDriver {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final PrintStream OUT = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);
  private static final Map<String, Greeting> REFERENCES = new ConcurrentHashMap<>();

  private static DubboBootstrap application(JsonNode call, String name) {
    ApplicationConfig application = new ApplicationConfig(name);
    application.setQosEnable(false);
    application.setRegisterMode(call.path("mode").asText("instance"));
    RegistryConfig registry = new RegistryConfig(call.get("registry").asText());
    registry.setTimeout(20000);
    registry.setRegisterMode(call.path("mode").asText("instance"));
    registry.setUseAsMetadataCenter(true);
    registry.setUseAsConfigCenter(false);
    return DubboBootstrap.getInstance().application(application).registry(registry);
  }

  private static Object run(JsonNode call) throws Exception {
    switch (call.get("op").asText()) {
      case "dubbo.provide": {
        String own = call.get("name").asText();
        ServiceConfig<Greeting> service = new ServiceConfig<>();
        service.setInterface(Greeting.class);
        service.setVersion("1.0.0");
        service.setRef(name -> own + " greets " + name);
        ProtocolConfig protocol = new ProtocolConfig("dubbo", call.get("port").asInt());
        protocol.setHost("127.0.0.1");
        application(call, own).protocol(protocol).service(service).start();
        return true;
      }
      case "dubbo.refer": {
        ReferenceConfig<Greeting> reference = new ReferenceConfig<>();
        reference.setInterface(Greeting.class);
        reference.setVersion("1.0.0");
        reference.setCheck(false);
        reference.setTimeout(3000);
        if (call.has("provided_by")) {
          reference.setProvidedBy(call.get("provided_by").asText());
        }
        application(call, call.get("name").asText()).reference(reference).start();
        REFERENCES.put("greeting", reference.get());
        return true;
      }
      case "dubbo.call": return REFERENCES.get("greeting").greet(call.get("who").asText());
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
    // What libraries print is no answer.
    System.setOut(System.err);
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    String line;
    while ((line = in.readLine()) != null) {
      JsonNode call = JSON.readTree(line);
      Thread thread = new Thread(() -> answer(call));
      thread.setDaemon(true);
      thread.start();
    }
    Runtime.getRuntime().halt(0);
  }
}
