// limit: 120
import java.io.*; import java.net.*; import java.nio.*; import java.nio.channels.*; import java.nio.file.*; import java.util.*; import java.util.concurrent.*; import java.util.concurrent.atomic.*; import java.util.stream.*;
public class threads {
    public static void main(String[] a) throws Exception {
        ExecutorService e = Executors.newFixedThreadPool(8); AtomicLong n = new AtomicLong(); List<Future<Long>> f = new ArrayList<>();
        for (int i = 0; i < 50; i++) { int k = i; f.add(e.submit(() -> { for (int j = 0; j < 1000; j++) n.incrementAndGet(); return (long) k * k; })); }
        long s = 0; for (Future<Long> x : f) s += x.get(); System.out.println("pool " + s + " " + n.get()); e.shutdown(); System.out.println(e.awaitTermination(5, TimeUnit.SECONDS));
        Object lock = new Object(); int[] turn = {0}; Thread[] ts = new Thread[2]; StringBuilder sb = new StringBuilder();
        for (int t = 0; t < 2; t++) { int me = t; ts[t] = new Thread(() -> { for (int i = 0; i < 5; i++) synchronized (lock) { while (turn[0] != me) try { lock.wait(); } catch (InterruptedException x) { return; } sb.append(me); turn[0] = 1 - me; lock.notifyAll(); } }); ts[t].start(); }
        for (Thread t : ts) t.join(); System.out.println("wait/notify " + sb);
        for (int r = 0; r < 3; r++) { List<byte[]> g = new ArrayList<>(); for (int i = 0; i < 200; i++) { g.add(new byte[200000]); if (i % 50 == 0) g.clear(); } System.gc(); } System.out.println("gc ok " + (Runtime.getRuntime().totalMemory() > 0));
        System.out.println("parallel " + IntStream.range(0, 1000000).parallel().mapToLong(i -> i).sum());
        try (ServerSocket ss = new ServerSocket(0, 50, InetAddress.getLoopbackAddress())) { Thread t = new Thread(() -> { for (int i = 0; i < 10; i++) try (Socket c = ss.accept()) { BufferedReader r = new BufferedReader(new InputStreamReader(c.getInputStream())); c.getOutputStream().write((r.readLine().toUpperCase() + "\n").getBytes()); } catch (IOException x) { System.out.println(x); } }); t.start();
            int ok = 0; for (int i = 0; i < 10; i++) try (Socket c = new Socket(ss.getInetAddress(), ss.getLocalPort())) { c.getOutputStream().write(("hello " + i + "\n").getBytes()); if (new BufferedReader(new InputStreamReader(c.getInputStream())).readLine().equals("HELLO " + i)) ok++; } t.join(); System.out.println("tcp " + ok); }
        Path p = Files.createTempFile("j", "x"); try (FileChannel c = FileChannel.open(p, StandardOpenOption.READ, StandardOpenOption.WRITE)) { MappedByteBuffer m = c.map(FileChannel.MapMode.READ_WRITE, 0, 65536); m.putInt(4096, 42); m.force(); ByteBuffer b = ByteBuffer.allocate(4); c.read(b, 4096); b.flip(); System.out.println("mapped " + b.getInt()); try (FileLock l = c.tryLock()) { System.out.println("lock " + l.isValid()); } } Files.delete(p);
        Process pr = new ProcessBuilder("sh", "-c", "read x; echo got $x; exit 6").redirectErrorStream(true).start(); pr.getOutputStream().write("line\n".getBytes()); pr.getOutputStream().close(); System.out.println(new String(pr.getInputStream().readAllBytes()).trim() + " " + pr.waitFor());
        try { int[] z = null; System.out.println(z[0]); } catch (NullPointerException x) { System.out.println("npe"); } try { deep(0); } catch (StackOverflowError x) { System.out.println("stack overflow"); } try { System.out.println(1 / (a.length)); } catch (ArithmeticException x) { System.out.println("div"); }
        Thread sl = new Thread(() -> { try { Thread.sleep(60000); } catch (InterruptedException x) { System.out.println("interrupted"); } }); sl.start(); Thread.sleep(50); sl.interrupt(); sl.join(); System.out.println("cpus " + (Runtime.getRuntime().availableProcessors() > 0));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> System.out.println("hook"))); System.exit(3 - 3);
    }
    static int deep(int i) { return deep(i + 1) + 1; }
}
