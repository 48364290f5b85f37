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
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Kafka's own clients, unmodified, behind one line of JSON per call. */
public final class KafkaDriver {
  private static final ObjectMapper JSON = new ObjectMapper();
  private static final PrintStream OUT = new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);

  private static Map<String, Object> settings(JsonNode call) {
    Map<String, Object> all = new HashMap<>();
    all.put("bootstrap.servers", call.get("addr").asText());
    all.put("request.timeout.ms", 10000);
    all.put("default.api.timeout.ms", 20000);
    return all;
  }

  private static Object admin(JsonNode call) throws Exception {
    String topic = call.path("topic").asText();
    try (Admin admin = Admin.create(settings(call))) {
      switch (call.get("op").asText()) {
        case "kafka.create":
          admin.createTopics(List.of(new NewTopic(topic, call.path("partitions").asInt(1), (short) 1))).all().get(20, TimeUnit.SECONDS);
          return true;
        case "kafka.delete":
          admin.deleteTopics(List.of(topic)).all().get(20, TimeUnit.SECONDS);
          return true;
        case "kafka.grow":
          admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(call.get("partitions").asInt()))).all().get(20, TimeUnit.SECONDS);
          return true;
        case "kafka.set": {
          ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
          ConfigEntry entry = new ConfigEntry(call.get("key").asText(), call.get("value").asText());
          Collection<AlterConfigOp> operations = List.of(new AlterConfigOp(entry, AlterConfigOp.OpType.SET));
          admin.incrementalAlterConfigs(Map.of(resource, operations)).all().get(20, TimeUnit.SECONDS);
          return true;
        }
        case "kafka.setting": {
          ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
          return admin.describeConfigs(List.of(resource)).all().get(20, TimeUnit.SECONDS).get(resource).get(call.get("key").asText()).value();
        }
        case "kafka.topics":
          return new TreeSet<>(admin.listTopics().names().get(20, TimeUnit.SECONDS));
        case "kafka.brokers":
          return admin.describeCluster().nodes().get(20, TimeUnit.SECONDS).size();
        case "kafka.partitions":
          return admin.describeTopics(List.of(topic)).allTopicNames().get(20, TimeUnit.SECONDS).get(topic).partitions().stream().filter(one -> one.leader() != null).count();
        default:
          throw new IllegalArgumentException("no operation " + call.get("op").asText());
      }
    }
  }

  private static Object produce(JsonNode call) throws Exception {
    Map<String, Object> settings = settings(call);
    settings.put("acks", "all");
    settings.put("key.serializer", StringSerializer.class.getName());
    settings.put("value.serializer", StringSerializer.class.getName());
    try (KafkaProducer<String, String> producer = new KafkaProducer<>(settings)) {
      int from = call.get("from").asInt();
      for (int i = from; i < from + call.get("count").asInt(); i++) {
        producer.send(new ProducerRecord<>(call.get("topic").asText(), "k" + i, "v" + i)).get(20, TimeUnit.SECONDS);
      }
    }
    return true;
  }

  /** Everything of a topic, read by a group of its own; at most until a deadline. */
  private static Object consume(JsonNode call) {
    Map<String, Object> settings = settings(call);
    settings.put("group.id", call.get("group").asText());
    settings.put("auto.offset.reset", "earliest");
    settings.put("key.deserializer", StringDeserializer.class.getName());
    settings.put("value.deserializer", StringDeserializer.class.getName());
    List<String> values = new ArrayList<>();
    long until = System.nanoTime() + Duration.ofMillis(call.path("wait_ms").asLong(30000)).toNanos();
    try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings)) {
      consumer.subscribe(List.of(call.get("topic").asText()));
      while (values.size() < call.get("count").asInt() && System.nanoTime() < until) {
        for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
          values.add(record.value());
        }
      }
      consumer.commitSync();
    }
    ArrayNode rows = JSON.createArrayNode();
    new TreeSet<>(values).forEach(rows::add);
    return rows;
  }

  private static Object run(JsonNode call) throws Exception {
    switch (call.get("op").asText()) {
      case "kafka.produce": return produce(call);
      case "kafka.consume": return consume(call);
      default: return admin(call);
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
