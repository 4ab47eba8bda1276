// Batches of chunks with net.Buffers: PORT.
package main

import (
	"net"
	"os"
	"strconv"
	"strings"
)

func chunksOf(r request) (chunks [][]byte, size int) {
	for _, run := range strings.Split(r.options["chunks"], "+") {
		pair := strings.Split(run, "x")
		count, err := strconv.Atoi(pair[0])
		check(err)
		each, err := strconv.Atoi(pair[1])
		check(err)
		for i := 0; i < count; i++ {
			chunk := make([]byte, each)
			for j := range chunk {
				chunk[j] = byte((size + j) % 251)
			}
			chunks = append(chunks, chunk)
			size += each
		}
	}
	return
}

func main() {
	var conn net.Conn
	name := ""
	requests(func(r request) facts {
		if r.name != name {
			if conn != nil {
				conn.Close()
			}
			conn = dial(os.Args[1])
			name = r.name
		}
		chunks, size := chunksOf(r)
		// WriteTo consumes its Buffers, chunks included.
		left := make([][]byte, len(chunks))
		sendHeader(conn, size, r.count, r.number("verify"))
		watch := startWatch()
		for i := 0; i < r.count; i++ {
			copy(left, chunks)
			buffers := net.Buffers(left)
			_, err := buffers.WriteTo(conn)
			check(err)
		}
		arrived := receiveAcknowledgement(conn)
		return watch.read(r.count).and(arrived)
	})
}
