// limit: 90
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const cp = require('child_process'), fs = require('fs'), http = require('http'), os = require('os'), path = require('path'), stream = require('stream'), zlib = require('zlib'), crypto = require('crypto'), net = require('net');
if (!isMainThread) { let s = 0; for (let i = 0; i < workerData; i++) s += i; parentPort.postMessage(s); return; }
const log = (...a) => console.log(...a);
(async () => {
  const sums = await Promise.all([10, 1000, 100000].map(n => new Promise((ok, no) => { const w = new Worker(__filename, { workerData: n }); w.on('message', ok); w.on('error', no); })));
  log('workers', sums);
  const sab = new SharedArrayBuffer(4); log('atomics', Atomics.wait(new Int32Array(sab), 0, 0, 20));
  log('exec', cp.execSync('echo hi; exit 0').toString().trim(), cp.spawnSync('sh', ['-c', 'exit 4']).status);
  const child = cp.spawn('cat'); let got = ''; child.stdout.on('data', d => got += d); child.stdin.end('x'.repeat(200000)); await new Promise(r => child.on('close', r)); log('spawn', got.length);
  const k = cp.spawn('sleep', ['10']); k.kill(); log('killed', await new Promise(r => k.on('exit', (c, s) => r(s))));
  const f = cp.fork(process.argv[1], [], { execArgv: ['-e', 'process.on("message", m => { process.send(m * 2); process.disconnect() })'] }); f.send(21); log('fork', await new Promise(r => f.on('message', r)));
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'n-'));
  for (let i = 0; i < 500; i++) fs.writeFileSync(path.join(dir, 'f' + i), 'data' + i);
  log('files', fs.readdirSync(dir).length, (await Promise.all(fs.readdirSync(dir).map(n => fs.promises.readFile(path.join(dir, n), 'utf8')))).join('').length);
  const big = path.join(dir, 'big'), gz = path.join(dir, 'gz'); fs.writeFileSync(big, Buffer.alloc(2 << 20, 'abc'));
  await stream.promises.pipeline(fs.createReadStream(big), zlib.createGzip(), fs.createWriteStream(gz));
  const h = crypto.createHash('sha256'); await stream.promises.pipeline(fs.createReadStream(gz), zlib.createGunzip(), h); log('streams', h.digest('hex').slice(0, 16));
  const seen = new Promise(r => { const w = fs.watch(dir, (e, n) => { if (n === 'watched') { w.close(); r(e); } }); }); fs.writeFileSync(path.join(dir, 'watched'), ''); log('watch', await seen);
  const srv = http.createServer((q, s) => { let b = ''; q.on('data', d => b += d); q.on('end', () => s.end(q.method + ' ' + q.url + ' ' + b.length)); });
  await new Promise(r => srv.listen(0, '127.0.0.1', r)); const port = srv.address().port;
  const ask = (i) => new Promise((ok, no) => { const q = http.request({ port, host: '127.0.0.1', method: 'POST', path: '/p' + i }, s => { let b = ''; s.on('data', d => b += d); s.on('end', () => ok(b)); }); q.on('error', no); q.end('y'.repeat(i * 1000)); });
  log('http', (await Promise.all([...Array(20).keys()].map(ask))).filter((b, i) => b === `POST /p${i} ${i * 1000}`).length); srv.close(); srv.closeAllConnections();
  const sock = path.join(dir, 's'); const us = net.createServer(c => c.end('unix')).listen(sock); await new Promise(r => us.on('listening', r)); log('net', await new Promise(r => net.connect(sock).on('data', d => r(d.toString())))); us.close();
  const t = Date.now(); await new Promise(r => setTimeout(r, 50)); log('timer', Date.now() - t >= 49); process.on('SIGUSR2', () => log('signal')); process.kill(process.pid, 'SIGUSR2'); await new Promise(r => setTimeout(r, 50));
  log('scrypt', (await new Promise(r => crypto.scrypt('p', 's', 16, (e, k) => r(k)))).toString('hex')); let a = []; for (let i = 0; i < 200; i++) a.push(new Array(10000).fill(i)); log('heap', a.length); fs.rmSync(dir, { recursive: true }); log('done', fs.existsSync(dir), os.cpus().length > 0, os.totalmem() > 0); process.exit(0);
})();
