# limit: 60
"""Threads, subprocess, signals, asyncio."""
import asyncio, os, queue, signal, subprocess, sys, threading, time

total, lock = 0, threading.Lock()
def work(n):
    global total
    for _ in range(n):
        with lock:
            total += 1
ts = [threading.Thread(target=work, args=(2000,)) for _ in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]
print("threads", total)

q = queue.Queue(10)
def producer():
    for i in range(500): q.put(i)
    q.put(None)
threading.Thread(target=producer).start()
print("queue", sum(iter(q.get, None)))

ev = threading.Event()
print("event timeout", ev.wait(0.05))
b, order = threading.Barrier(4), []
def at_barrier():
    b.wait(); order.append(1)
ts = [threading.Thread(target=at_barrier) for _ in range(4)]
[t.start() for t in ts]; [t.join() for t in ts]
print("barrier", len(order))

r = subprocess.run(["sh", "-c", "cat; echo err >&2; exit 3"], input=b"in", capture_output=True)
print("run", r.returncode, r.stdout, r.stderr)
p = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
print("communicate", len(p.communicate(b"x" * 1000000)[0]))
try: subprocess.run(["sleep", "5"], timeout=0.1)
except subprocess.TimeoutExpired: print("timeout")
try: subprocess.run(["/no/such/program"])
except FileNotFoundError as e: print("missing", e.errno)
p = subprocess.Popen("sleep 10", shell=True, start_new_session=True)
os.killpg(p.pid, signal.SIGTERM); print("killpg", p.wait())
print("env", subprocess.check_output(["sh", "-c", "echo $X; pwd"], env={"X": "1"}, cwd="/usr").split())
print("pipeline", subprocess.check_output("seq 1 100 | grep 1 | wc -l", shell=True).strip())

hits = []
signal.signal(signal.SIGALRM, lambda s, f: hits.append(s))
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
end = time.time() + 3
while len(hits) < 3 and time.time() < end: time.sleep(0.005)
signal.setitimer(signal.ITIMER_REAL, 0)
print("itimer", len(hits) >= 3, set(hits) == {signal.SIGALRM})
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
os.kill(os.getpid(), signal.SIGUSR1)
print("sigwait", signal.sigwait({signal.SIGUSR1}) == signal.SIGUSR1)
pid = os.fork()
if pid == 0: os._exit(7)
print("fork", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

async def echo(r, w):
    while data := await r.readline():
        w.write(data.upper()); await w.drain()
    w.close()
async def client(port, n):
    r, w = await asyncio.open_connection("127.0.0.1", port)
    out = []
    for i in range(20):
        w.write(f"msg {n} {i}\n".encode()); out.append(await r.readline())
    w.close()
    return len(out), out[-1]
async def main():
    s = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = s.sockets[0].getsockname()[1]
    print("asyncio", sorted(await asyncio.gather(*(client(port, n) for n in range(10))))[0:2])
    p = await asyncio.create_subprocess_exec("sh", "-c", "echo sub; exit 2", stdout=asyncio.subprocess.PIPE)
    print("async sub", (await p.communicate())[0], p.returncode)
    try: await asyncio.wait_for(asyncio.sleep(5), 0.05)
    except asyncio.TimeoutError: print("async timeout")
    loop, f = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR2, f.set)
    os.kill(os.getpid(), signal.SIGUSR2)
    await f.wait(); print("async signal")
    print("executor", await loop.run_in_executor(None, sum, range(1000)))
asyncio.run(main())
