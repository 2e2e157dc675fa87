// limit: 60
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sort"
	"sync"
	"syscall"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func main() {
	var mu sync.Mutex
	var wg sync.WaitGroup
	n := 0
	for i := 0; i < 1000; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for j := 0; j < 100; j++ {
				mu.Lock()
				n++
				mu.Unlock()
				if j%10 == 0 {
					runtime.Gosched()
				}
			}
		}()
	}
	wg.Wait()
	fmt.Println("goroutines", n)

	// A busy loop must be preempted (SIGURG).
	runtime.GOMAXPROCS(1)
	stop := false
	go func() { time.Sleep(20 * time.Millisecond); stop = true; os.Stdout.WriteString("preempted\n"); runtime.GOMAXPROCS(2) }()
	for k := 0; !stop && k < 1<<33; k++ {
		if k&0xfffffff == 0 {
			time.Sleep(time.Millisecond)
		}
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	var replies []string
	for i := 0; i < 50; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			c, err := net.Dial("tcp", l.Addr().String())
			check(err)
			fmt.Fprintf(c, "client %02d\n", i)
			s, err := bufio.NewReader(c).ReadString('\n')
			check(err)
			mu.Lock()
			replies = append(replies, s)
			mu.Unlock()
			c.Close()
		}(i)
	}
	wg.Wait()
	sort.Strings(replies)
	fmt.Print("tcp ", len(replies), " ", replies[49])

	hl, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go http.Serve(hl, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "path ", r.URL.Path) }))
	resp, err := http.Get("http://" + hl.Addr().String() + "/x")
	check(err)
	b, _ := io.ReadAll(resp.Body)
	fmt.Println("http", string(b))

	out, err := exec.Command("sh", "-c", "echo child; exit 3").Output()
	fmt.Printf("exec %q %v\n", out, err)
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println("signal", <-ch)
	select {
	case <-ch:
	case <-time.After(30 * time.Millisecond):
		fmt.Println("timer")
	}
	var keep [][]byte
	for i := 0; i < 300; i++ {
		keep = append(keep, make([]byte, 1<<20))
		if i%50 == 0 {
			keep = nil
			runtime.GC()
		}
	}
	fmt.Println("gc", len(keep))
	defer func() { fmt.Println("recovered", recover() != nil) }()
	var p *int
	*p = 1
}
