// The driver's side of the protocol in harness/contestants.py, for Go.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type request struct {
	name    string
	count   int
	options map[string]string
}

func (r request) number(name string) int {
	number, _ := strconv.Atoi(r.options[name])
	return number
}

type facts map[string]interface{}

func answer(said facts) {
	line, err := json.Marshal(said)
	check(err)
	fmt.Println(string(line))
}

func check(err error) {
	if err != nil {
		line, _ := json.Marshal(facts{"error": err.Error()})
		fmt.Println(string(line))
		os.Exit(1)
	}
}

// requests calls measure for each line that the harness sends.
func requests(measure func(request) facts) {
	answer(facts{"ready": true})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		count, err := strconv.Atoi(words[2])
		check(err)
		options := map[string]string{}
		for _, word := range words[3:] {
			pair := strings.SplitN(word, "=", 2)
			options[pair[0]] = pair[1]
		}
		answer(measure(request{words[1], count, options}))
	}
}

type stopwatch struct {
	start time.Time
	cpu   time.Duration
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func startWatch() stopwatch {
	return stopwatch{time.Now(), cpuTime()}
}

// read returns what an answer begins with.
func (w stopwatch) read(count int) facts {
	return facts{
		"seconds": time.Since(w.start).Seconds(),
		"cpu":     (cpuTime() - w.cpu).Seconds(),
		"count":   count,
	}
}

func dial(port string) net.Conn {
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	check(err)
	return conn
}

// sendHeader announces batches to stream_sink.c.
func sendHeader(conn net.Conn, size, count, verify int) {
	var header [24]byte
	for i, number := range []int{size, count, verify} {
		binary.BigEndian.PutUint64(header[8*i:], uint64(number))
	}
	_, err := conn.Write(header[:])
	check(err)
}

// receiveAcknowledgement waits for the sink, and adds what it says.
func receiveAcknowledgement(conn net.Conn) facts {
	var said [16]byte
	_, err := io.ReadFull(conn, said[:])
	check(err)
	return facts{
		"bytes": binary.BigEndian.Uint64(said[:]),
		"wrong": binary.BigEndian.Uint64(said[8:]),
	}
}

func (f facts) and(more facts) facts {
	for name, value := range more {
		f[name] = value
	}
	return f
}
