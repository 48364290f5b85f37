package shop;

import java.util.List;
import java.util.TreeSet;
import java.util.Set;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.cloud.client.discovery.DiscoveryClient;
import org.springframework.cloud.client.loadbalancer.LoadBalanced;
import org.springframework.cloud.context.config.annotation.RefreshScope;
import org.springframework.context.annotation.Bean;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.client.RestTemplate;

/** An application as its documentation has it: discovered by name, configured by Nacos, and refreshed when its configuration changes. */
@SpringBootApplication
public class Shop {
  @Bean
  @LoadBalanced
  RestTemplate template() {
    return new RestTemplate();
  }

  @RestController
  @RefreshScope
  static class Greeting {
    @Value("${greeting:none}")
    private String greeting;

    @GetMapping("/greeting")
    String greeting() {
      return greeting;
    }
  }

  @RestController
  static class Peers {
    private final DiscoveryClient discovery;
    private final RestTemplate template;

    Peers(DiscoveryClient discovery, RestTemplate template) {
      this.discovery = discovery;
      this.template = template;
    }

    @GetMapping("/services")
    List<String> services() {
      return discovery.getServices();
    }

    @GetMapping("/instances/{name}")
    Set<String> instances(@PathVariable String name) {
      Set<String> all = new TreeSet<>();
      discovery.getInstances(name).forEach(one -> all.add(one.getHost() + ":" + one.getPort()));
      return all;
    }

    /** Calls another application by its name, through the load balancer. */
    @GetMapping("/calls/{name}")
    String calls(@PathVariable String name) {
      return template.getForObject("http://" + name + "/greeting", String.class);
    }
  }

  public static void main(String[] arguments) {
    SpringApplication.run(Shop.class, arguments);
  }
}
