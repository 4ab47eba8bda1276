// Memory with Go: go_memory idle PORT, go_memory queue.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// kept holds what was made for earlier requests: see memory_measuring.py.
var kept []interface{}

// privateSize is the memory in RAM that no other process has, in bytes.
func privateSize() int {
	runtime.GC()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	check(err)
	size := 0
	for _, line := range strings.Split(string(text), "\n") {
		var name string
		var number int
		if !strings.HasPrefix(line, "Private_") {
			continue
		}
		if n, _ := fmt.Sscan(line, &name, &number); n == 2 {
			size += number * 1024
		}
	}
	return size
}

func raiseLimit() {
	var limit syscall.Rlimit
	check(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	limit.Cur = limit.Max
	check(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit))
}

func reach(served *int64, count int) {
	for atomic.LoadInt64(served) < int64(count) {
		time.Sleep(100 * time.Microsecond)
	}
}

func receiveUDP(served *int64) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	check(err)
	peer, err := net.DialUDP("udp4", nil, conn.LocalAddr().(*net.UDPAddr))
	check(err)
	_, err = peer.Write([]byte("hello"))
	check(err)
	check(peer.Close())
	room := make([]byte, 2048)
	_, _, err = conn.ReadFromUDP(room)
	check(err)
	atomic.AddInt64(served, 1)
	conn.ReadFromUDP(room)
}

func idle(port string) {
	raiseLimit()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err)
	var served int64
	go func() {
		for {
			conn, err := listener.Accept()
			check(err)
			go func() {
				room := make([]byte, 4096)
				atomic.AddInt64(&served, 1)
				conn.Read(room)
			}()
		}
	}()
	own := uint64(listener.Addr().(*net.TCPAddr).Port)
	requests(func(asked request) facts {
		before, watch := privateSize(), startWatch()
		there := int(atomic.LoadInt64(&served)) + asked.count
		if asked.name == "tcp" {
			peers := dial(port)
			order := []uint64{own, uint64(asked.count)}
			check(binary.Write(peers, binary.BigEndian, order))
			_, err := io.ReadFull(peers, make([]byte, 1))
			check(err)
			check(peers.Close())
		} else {
			for i := 0; i < asked.count; i++ {
				go receiveUDP(&served)
			}
		}
		reach(&served, there)
		answer := watch.read(asked.count)
		return answer.and(facts{"memory": privateSize() - before})
	})
}

func queue() {
	requests(func(asked request) facts {
		before, watch := privateSize(), startWatch()
		var messages net.Buffers
		for i := 0; i < asked.count; i++ {
			messages = append(messages, make([]byte, asked.number("size")))
		}
		for _, message := range messages {
			message[0] = 'x'
		}
		kept = append(kept, messages)
		answer := watch.read(asked.count)
		return answer.and(facts{"memory": privateSize() - before})
	})
}

func main() {
	if os.Args[1] == "idle" {
		idle(os.Args[2])
	} else {
		queue()
	}
}
