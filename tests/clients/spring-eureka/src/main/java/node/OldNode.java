package node;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.cloud.netflix.eureka.server.EnableEurekaServer;

/** A stock Spring Cloud Eureka server, all of it by its own settings. */
@SpringBootApplication
@EnableEurekaServer
public class OldNode {
    public static void main(String[] arguments) {
        SpringApplication.run(OldNode.class, arguments);
    }
}
