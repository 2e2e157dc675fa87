# limit: 60
"""mmap, sqlite3 in WAL mode, ctypes, tempfile, select, os and pathlib."""
import ctypes, errno, fcntl, glob, json, mmap, os, pathlib, resource, select, shutil, socket, sqlite3, stat, struct, tempfile, threading

d = tempfile.mkdtemp(); os.chdir(d)
with open("m", "wb+") as f:
    f.truncate(8192)
    m = mmap.mmap(f.fileno(), 8192); m[0:5] = b"hello"; m[4096:4100] = b"page"; m.flush()
    print("mmap", open("m", "rb").read(5), m.find(b"page")); m.resize(16384); print(len(m)); m.close()
a = mmap.mmap(-1, 4096)
if (pid := os.fork()) == 0: a[0:3] = b"kid"; os._exit(0)
os.waitpid(pid, 0); print("anon", a[0:3])

db = sqlite3.connect("t.db"); print("journal", db.execute("pragma journal_mode=wal").fetchone())
db.execute("create table t(id integer primary key, v text)"); db.commit()
def writer(n):
    c = sqlite3.connect("t.db", timeout=30)
    for i in range(50):
        c.execute("insert into t(v) values(?)", (f"{n}-{i}",)); c.commit()
    c.close()
ts = [threading.Thread(target=writer, args=(n,)) for n in range(4)]
[t.start() for t in ts]; [t.join() for t in ts]
print("rows", db.execute("select count(*), count(distinct v) from t").fetchone())
if (pid := os.fork()) == 0:
    c = sqlite3.connect("t.db", timeout=30); c.execute("delete from t where id % 2"); c.commit(); os._exit(0)
os.waitpid(pid, 0)
print("after delete", db.execute("select count(*) from t").fetchone(), db.execute("pragma integrity_check").fetchone())
db.execute("pragma wal_checkpoint(truncate)"); db.close(); print(sorted(os.listdir(".")))

libc = ctypes.CDLL(None, use_errno=True)
print("ctypes", libc.strlen(b"twelve chars"), libc.getpid() == os.getpid(), libc.close(999), errno.errorcode[ctypes.get_errno()])
CB = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
arr = (ctypes.c_int * 5)(5, 3, 1, 4, 2)
libc.qsort(arr, 5, ctypes.sizeof(ctypes.c_int), CB(lambda x, y: x[0] - y[0])); print("qsort", list(arr))

with tempfile.NamedTemporaryFile() as t, tempfile.TemporaryFile() as u, tempfile.TemporaryDirectory() as td:
    t.write(b"x"); t.flush(); print("temp", os.path.getsize(t.name), os.path.isdir(td)); u.write(b"abc"); u.seek(0); print(u.read())
p = pathlib.Path("a/b/c"); p.mkdir(parents=True); (p / "f.txt").write_text("data\n"); (p / "l").symlink_to("f.txt")
print("walk", sorted(os.path.join(r, x) for r, ds, fs in os.walk("a") for x in ds + fs), (p / "l").resolve().name)
shutil.copytree("a", "z", symlinks=True); shutil.move("z", "y"); print(sorted(glob.glob("y/**", recursive=True)))
os.chmod("m", 0o640); s = os.stat("m"); print("stat", oct(s.st_mode), s.st_size); os.utime("m", (1, 2)); print(os.stat("m").st_mtime)
shutil.make_archive("arch", "gztar", "y"); os.mkdir("un"); shutil.unpack_archive("arch.tar.gz", "un"); print(os.path.exists("un/b/c/f.txt"))
for fn, arg in ((os.rmdir, "a"), (os.unlink, "nope"), (os.mkdir, "a"), (os.readlink, "m"), (os.open, "a")):
    try: fn(arg, os.O_WRONLY) if fn is os.open else fn(arg)
    except OSError as e: print(fn.__name__, errno.errorcode[e.errno])
r, w = os.pipe(); print("select", select.select([r], [w], [], 0)[1] == [w]); os.write(w, b"z"); print(select.select([r], [], [], 1)[0] == [r])
ep = select.epoll(); ep.register(r, select.EPOLLIN); print("epoll", ep.poll(0) == [(r, 1)])
x, y = socket.socketpair(); socket.send_fds(x, [b"f"], [r]); print("fds", len(socket.recv_fds(y, 10, 1)[1]))
with open("lk", "w") as f1, open("lk", "w") as f2:
    fcntl.flock(f1, fcntl.LOCK_EX)
    try: fcntl.flock(f2, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError: print("locked")
print("limits", resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 100, os.cpu_count() > 0, os.getloadavg()[0] >= 0)
print("random", len(os.urandom(16)), os.sysconf("SC_PAGE_SIZE"), os.uname().sysname, os.get_terminal_size.__name__)
os.chdir("/"); shutil.rmtree(d); print("done", os.path.exists(d))
