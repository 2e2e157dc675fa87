#!/bin/bash
# limit: 60
# nginx with two workers, and curl.
mkdir -p /tmp/ng/www && cd /tmp/ng
echo hello > www/index.html; head -c 3000000 /dev/zero | tr '\0' x > www/big; mkdir www/dir; echo d > www/dir/f
cat > n.conf <<END
worker_processes 2; pid /tmp/ng/pid; error_log /tmp/ng/err; daemon on;
events { worker_connections 100; }
http { access_log /tmp/ng/access; sendfile on; client_body_temp_path /tmp/ng/b; proxy_temp_path /tmp/ng/p; fastcgi_temp_path /tmp/ng/f; uwsgi_temp_path /tmp/ng/u; scgi_temp_path /tmp/ng/s;
  server { listen 127.0.0.1:8080; listen [::1]:8080; listen unix:/tmp/ng/sock; root /tmp/ng/www; location /up { proxy_pass http://127.0.0.1:8081; } location /list { alias /tmp/ng/www/dir/; autoindex on; } }
  server { listen 127.0.0.1:8081; location / { return 200 "upstream \$request_uri\n"; } } }
END
nginx -c /tmp/ng/n.conf -e /tmp/ng/err && for i in $(seq 1 60); do curl -s -o /dev/null http://127.0.0.1:8080/ && break; sleep 0.05; done
curl -s http://127.0.0.1:8080/; curl -s http://[::1]:8080/index.html; curl -s --unix-socket /tmp/ng/sock http://x/
curl -s http://127.0.0.1:8080/big | md5sum; curl -s -r 10-19 http://127.0.0.1:8080/big; echo
curl -s -o /dev/null -w '%{http_code} %{content_type}\n' http://127.0.0.1:8080/none; curl -s http://127.0.0.1:8080/up/x
curl -s http://127.0.0.1:8080/list/ | grep -c '>f<'; curl -sI http://127.0.0.1:8080/ | grep -o 'Content-Length: 6'
for i in $(seq 1 40); do curl -s http://127.0.0.1:8080/ & done | sort | uniq -c | tr -s ' '; wait
curl -s http://127.0.0.1:8080/[1-20] -o /dev/null -w '%{http_code}\n' | sort | uniq -c | tr -s ' '
curl -s http://127.0.0.1:9/ ; echo "refused $?"
kill -HUP $(cat pid); sleep 0.3; curl -s http://127.0.0.1:8080/; nginx -c /tmp/ng/n.conf -e /tmp/ng/err -s quit; for i in $(seq 1 60); do [ -e pid ] || break; sleep 0.05; done; [ -e pid ] || echo stopped
grep -c 'GET / ' access
