# limit: 90
"""multiprocessing by fork and by spawn: pools, queues, shared memory, locks, managers."""
import multiprocessing as mp, os, sys, time
from multiprocessing import shared_memory

def square(x): return x * x
def put(q, n): q.put(n * 10)
def bump(v, l):
    for _ in range(200):
        with l: v.value += 1
def fill(name, i):
    s = shared_memory.SharedMemory(name); s.buf[i] = i + 1; s.close()
def crash(): os._exit(13)
def hang(): time.sleep(60)

def go(kind):
    c = mp.get_context(kind)
    with c.Pool(3) as p:
        print(kind, "pool", sum(p.map(square, range(100))), p.apply_async(square, (9,)).get())
    q = c.Queue()
    ps = [c.Process(target=put, args=(q, i)) for i in range(4)]
    [p.start() for p in ps]
    print(kind, "queue", sorted(q.get() for _ in ps)); [p.join() for p in ps]
    v, l = c.Value("i", 0), c.Lock()
    ps = [c.Process(target=bump, args=(v, l)) for _ in range(4)]
    [p.start() for p in ps]; [p.join() for p in ps]
    print(kind, "value", v.value)
    s = shared_memory.SharedMemory(create=True, size=16)
    ps = [c.Process(target=fill, args=(s.name, i)) for i in range(4)]
    [p.start() for p in ps]; [p.join() for p in ps]
    print(kind, "shm", bytes(s.buf[:5])); s.close(); s.unlink()
    p = c.Process(target=crash); p.start(); p.join(); print(kind, "exit", p.exitcode)
    p = c.Process(target=hang); p.start(); p.terminate(); p.join(); print(kind, "terminated", p.exitcode)
    a, b = c.Pipe(); a.send({"k": [1, 2]}); print(kind, "pipe", b.recv())

if __name__ == "__main__":
    go("fork"); go("spawn")
    with mp.Manager() as m:
        d = m.dict(); d["x"] = 1; l = m.list([3, 1, 2]); l.sort(); print("manager", dict(d), list(l))
