// Requests answered with net.Buffers of a header and a body.
package main

import (
	"net"
	"os"
	"runtime"
)

const requestSize = 64

func main() {
	headerSize, bodySize := 200, 4096
	for _, argument := range os.Args[1:] {
		switch argument {
		case "small":
			headerSize, bodySize = 24, 40
		case "one":
			runtime.GOMAXPROCS(1)
		}
	}
	var header, body []byte
	for i := 0; i < headerSize+bodySize; i++ {
		header = append(header, byte(i%251))
	}
	header, body = header[:headerSize], header[headerSize:]
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	port := listener.Addr().(*net.TCPAddr).Port
	answer(facts{"ready": true, "port": port})
	for {
		conn, err := listener.Accept()
		check(err)
		go func() {
			defer conn.Close()
			room := make([]byte, 65536)
			for have := 0; ; {
				count, err := conn.Read(room)
				if err != nil {
					return
				}
				var buffers net.Buffers
				for have += count; have >= requestSize; have -= requestSize {
					buffers = append(buffers, header, body)
				}
				if _, err := buffers.WriteTo(conn); err != nil {
					return
				}
			}
		}()
	}
}
