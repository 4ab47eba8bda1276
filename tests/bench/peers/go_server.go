// Requests answered with net.Buffers of a header and a body.
package main

import (
	"net"
)

const (
	requestSize = 64
	headerSize  = 200
	bodySize    = 4096
)

func main() {
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
				for have += count; have >= requestSize; have -= requestSize {
					buffers := net.Buffers{header, body}
					if _, err := buffers.WriteTo(conn); err != nil {
						return
					}
				}
			}
		}()
	}
}
