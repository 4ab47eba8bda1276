// Many goroutines on one connection: WAY PORT.
//
// write    each calls Write, which lets in one at a time
// channel  one goroutine takes messages from a channel and writes them through
//          a bufio.Writer, which it flushes when no more are there
package main

import (
	"bufio"
	"net"
	"os"
	"sync"
)

func startWriter(conn net.Conn) (chan<- []byte, *sync.WaitGroup) {
	messages := make(chan []byte, 1024)
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		writer := bufio.NewWriterSize(conn, 65536)
		for message := range messages {
			_, err := writer.Write(message)
			check(err)
			if len(messages) == 0 {
				check(writer.Flush())
			}
		}
	}()
	return messages, &done
}

func main() {
	conn := dial(os.Args[2])
	requests(func(r request) facts {
		tasks := r.number("tasks")
		message := make([]byte, r.number("size"))
		for i := range message {
			message[i] = byte(i % 251)
		}
		send := func(message []byte) {
			_, err := conn.Write(message)
			check(err)
		}
		if os.Args[1] == "channel" {
			messages, done := startWriter(conn)
			defer done.Wait()
			defer close(messages)
			send = func(message []byte) { messages <- message }
		}
		count := r.count * tasks
		sendHeader(conn, len(message), count, r.number("verify"))
		started := make(chan struct{})
		var sending sync.WaitGroup
		sending.Add(tasks)
		for i := 0; i < tasks; i++ {
			go func() {
				defer sending.Done()
				<-started
				for i := 0; i < r.count; i++ {
					send(message)
				}
			}()
		}
		watch := startWatch()
		close(started)
		arrived := receiveAcknowledgement(conn)
		taken := watch.read(count)
		sending.Wait()
		return taken.and(arrived)
	})
}
