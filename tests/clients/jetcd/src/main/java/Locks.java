import io.etcd.jetcd.ByteSequence;
import io.etcd.jetcd.Client;
import io.etcd.jetcd.election.CampaignResponse;
import io.etcd.jetcd.lock.LockResponse;
import io.etcd.jetcd.options.GetOption;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** jetcd's clients of the Lock and Election services, unmodified: two leases want one lock, then one seat. */
public final class Locks {
  public static void main(String[] arguments) throws Exception {
    try (Client client = Client.builder().endpoints("http://" + arguments[0]).build()) {
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
    System.exit(0);
  }

  private static ByteSequence bytes(String text) { return ByteSequence.from(text, StandardCharsets.UTF_8); }

  private static void expect(Object found, Object expected) {
    if (!found.equals(expected)) {
      throw new IllegalStateException(found + " is not " + expected);
    }
  }
}
