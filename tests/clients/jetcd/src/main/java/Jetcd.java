import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.Watch;
import io.etcd.jetcd.election.CampaignResponse;
import io.etcd.jetcd.lock.LockResponse;
import io.etcd.jetcd.options.GetOption;
import io.etcd.jetcd.options.WatchOption;
import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;

/** jetcd, unmodified: {@code locks ADDRESS}, or {@code endpoints ADDRESS,ADDRESS...} until its input ends. */
public final class Jetcd {
  public static void main(String[] arguments) throws Exception {
    switch (arguments[0]) {
      case "locks": locks(arguments[1]); break;
      case "endpoints": endpoints(arguments[1].split(",")); break;
      default: throw new IllegalArgumentException(arguments[0]);
    }
    System.exit(0);
  }

  /** The clients of the Lock and Election services: two leases want one lock, then one seat. */
  private static void locks(String address) throws Exception {
    try (Client client = Client.builder().endpoints("http://" + address).build()) {
      long first = client.getLeaseClient().grant(60).get(20, TimeUnit.SECONDS).getID();
      long second = client.getLeaseClient().grant(60).get(20, TimeUnit.SECONDS).getID();
      ByteSequence name = bytes("jetcd/lock");
      LockResponse held = client.getLockClient().lock(name, first).get(20, TimeUnit.SECONDS);
      expect(held.getKey().toString(StandardCharsets.UTF_8), "jetcd/lock/" + Long.toHexString(first));
      CompletableFuture<LockResponse> wanted = client.getLockClient().lock(name, second);
      GetOption prefix = GetOption.builder().isPrefix(true).withCountOnly(true).build();
      while (client.getKVClient().get(bytes("jetcd/lock/"), prefix).get(20, TimeUnit.SECONDS).getCount() != 2) {
        Thread.onSpinWait();
      }
      expect(wanted.isDone(), false);
      client.getLockClient().unlock(held.getKey()).get(20, TimeUnit.SECONDS);
      LockResponse got = wanted.get(20, TimeUnit.SECONDS);
      expect(got.getKey().toString(StandardCharsets.UTF_8), "jetcd/lock/" + Long.toHexString(second));
      client.getLockClient().unlock(got.getKey()).get(20, TimeUnit.SECONDS);

      ByteSequence seat = bytes("jetcd/seat");
      CampaignResponse won = client.getElectionClient().campaign(seat, first, bytes("a")).get(20, TimeUnit.SECONDS);
      client.getElectionClient().proclaim(won.getLeader(), bytes("b")).get(20, TimeUnit.SECONDS);
      expect(client.getElectionClient().leader(seat).get(20, TimeUnit.SECONDS).getKv().getValue(), bytes("b"));
      client.getElectionClient().resign(won.getLeader()).get(20, TimeUnit.SECONDS);
      System.out.println("lock election");
    }
  }

  /**
   * Puts and gets one key after the other while a watch looks on. A line of output for each: {@code put REVISION KEY}, {@code unknown KEY WHY} for a put
   * without an answer, {@code failed KEY WHY} for a get, {@code event REVISION KEY}; when the watch has the last put, {@code end}.
   */
  private static void endpoints(String[] addresses) throws Exception {
    URI[] all = Arrays.stream(addresses).map(one -> URI.create("http://" + one)).toArray(URI[]::new);
    try (Client client = Client.builder().endpoints(all).build()) {
      AtomicLong seen = new AtomicLong();
      AtomicBoolean stopped = new AtomicBoolean();
      Thread input = new Thread(() -> {
        try {
          while (System.in.read() >= 0) { }
        } catch (IOException ended) {
          // The same as its end.
        }
        stopped.set(true);
      });
      input.setDaemon(true);
      input.start();
      WatchOption prefix = WatchOption.builder().isPrefix(true).withCreateNotify(true).build();
      CountDownLatch watching = new CountDownLatch(1);
      client.getWatchClient().watch(bytes("j/"), prefix, Watch.listener(response -> {
        response.getEvents().forEach(event -> {
          String key = event.getKeyValue().getKey().toString(StandardCharsets.UTF_8);
          System.out.println("event " + event.getKeyValue().getModRevision() + " " + key);
          seen.accumulateAndGet(event.getKeyValue().getModRevision(), Math::max);
        });
        watching.countDown();
      }));
      watching.await(20, TimeUnit.SECONDS);
      long last = 0;
      for (int number = 0; !stopped.get(); number++) {
        String key = "j/" + number;
        try {
          last = client.getKVClient().put(bytes(key), bytes("v")).get(30, TimeUnit.SECONDS).getHeader().getRevision();
          System.out.println("put " + last + " " + key);
        } catch (ExecutionException unanswered) {
          System.out.println("unknown " + key + " " + unanswered.getCause());
        }
        try {
          client.getKVClient().get(bytes(key)).get(30, TimeUnit.SECONDS);
        } catch (ExecutionException failed) {
          System.out.println("failed " + key + " " + failed.getCause());
        }
      }
      for (int tries = 0; seen.get() < last && tries < 300; tries++) {
        Thread.sleep(100);
      }
      System.out.println("end");
    }
  }

  private static ByteSequence bytes(String text) { return ByteSequence.from(text, StandardCharsets.UTF_8); }

  private static void expect(Object found, Object expected) {
    if (!found.equals(expected)) {
      throw new IllegalStateException(found + " is not " + expected);
    }
  }
}
